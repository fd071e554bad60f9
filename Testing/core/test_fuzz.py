"""Spoiled files of every kind: read, or refused with words; and the fuzzer that does it for hours.

Each reader sees the same few cases every time. ``Testing/fuzz.py`` goes on from there.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import struct
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mriforge import io
from mriforge.errors import BadInput, MRIForgeError, OutOfMemory
from mriforge.models.store import load_model
from mriforge.untrusted import sizes
from mriforge.untrusted.arrays import load_array, load_arrays
from mriforge.untrusted.texts import csv_entries, from_json, from_toml

sys.path.insert(0, str(Path(__file__).parent))
import fuzz_seeds
from fuzz_readers import READERS, Violation, put, run, spoiled

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"ismrmrd": 8, "mgh": 20, "nifti": 25, "bart": 10, "cases": 8, "unsealed-model": 12,
        "job": 8, "dicom": 15, "segmentation-source": 10, "drawn": 10, "recipe": 12,
        "cache": 10}  # fmt: skip
"""Cases of readers that take longer than the others."""


@pytest.mark.parametrize("name", READERS)
def test_what_is_not_spoiled_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    went = set()
    for number, (entry, files) in enumerate(reader.valid()):
        put(tmp_path / str(number), files)
        went.add(run(reader, tmp_path / str(number) / entry))
    # A segmentation refers to one volume and a profile needs a pixel size: some seeds lack these.
    assert went == {"read"} or (name in ("segmentation-source", "profile") and "read" in went)


@pytest.mark.parametrize("name", READERS)
def test_what_is_spoiled_is_read_or_refused(name: str) -> None:
    reader = READERS[name]
    for seed in range(SLOW.get(name, 40)):
        spoiled(reader, Random(seed))


@pytest.mark.parametrize("name", ["npy", "kernel", "nrrd", "request"])
@settings(max_examples=25, derandomize=True, database=None, deadline=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(random=st.randoms(use_true_random=False))
def test_what_hypothesis_spoils(name: str, random: Random) -> None:
    spoiled(READERS[name], random)


# Headers that lie


def nii(**fields: object) -> bytes:
    import nibabel

    data = dict(fuzz_seeds.nifti())["a.nii.gz"]["a.nii.gz"]
    raw = bytearray(gzip.decompress(data))
    header = nibabel.Nifti1Header(bytes(raw[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    raw[:348] = header.binaryblock
    return bytes(raw)


def promised(shape: tuple[int, ...]) -> bytes:
    head = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode().ljust(117)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + head + b"\n" + bytes(64)


NRRD = (
    b"NRRD0004\ntype: short\ndimension: 3\nsizes: %s\nspace: left-posterior-superior\n"
    b"space directions: %s\nspace origin: (0,0,0)\nendian: little\nencoding: %s\n\n"
)
AXES = b"(1,0,0) (0,1,0) (0,0,1)"
META = (
    b"ObjectType = Image\nNDims = 3\nDimSize = %s\nElementSpacing = 1 1 1\nTransformMatrix = %s\n"
    b"CompressedData = %s\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
HUGE = {"dim": [3, 32000, 32000, 900, 1, 1, 1, 1]}
LIES = {
    "more.nii": nii(**HUGE),
    "more.nii.gz": gzip.compress(nii(**HUGE)),
    "more.npy": promised((1 << 20, 1 << 20)),
    "negative.npy": promised((-4, 4)),
    "more.nrrd": NRRD % (b"9000 9000 9000", AXES, b"raw") + bytes(99),
    "packed.nrrd": NRRD % (b"9000 9000 9000", AXES, b"gzip") + gzip.compress(bytes(9)),
    "axes.nrrd": NRRD % (b"3 4", AXES, b"raw") + bytes(99),
    "long.nrrd": NRRD % (b"3 4 5", b"(" * 20000, b"raw") + bytes(120),
    "more.mha": META % (b"9000 9000 9000", b"1 0 0 0 1 0 0 0 1", b"False") + bytes(99),
    "packed.mha": META % (b"9000 9000 9000", b"1 0 0 0 1 0 0 0 1", b"True") + bytes(99),
    "endless.mha": META % (b"3 4 5", b"1 0 0 0 1 0 0 1e308 1", b"False") + bytes(120),
    "long.mha": META % (b"3 4 5", b"[" * 20000, b"False") + bytes(120),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie_are_refused_before_memory_is_asked_for(name: str, tmp_path: Path) -> None:
    """Long lines end SimpleITK's process, and a direction of 1e308 keeps it for ever."""
    (tmp_path / name).write_bytes(LIES[name])
    (tmp_path / name).with_suffix(".json").write_text('{"spacing": [1, 1, 1]}')
    with pytest.raises(BadInput, match="cannot be read") as caught:
        io.read(tmp_path / name)
    assert not isinstance(caught.value.__cause__, MemoryError)
    assert str(tmp_path / name) in caught.value.message


def test_a_header_extension_longer_than_its_file(tmp_path: Path) -> None:
    raw = bytearray(nii())
    struct.pack_into("<i", raw, 352, 2**31 - 16)
    (tmp_path / "a.nii").write_bytes(raw)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw))
    for name in ("a.nii", "a.nii.gz"):
        with pytest.raises(BadInput, match="extension of"):
            io.read(tmp_path / name)


