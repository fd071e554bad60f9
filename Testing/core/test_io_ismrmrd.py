"""ISMRMRD: what is written is valid, what others write is understood, the rest is refused."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mriforge.errors import BadInput, Cancelled, MissingDependency
from mriforge.events import Control, Events
from mriforge.io.ismrmrd import read_ismrmrd, write_ismrmrd
from mriforge.io.ismrmrd_header import parse_header
from mriforge.phantoms.multitasking import scan, subject
from mriforge.rawdata import RawData

h5py = pytest.importorskip("h5py")

EXACT = ("kspace", "trajectory", "navigator", "since_inversion", "partition", "noise")


@pytest.fixture(scope="module")
def raw() -> RawData:
    return scan(subject(0), matrix=32, coils=3, inversions=3, pulses=60, ecg=True)[0]


@pytest.fixture(scope="module")
def written(raw: RawData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "scan.h5"
    write_ismrmrd(path, raw)
    return path


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(written, tmp_path / "copy.h5"))


def change(path: Path, **columns) -> None:
    """Rewrites columns of the readouts' headers; a value or a function of (old, navigator)."""
    with h5py.File(path, "r+") as file:
        table = file["dataset/data"]
        rows = table[:]
        navigator = (rows["head"]["flags"] & np.uint64(1 << 22)) != 0
        imaging = (rows["head"]["flags"] & np.uint64(1 << 18)) == 0
        for name, value in columns.items():
            place = rows["head"]
            *path_to, last = name.split("__")
            for step in path_to:
                place = place[step]
            new = value(place[last], navigator) if callable(value) else value
            place[last] = np.where(
                imaging.reshape(-1, *(1,) * (place[last].ndim - 1)), new, place[last]
            )
        table[:] = rows


def replace_xml(path: Path, *pairs: tuple[str, str]) -> None:
    with h5py.File(path, "r+") as file:
        text = file["dataset/xml"][0].decode()
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        file["dataset/xml"][0] = text.encode()


