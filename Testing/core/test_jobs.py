"""Requests, their options, their paths, and what becomes of exceptions."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from mriforge import errors
from mriforge.errors import BadInput, Cancelled
from mriforge.jobs import COMMANDS, Request, check_request, run_request
from mriforge.jobs.failures import understood
from mriforge.jobs.options import from_text, option, parse, specs
from mriforge.jobs.paths import check_paths


@dataclass(frozen=True, kw_only=True)
class Sample:
    input: str = option("input", "what to read", positional="IN")
    output: str | None = option("output", "what to write", default=None)
    table: str | None = option("output", "figures", default=None, suffixes=(".csv",))
    work: str | None = option("folder", "working folder", default=None)
    compare: Mapping | None = option("inputs", "others", default=None)
    keep: float | None = option("number", "kept", default=None, above=0, at_most=1)
    epochs: int = option("integer", "epochs", default=3, at_least=1)
    spacing: tuple | None = option("numbers", "mm", default=None, count=3, above=0, metavar="X,Y,Z")
    axes: tuple | None = option("integers", "axes", default=None)
    mode: str = option("text", "how", default="crop", choices=("crop", "zerofill"))
    device: str = option("device", "where", default="auto")
    gate: bool = option("flag", "gate", default=True)


def test_values_arrive_as_declared():
    options = parse(
        Sample,
        {
            "input": "a",
            "keep": 1,
            "spacing": [1, 2, 3.5],
            "axes": [0, 1],
            "gate": False,
            "mode": None,
        },
    )
    assert options.keep == 1.0
    assert options.spacing == (1.0, 2.0, 3.5)
    assert options.axes == (0, 1)
    assert (options.gate, options.mode, options.epochs) == (False, "crop", 3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "IN is missing"),
        ({"input": "a", "keap": 0.5}, "no option 'keap'. Did you mean 'keep'"),
        ({"input": 7}, "IN needs a text"),
        ({"input": ""}, "IN needs a text"),
        ({"input": "a", "keep": "0.5"}, "--keep needs a number"),
        ({"input": "a", "keep": True}, "--keep needs a number"),
        ({"input": "a", "keep": float("nan")}, "--keep needs a number"),
        ({"input": "a", "keep": 0}, "--keep must be greater than 0"),
        ({"input": "a", "keep": 1.5}, "--keep must be at most 1"),
        ({"input": "a", "epochs": 1.5}, "--epochs needs a whole number"),
        ({"input": "a", "epochs": 0}, "--epochs must be at least 1"),
        ({"input": "a", "spacing": [1, 2]}, "--spacing needs 3 numbers, not 2"),
        ({"input": "a", "spacing": 2}, "--spacing needs a list"),
        ({"input": "a", "mode": "crap"}, "--mode is crop or zerofill"),
        ({"input": "a", "device": "gpu"}, "--device is auto, cpu"),
        ({"input": "a", "gate": "yes"}, "--gate is true or false"),
        ({"input": "a", "compare": ["b"]}, "--compare needs NAME=FILE"),
    ],
)
def test_wrong_values_are_refused_with_a_sentence(values, said):
    with pytest.raises(BadInput) as caught:
        parse(Sample, values)
    assert said in caught.value.one_line()


def test_text_means_the_same_as_json():
    known = specs(Sample)
    assert from_text("keep", known["keep"], "0.25") == 0.25
    assert from_text("spacing", known["spacing"], "1,2,3") == [1.0, 2.0, 3.0]
    assert from_text("axes", known["axes"], "0,1") == [0, 1]
    assert from_text("gate", known["gate"], "no") is False
    assert from_text("input", known["input"], "1,2") == "1,2"
    for name, text in (("axes", "0,x"), ("keep", "a lot"), ("gate", "perhaps")):
        with pytest.raises(BadInput):
            from_text(name, known[name], text)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "in.nii.gz"
    path.write_bytes(b"voxels")
    return path


def refused(said: str, **values: object) -> None:
    with pytest.raises(BadInput) as caught:
        check_paths(parse(Sample, {k: str(v) for k, v in values.items()}))
    assert said in caught.value.one_line()


def test_outputs_are_never_an_input(image, tmp_path):
    refused("no file or folder", input=tmp_path / "not.nii")
    refused("is also the input (IN)", input=image, output=image)
    link = tmp_path / "link.nii.gz"
    link.symlink_to(image)
    refused("is also the input", input=image, output=link)
    refused("is also the input", input=link, output=image)
    hard = tmp_path / "hard.nii.gz"
    os.link(image, hard)
    refused("is also the input", input=image, output=hard)
    refused("would overwrite the input", input=image, output=tmp_path / "no" / ".." / image.name)
    sidecar = tmp_path / "prior.json"
    sidecar.write_text("{}")
    refused("would overwrite the input", input=sidecar, output=tmp_path / "prior.npy")


def test_outputs_that_cannot_be_written_are_refused(image, tmp_path):
    refused("not a folder", input=image, output=image / "below.nii")
    refused("is not a format", input=image, output=tmp_path / "out.xyz")
    refused("must end with .csv", input=image, table=tmp_path / "out.txt")
    folder = tmp_path / "dicom"
    folder.mkdir()
    (folder / "1.dcm").touch()
    refused("not empty", input=image, output=folder)
    refused("lies inside the input", input=folder, output=folder / "new")
    refused("is a file, not a folder", input=image, work=image)


def test_good_paths_pass(image, tmp_path):
    earlier = tmp_path / "out.nii.gz"
    earlier.write_bytes(b"an earlier result may be replaced")
    values = {
        "input": image,
        "output": earlier,
        "table": tmp_path / "new" / "t.csv",
        "work": tmp_path,
    }
    check_paths(parse(Sample, {k: str(v) for k, v in values.items()}))
    assert not (tmp_path / "new").exists(), "checking makes nothing"


def test_two_outputs_of_one_name_are_refused(tmp_path, image):
    output = str(tmp_path / "same.csv")

    @dataclass(frozen=True, kw_only=True)
    class Two:
        a: str = option("output", "a", suffixes=(".csv",))
        b: str = option("output", "b", suffixes=(".csv",))

    with pytest.raises(BadInput, match="both write"):
        check_paths(Two(a=output, b=output))


def test_request_is_its_json():
    request = Request("degrade", {"input": "a", "keep": np.float64(0.5)}, "stop", 3.0)
    again = Request.from_json(json.loads(json.dumps(request.to_json())))
    assert again == Request("degrade", {"input": "a", "keep": 0.5}, "stop", 3.0)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"command": "degrade"},
        {"version": 2, "command": "degrade"},
        {"version": True, "command": "degrade"},
        {"version": 1},
        {"version": 1, "command": 3},
        {"version": 1, "command": "degrade", "options": []},
        {"version": 1, "command": "degrade", "opts": {}},
        {"version": 1, "command": "degrade", "cancel_file": 3},
        {"version": 1, "command": "degrade", "time_limit_s": "3"},
    ],
)
def test_what_is_not_a_request_is_refused(data):
    with pytest.raises(BadInput):
        Request.from_json(data)


def test_request_files_that_cannot_be_read(tmp_path):
    for name, content in (("a", b"{"), ("b", b"\xff\xfe\xff"), ("c", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=name):
            Request.read(tmp_path / name)
    with pytest.raises(BadInput):
        Request.read(tmp_path / "missing")


def test_every_command_is_declared_and_cheap_to_import():
    for name, command in COMMANDS.items():
        module = command.load()
        assert callable(module.run), name
        assert module.__doc__, name
        for spec in specs(module.Options).values():
            assert spec.help, name


def test_importing_jobs_and_the_command_line_does_not_import_torch():
    import subprocess

    code = (
        "import sys, mriforge.cli.commands\n"
        "from mriforge.jobs import COMMANDS\n"
        "[c.load() for c in COMMANDS.values()]\n"
        "heavy = {'torch', 'SimpleITK', 'matplotlib', 'scipy', 'slicer', 'qt'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_command():
    with pytest.raises(BadInput, match="no command 'superes'"):
        check_request(Request("superes"))


def test_cancelled_before_it_starts(tmp_path):
    stop = tmp_path / "stop"
    stop.touch()
    with pytest.raises(Cancelled):
        run_request(Request("models", {}, cancel_file=str(stop)))


class OutOfMemoryError(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "out-of-memory"),
        (OutOfMemoryError("CUDA"), "out-of-memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "out-of-memory",
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "out-of-memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "failed"),
        (OSError(errno.EIO, "Input/output error"), "failed"),
        (ModuleNotFoundError("No module named 'rich'", name="rich"), "missing-dependency"),
        (KeyboardInterrupt(), "cancelled"),
        (ZeroDivisionError("division by zero"), "failed"),
        (BadInput("x"), "bad-input"),
    ],
)
def test_exceptions_become_one_clear_line(error, kind):
    explained = understood(error)
    assert explained.kind == kind
    assert "\n" not in explained.one_line()
    assert len(explained.one_line()) > 0


def test_exit_codes_are_distinct():
    codes = [value for name, value in vars(errors).items() if name.startswith("EXIT_")]
    assert sorted(codes) == list(range(7))