def test_what_fits_into_no_memory_is_not_begun(tmp_path: Path, monkeypatch) -> None:
    """A gzip file of megabytes can hold gigabytes of zeros, rightly."""
    monkeypatch.setattr(sizes, "free_main_memory", lambda: 100 << 20)
    sizes.refuse_more_than_held("a.nii.gz", 99 << 20, 1 << 20, ratio=sizes.DEFLATED)
    with pytest.raises(OutOfMemory, match=r"a\.nii\.gz holds 101 MiB"):
        sizes.refuse_more_than_held("a.nii.gz", 101 << 20, 1 << 20, ratio=sizes.DEFLATED)
    with pytest.raises(BadInput, match="promises 101 MiB"):
        sizes.refuse_more_than_held("a.nii.gz", 101 << 20, 1 << 10, ratio=sizes.DEFLATED)


def test_arrays_that_lie(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(promised((1 << 40,)))
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    with pytest.raises(MRIForgeError, match="promises"):
        load_array(tmp_path / "a.npy")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects"):
        load_array(tmp_path / "o.npy")
    assert load_arrays(tmp_path / "a.npz", ["x", "y"])["x"].tolist() == [1, 1, 1]
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    with pytest.raises(ValueError, match="zip"):
        load_arrays(tmp_path / "a.npz")


def test_models_are_as_large_as_their_weights(tmp_path: Path) -> None:
    entry, files = fuzz_seeds.model()[0]
    card = json.loads(files["tiny/card.json"])
    for options in ({"width": 4096}, {"width": 10**9}, {"width": float("nan")}, {"depth": 2}):
        changed = json.dumps({**card, "network_options": options})
        put(tmp_path, {**files, "tiny/card.json": changed.encode()})
        with pytest.raises(MRIForgeError) as caught:
            load_model(tmp_path / entry)
        assert caught.value.exit_code == 3


# Texts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100000, "deeply"),
        ("[" * 70 + "]" * 70, "deeply"),
        ('{"a": ' * 65 + "1" + "}" * 65, "deeply"),
        ("9" * 30, "too large"),
        ("1e999", "too large"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_json(text, once=True)


def test_json_that_is_read() -> None:
    assert from_json('{"a": 1, "a": [2, 3.5, -9223372036854775808]}') == {"a": [2, 3.5, -(2**63)]}
    assert all(np.isnan(from_json("[NaN, Infinity, -Infinity]")))
    assert from_json("[" * 60 + "]" * 60)


@pytest.mark.parametrize("text", ["a = 1e999", "a = 99999999999999999999999", "=", "a = 1\na = 2",
                                  ".".join(["a"] * 200) + " = 1", "a = " + "[" * 9000])  # fmt: skip
def test_toml_that_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_toml(text)


def test_tables() -> None:
    assert csv_entries("a,b\n1,2\n\n3\n") == [{"a": "1", "b": "2"}, {"a": "3", "b": None}]
    assert csv_entries("") == []
    for text, said in (("a,a\n1,2\n", "twice"), ("a\n" + "x" * 200000, "field limit")):
        with pytest.raises(ValueError, match=said):
            csv_entries(text)


# The fuzzer

CHILD = """
import os, signal, sys, time
from pathlib import Path
case = Path(sys.argv[1]) / "case"
def tell(line): print(line, flush=True)
for number in range(3):
    case.mkdir(exist_ok=True)
    (case / "a.nii").write_text(sys.argv[2])
    tell(">")
    if number == 2 and sys.argv[2] == "crash": os.kill(os.getpid(), signal.SIGSEGV)
    if number == 2 and sys.argv[2] == "hang": time.sleep(60)
    bad = number == 2 and sys.argv[2] == "violation"
    told = '{"went": "violation", "text": "ZeroDivisionError", "case": "case"}'
    tell("<" + (told if bad else '{"went": "read"}'))
"""


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "Testing" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("what", ["crash", "hang", "violation", "nothing"])
def test_what_ends_or_stalls_a_reader_is_kept_with_its_input(
    fuzz, tmp_path: Path, what: str
) -> None:
    (tmp_path / "work").mkdir()

    def command(seed: int, seconds: float) -> list[str]:
        return [sys.executable, "-c", CHILD, str(tmp_path / "work"), what]

    campaign = fuzz.Campaign("x", tmp_path / "kept", tmp_path / "work", command, case_s=3.0)
    campaign.run(60.0, 0, children=1)
    assert campaign.counts["read"] == (3 if what == "nothing" else 2)
    if what == "nothing":
        assert not campaign.kept
        return
    assert campaign.counts[what] == 1
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name.startswith(what)
    assert (kept / "a.nii").read_text() == what
    words = {"crash": "SIGSEGV", "hang": "no answer", "violation": "ZeroDivisionError"}[what]
    assert words in (kept / "why.txt").read_text()


def test_a_reader_that_fails_is_noticed(tmp_path: Path) -> None:
    """The rule itself can fail."""
    from fuzz_readers import Reader

    def reading(path: Path) -> object:
        raise {"a": KeyError("a"), "b": BadInput(" "), "c": BadInput("No.")}[path.name]

    for name in "ab":
        with pytest.raises(Violation):
            run(Reader("x", list, reading), tmp_path / name)
    assert run(Reader("x", list, reading), tmp_path / "c") == "bad-input"

    def hungry(path: Path) -> object:
        try:
            return np.ones(2 << 30, np.uint8)
        except MemoryError as error:
            raise BadInput("Too much.") from error

    if sys.platform.startswith("linux"):
        with pytest.raises(Violation, match="more memory"):
            run(Reader("x", list, hungry), tmp_path)