def without_trajectory(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        rows["head"]["trajectory_dimensions"] = 0
        for row in rows:
            row["traj"] = np.empty(0, np.float32)
        file["dataset/data"][:] = rows


def scaled_trajectory(path: Path, factor: float) -> None:
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        for row in rows:
            row["traj"] = row["traj"] * np.float32(factor)
        file["dataset/data"][:] = rows


def no_flags(old: np.ndarray, _: np.ndarray) -> np.ndarray:
    return old & ~np.uint64(1 << 22)


UNIT = "<value>cycles_per_pixel</value>"
USER = (
    "<userParameterString><name>trajectory_unit</name><value>cycles_per_pixel</value>"
    "</userParameterString>"
)


# What is written


@pytest.mark.parametrize("settings", [{}, {"partitions": 3}, {"coils": 1}, {"noise": 0}])
def test_everything_comes_back(tmp_path: Path, settings: dict) -> None:
    raw, _ = scan(
        subject(2), **{"matrix": 32, "coils": 3, "inversions": 2, "pulses": 80, **settings}
    )
    write_ismrmrd(tmp_path / "a.h5", raw)
    back = read_ismrmrd(tmp_path / "a.h5")
    for name in EXACT:
        assert np.array_equal(getattr(back, name), getattr(raw, name)), name
    assert np.abs(back.time_s - raw.time_s).max() < 1e-9
    assert back.grid.matches(raw.grid)
    assert (back.repetition_s, back.flip_deg) == (pytest.approx(0.0036), 5.0)
    assert back.header["field_t"] == 3.0
    assert back.header["patient_position"] == "HFS"
    assert back.header["echo_s"] == pytest.approx(0.0016)
    assert back.physiology == {}
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_triggers_come_back_to_the_tick(raw: RawData, written: Path) -> None:
    seen = raw.physiology["cardiac_trigger_s"]
    back = read_ismrmrd(written).physiology["cardiac_trigger_s"]
    assert len(back) == len(seen)
    assert np.abs(back - seen).max() < 0.003


def test_the_reference_package_reads_it(raw: RawData, written: Path) -> None:
    ismrmrd = pytest.importorskip("ismrmrd")
    with ismrmrd.Dataset(str(written), mode="r") as data:
        header = ismrmrd.xsd.CreateFromDocument(data.read_xml_header())
        assert header.encoding[0].trajectory.value == "radial"
        assert header.encoding[0].reconSpace.matrixSize.x == 32
        assert header.encoding[0].encodedSpace.fieldOfView_mm.x == pytest.approx(540)
        assert header.acquisitionSystemInformation.receiverChannels == 3
        assert header.sequenceParameters.TR[0] == pytest.approx(3.6)
        assert header.measurementInformation.patientPosition.value == "HFS"
        assert data.number_of_acquisitions() == 181
        assert data.read_acquisition(0).is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        for number in (0, 1, 61, 179):
            readout = data.read_acquisition(number + 1)
            assert np.array_equal(readout.data, raw.kspace[number])
            assert np.array_equal(readout.traj, raw.trajectory[number])
            navigator = readout.is_flag_set(ismrmrd.ACQ_IS_NAVIGATION_DATA)
            assert navigator == raw.navigator[number]
            assert readout.user_int[0] == raw.since_inversion[number]
            assert readout.idx.segment == number // 60
            assert readout.center_sample == 32
            middle = raw.grid.index_to_world(np.array([16, 16, 0]))
            assert np.allclose(readout.position, middle, atol=1e-3)
            assert np.allclose(np.array(readout.slice_dir), raw.grid.direction_matrix[:, 2])


def test_what_the_reference_package_writes_is_read(raw: RawData, written: Path, tmp_path) -> None:
    ismrmrd = pytest.importorskip("ismrmrd")
    with ismrmrd.Dataset(str(written), mode="r") as data:
        header = ismrmrd.xsd.CreateFromDocument(data.read_xml_header())
        readouts = [data.read_acquisition(n) for n in range(data.number_of_acquisitions())]
    with ismrmrd.Dataset(str(tmp_path / "theirs.h5"), create_if_needed=True) as data:
        data.write_xml_header(ismrmrd.xsd.ToXML(header).encode())
        for readout in readouts:
            data.append_acquisition(readout)
    back = read_ismrmrd(tmp_path / "theirs.h5")
    for name in EXACT:
        assert np.array_equal(getattr(back, name), getattr(raw, name)), name


def test_cancelled_writing_leaves_nothing(tmp_path: Path, raw: RawData) -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        write_ismrmrd(tmp_path / "deep/a.h5", raw, events=Events(control))
    assert list(tmp_path.iterdir()) == []


def test_cancelled_reading(written: Path) -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        read_ismrmrd(written, events=Events(control))


# What others may write


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("half_width", 2.0),
        ("radians_per_pixel", 2 * np.pi),
        ("cycles_per_fov", 64.0),
        ("cycles_per_pixel", 1.0),
    ],
)
@pytest.mark.parametrize("said", [True, False])
def test_units_of_the_trajectory(copy: Path, raw: RawData, unit: str, factor, said: bool) -> None:
    scaled_trajectory(copy, factor)
    replace_xml(copy, (UNIT, f"<value>{unit}</value>") if said else (USER, ""))
    back = read_ismrmrd(copy)
    assert np.allclose(back.trajectory, raw.trajectory, atol=1e-6)
    assert back.header["trajectory"] == unit


def test_angles_from_counters(copy: Path, raw: RawData) -> None:
    without_trajectory(copy)
    back = read_ismrmrd(copy)
    # Navigators and the first spoke have counter 0.
    assert np.allclose(back.trajectory, raw.trajectory, atol=1e-5)
    assert np.array_equal(back.navigator, raw.navigator)


def test_a_stated_angle_and_reversed_readouts(copy: Path, raw: RawData) -> None:
    without_trajectory(copy)
    replace_xml(
        copy,
        (
            USER,
            USER.replace("String", "Double")
            .replace("trajectory_unit", "angle_increment_deg")
            .replace("cycles_per_pixel", "23.5"),
        ),
    )
    change(copy, flags=lambda old, navigator: np.where(navigator, old, old | np.uint64(1 << 21)))
    back = read_ismrmrd(copy)
    spokes = back.trajectory[back.imaging]
    ends = spokes[:, 0]
    angles = np.rad2deg(np.arctan2(ends[:, 1], ends[:, 0]))
    assert np.allclose((np.diff(angles) - 23.5 + 180) % 360, 180, atol=1e-3)
    assert angles[0] == pytest.approx(0, abs=1e-4)  # not reversed it would be 180
    assert np.array_equal(back.kspace, raw.kspace)


def test_samples_to_discard(copy: Path, raw: RawData) -> None:
    change(copy, discard_pre=6, discard_post=4)
    back = read_ismrmrd(copy)
    assert np.array_equal(back.kspace, raw.kspace[:, :, 6:60])
    assert np.array_equal(back.trajectory, raw.trajectory[:, 6:60])
    without_trajectory(copy)
    assert np.allclose(read_ismrmrd(copy).trajectory, raw.trajectory[:, 6:60], atol=1e-5)


@pytest.mark.parametrize(
    "marks",
    [
        {"flags": no_flags},
        {"flags": no_flags, "idx__set": 0},
        {
            "flags": no_flags,
            "idx__set": 0,
            "user_int": lambda old, _: old * [1, 0, 0, 0, 0, 0, 0, 0],
        },
    ],
    ids=["set", "user_int", "direction"],
)
def test_navigators_without_a_flag(copy: Path, raw: RawData, marks: dict) -> None:
    change(copy, **marks)
    found = read_ismrmrd(copy).navigator
    assert np.array_equal(np.delete(found, 1), np.delete(raw.navigator, 1))
    # The first spoke has the direction of the navigators: by that alone it is one.
    assert found[1] == (len(marks) == 3)


@pytest.mark.parametrize("counter", ["segment", "repetition"])
def test_inversions_from_ti_and_a_counter(copy: Path, raw: RawData, counter: str) -> None:
    replace_xml(copy, ("<TI>0</TI>", "<TI>10.8</TI>"))
    number = np.concatenate([[0], np.arange(180) // 60]).astype(np.uint16)
    change(copy, user_int=0, idx__segment=0)
    change(copy, **{f"idx__{counter}": lambda *_: number})
    back = read_ismrmrd(copy)
    assert np.array_equal(back.since_inversion, raw.since_inversion + 3)
    assert back.header["inversions"] == f"TI and {counter}"


def test_inversions_from_ti_and_pauses(copy: Path, raw: RawData) -> None:
    number = np.concatenate([[0], np.arange(180) // 60])
    change(
        copy,
        user_int=0,
        idx__segment=0,
        acquisition_time_stamp=lambda old, _: old + (400 * number).astype(np.uint32),
    )
    back = read_ismrmrd(copy)
    assert np.array_equal(back.since_inversion, raw.since_inversion)
    late = back.time_s - raw.time_s
    assert np.allclose(late, np.arange(180) // 60, atol=0.003)


def test_times_without_stamps(copy: Path, raw: RawData) -> None:
    change(copy, acquisition_time_stamp=0)
    assert np.allclose(read_ismrmrd(copy).time_s, raw.time_s)


def test_slices(copy: Path, raw: RawData) -> None:
    number = np.concatenate([[0], np.arange(180) // 90]).astype(np.uint16)
    change(copy, idx__slice=lambda *_: number, position=lambda old, _: old + number[:, None] * 7)
    with pytest.raises(BadInput, match=r"2 slices \(numbers 0 to 1\)"):
        read_ismrmrd(copy)
    back = read_ismrmrd(copy, slice_number=1)
    assert np.array_equal(back.kspace, raw.kspace[90:])
    assert np.allclose(np.array(back.grid.origin) - raw.grid.origin, 7, atol=1e-3)
    with pytest.raises(BadInput, match="no slice 5; it has 0, 1"):
        read_ismrmrd(copy, slice_number=5)


def test_other_readouts_are_left_out_and_counted(copy: Path, raw: RawData) -> None:
    dummies = np.arange(181) % 60 == 2
    change(copy, flags=lambda old, _: old | np.where(dummies, np.uint64(1 << 26), np.uint64(0)))
    back = read_ismrmrd(copy)
    assert back.header["left_out"] == {"dummy scan": 3}
    assert np.array_equal(back.kspace, raw.kspace[~dummies[1:]])
    assert np.allclose(back.time_s, raw.time_s[~dummies[1:]], atol=1e-9)


def test_the_grid_follows_the_pixels_of_the_encoded_space(copy: Path) -> None:
    replace_xml(
        copy,
        (
            "<reconSpace><matrixSize><x>32</x><y>32</y>",
            "<reconSpace><matrixSize><x>99</x><y>99</y>",
        ),
    )
    assert read_ismrmrd(copy).grid.shape == (1, 32, 32)


def test_one_coil_and_one_short_readout(tmp_path: Path) -> None:
    """With one coil a readout has as many values as its trajectory."""
    raw, _ = scan(subject(0), matrix=32, coils=1, inversions=1, pulses=60)
    write_ismrmrd(tmp_path / "one.h5", raw)
    _one_row(data=lambda v: v[:-2])(tmp_path / "one.h5")
    with pytest.raises(BadInput, match="not as many as their headers say"):
        read_ismrmrd(tmp_path / "one.h5")


def test_a_missing_direction_is_not_invented(copy: Path) -> None:
    change(copy, read_dir=0)
    with pytest.raises(BadInput, match="directions of the slice"):
        read_ismrmrd(copy)


# What is refused


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _noise_only(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["dataset/data"].resize(1, axis=0)


def _resize(length: int):
    def resize(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file["dataset/data"].resize(length, axis=0)

    return resize


def _renamed(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.move("dataset", "images")
        del file["images/xml"]


def _one_row(**values):
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            row = file["dataset/data"][17]
            for name, value in values.items():
                if name in ("data", "traj"):
                    row[name] = value(row[name])
                else:
                    row["head"][name] = value
            file["dataset/data"][17] = row

    return edit


def _nan(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.size) == 5, np.nan, values).astype(np.float32)


def _random_angles(path: Path) -> None:
    change(path, flags=no_flags, idx__set=0, user_int=lambda old, _: old * [1] + 0)
    change(path, user_int=lambda old, _: old * np.array([1, 0, 0, 0, 0, 0, 0, 0]))
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        angles = np.random.default_rng(0).uniform(0, np.pi, len(rows))
        for row, angle in zip(rows, angles, strict=True):
            if row["traj"].size:
                along = np.linspace(-0.5, 0.49, 64)
                ends = np.stack([along * np.cos(angle), along * np.sin(angle)], 1)
                row["traj"] = ends.ravel().astype(np.float32)
        file["dataset/data"][:] = rows


def _xml(*pairs: tuple[str, str]):
    return lambda path: replace_xml(path, *pairs)


def _changed(**columns):
    return lambda path: change(path, **columns)


REFUSED = {
    "not there": (lambda p: p.unlink(), "no file"),
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
    "not HDF5": (lambda p: p.write_bytes(b"x" * 5000), "not an HDF5 file"),
    "truncated": (_cut, "not copied whole"),
    "no dataset": (_renamed, "no group 'dataset'.*images"),
    "no readouts": (_resize(0), "holds no readouts"),
    "noise only": (_noise_only, r"too few readouts .*\(0\)"),
    "few": (_resize(9), r"too few readouts .*\(8\)"),
    "cartesian": (_xml((">radial</t", ">cartesian</t")), "Cartesian; MR Multitasking needs radial"),
    "spiral": (_xml((">radial</t", ">spiral</t")), "'spiral'; only radial"),
    "header version": (_xml(("<version>1<", "<version>3<")), "ISMRMRD version 3"),
    "readout version": (_changed(version=2), "version 2; version 1 is known"),
    "no TR": (_xml(("<TR>3.6</TR>", "")), "lacks 'TR'"),
    "no flip": (_xml(("<flipAngle_deg>5</flipAngle_deg>", "")), "lacks 'flipAngle_deg'"),
    "no encoding": (_xml(("encoding>", "decoding>")), "lacks 'encoding'"),
    "no matrix": (_xml(("<x>64</x>", "")), "encodedSpace/matrixSize"),
    "TR text": (_xml(("<TR>3.6<", "<TR>soon<")), "'soon'"),
    "broken XML": (_xml(("</encoding>", "")), "XML header is damaged"),
    "entities": (
        _xml(
            (
                "<ismrmrdHeader",
                '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><ismrmrdHeader',
            )
        ),
        "document type",
    ),
    "other XML": (_xml(("ismrmrdHeader", "html")), "not one of ISMRMRD"),
    "unknown unit": (_xml((UNIT, "<value>furlong</value>")), "'furlong'"),
    "no unit fits": (
        lambda p: (scaled_trajectory(p, 37.0), replace_xml(p, (USER, ""))),
        "no known unit",
    ),
    "outside": (lambda p: scaled_trajectory(p, 1.3), "beyond the edge of k-space"),
    "varying samples": (_one_row(number_of_samples=63), "different numbers of samples"),
    "varying channels": (_one_row(active_channels=2), "different numbers of channels"),
    "short readout": (_one_row(data=lambda v: v[:-4]), "not as many as their headers say"),
    "short trajectory": (_one_row(traj=lambda v: v[:-2]), "not as many as their headers say"),
    "NaN": (_one_row(data=_nan), "not finite"),
    "NaN in trajectory": (_one_row(traj=_nan), "not finite"),
    "all discarded": (_changed(discard_pre=63), "no samples"),
    "no navigators": (_random_angles, "no navigators.*ACQ_IS_NAVIGATION_DATA"),
    "no spokes": (_changed(flags=np.uint64(1 << 22)), "too few spokes"),
    "no inversions": (
        lambda p: (change(p, user_int=0), replace_xml(p, ("<TI>0</TI>", ""))),
        "when the inversions were",
    ),
    "partitions": (_changed(idx__kspace_encode_step_2=4), "partitions"),
    "oblique": (_changed(read_dir=lambda o, _: o + np.array([0, 0, 2])), "not orthogonal"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_is_wrong(copy: Path, case: str) -> None:
    damage, sentence = REFUSED[case]
    damage(copy)
    with pytest.raises(BadInput, match=sentence) as caught:
        read_ismrmrd(copy)
    assert str(copy) in caught.value.message
    assert caught.value.message.count(str(copy)) == 1


def test_layout_of_another_version(tmp_path: Path, written: Path) -> None:
    with h5py.File(written) as file, h5py.File(tmp_path / "old.h5", "w") as old:
        file.copy("dataset/xml", old.create_group("dataset"))
        names = [n for n in file["dataset/data"].dtype["head"].names if n != "user_int"]
        head = np.dtype([(n, file["dataset/data"].dtype["head"][n]) for n in names])
        layout = [("head", head), ("data", h5py.vlen_dtype(np.float32))]
        old["dataset"].create_dataset("data", (4,), np.dtype(layout))
    with pytest.raises(BadInput, match="another version of ISMRMRD: they lack user_int"):
        read_ismrmrd(tmp_path / "old.h5")


def test_damaged_anywhere_is_refused_or_read(tmp_path: Path, written: Path) -> None:
    """Bytes of a header or an index overwritten: a sentence, or data of the right shape."""
    whole = written.read_bytes()
    rng = np.random.default_rng(3)
    for number in range(25):
        place = int(rng.integers(0, len(whole) // 4))
        path = tmp_path / f"{number}.h5"
        path.write_bytes(whole[:place] + rng.bytes(64) + whole[place + 64 :])
        with suppress(BadInput):
            assert read_ismrmrd(path).kspace.ndim == 3


def test_without_h5py(
    written: Path, raw: RawData, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependency, match=r"mriforge\[raw\]"):
        read_ismrmrd(written)
    with pytest.raises(MissingDependency, match=r"mriforge\[raw\]"):
        write_ismrmrd(tmp_path / "a.h5", raw)


def test_a_header_may_have_comments_and_no_namespace() -> None:
    space = "<matrixSize><x>64</x><y>64</y><z>1</z></matrixSize>" + (
        "<fieldOfView_mm><x>300</x><y>300</y><z>6</z></fieldOfView_mm>"
    )
    header = parse_header(
        f"<!-- made by hand --><ismrmrdHeader><encoding><encodedSpace>{space}</encodedSpace>"
        f"<reconSpace>{space}</reconSpace><trajectory>radial</trajectory></encoding>"
        "<sequenceParameters><TR>4</TR></sequenceParameters></ismrmrdHeader>"
    )
    assert header.encoded_fov_mm == (300.0, 300.0, 6.0)
    assert header.repetition_s == pytest.approx(0.004)
    assert header.flip_deg is None
