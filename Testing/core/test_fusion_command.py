"""``mriforge fuse``: several inputs before one output, files of the result, what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mriforge import io
from mriforge.cli import main
from mriforge.errors import BadInput
from mriforge.jobs import Request, check_request, run_request
from mriforge.jobs.options import option, parse
from mriforge.jobs.paths import input_paths
from mriforge.volume import Series

sys.path.insert(0, str(Path(__file__).parent))
from fusion_helpers import phantom, stack_of


@dataclass(frozen=True, kw_only=True)
class Several:
    inputs: tuple[str, ...] = option("files", "some", positional="A B", at_least=2, at_most=3)
    more: tuple[str, ...] | None = option("files", "others", default=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stacks")
    truth = phantom(32)
    for name, axis in (("ax", 2), ("cor", 1), ("sag", 0)):
        io.write(stack_of(truth, axis), folder / f"{name}.nii.gz")
    io.write(truth, folder / "truth.nii.gz")
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_three_stacks_become_one_volume(folder, tmp_path, capsys):
    out, notes, residuals = tmp_path / "out.nii.gz", tmp_path / "notes.json", tmp_path / "residuals"
    stacks = [folder / f"{name}.nii.gz" for name in ("ax", "cor", "sag")]
    code = run("fuse", *stacks, out, "--json", notes, "--residuals", residuals, "-q")
    assert code == 0, capsys.readouterr().err
    image = io.read(out)
    assert image.grid.matches(io.read(folder / "truth.nii.gz").grid)
    assert image.metadata["provenance"]["job"] == "fuse"
    figures = json.loads(notes.read_text())
    assert figures["output"] == str(out)
    assert len(figures["stacks"]) == 3
    for number, stack in enumerate(stacks, start=1):
        gap = io.read(residuals / f"residual_{number}.nii.gz")
        assert gap.grid.matches(io.read(stack).grid)
        assert gap.array.min() >= 0
    assert f"written: {out}" in capsys.readouterr().out


def test_a_request_names_its_inputs_in_a_list(folder, tmp_path):
    options = {
        "inputs": [str(folder / "ax.nii.gz"), str(folder / "sag.nii.gz")],
        "output": str(tmp_path / "two.npy"),
        "register": False,
        "spacing": 2.0,
    }
    request = Request.from_json(json.loads(json.dumps(Request("fuse", options).to_json())))
    result = run_request(request)
    assert io.read(result["output"]).grid.spacing == (2.0, 2.0, 2.0)


def test_a_frame_of_a_series_is_chosen(folder, tmp_path, capsys):
    first = io.read(folder / "ax.nii.gz")
    frames = Series(np.stack([first.array * 0.5, first.array]), first.grid, np.arange(2))
    io.write(frames, tmp_path / "series.nii.gz")
    arguments = (tmp_path / "series.nii.gz", folder / "sag.nii.gz", tmp_path / "out.nii.gz")
    assert run("fuse", *arguments, "-q") == 2
    assert "--frame N" in capsys.readouterr().err
    assert run("fuse", *arguments, "-q", "--frame", 5) == 2
    assert "no frame 5" in capsys.readouterr().err
    assert run("fuse", *arguments, "-q", "--frame", 1, "--no-register", "--spacing", 2) == 0


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        (["ax", "out"], [], "needs 2 to 3 files, not 1"),
        (["ax", "cor", "sag", "truth", "out"], [], "needs 2 to 3 files, not 4"),
        (["ax", "cor", "ax"], [], "is also the input"),
        (["ax", "ax", "out"], [], "given twice"),
        (["ax", "nothing", "out"], [], "no file or folder"),
        (["ax", "truth", "out"], [], "isotropic"),
        (["ax", "cor", "out"], ["--target", "3"], "--target 3 is none of the 2 stacks"),
        (["ax", "cor", "out"], ["--target", "1", "--slice-motion"], "one contrast"),
        (["ax", "cor", "out"], ["--target", "1", "--method", "implicit"], "implicit"),
        (["ax", "cor", "out"], ["--profile", "triangle"], "no slice profile"),
        (["ax", "cor", "out"], ["--slice-motion", "--no-register"], "alignment"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder, tmp_path, capsys, names, more, said):
    paths = [(tmp_path if n == "out" else folder) / f"{n}.nii.gz" for n in names]
    before = {p: p.read_bytes() for p in paths if p.exists()}
    assert run("fuse", *paths, *more, "-q") == 2
    assert said in capsys.readouterr().err
    assert {p: p.read_bytes() for p in before} == before


def test_label_maps_are_refused(folder, tmp_path, capsys):
    stack = io.read(folder / "cor.nii.gz")
    labels = nibabel.Nifti1Image(
        (stack.array.transpose(2, 1, 0) > 0.2).astype(np.uint8), stack.grid.affine("RAS")
    )
    nibabel.save(labels, tmp_path / "labels.nii.gz")
    arguments = (folder / "ax.nii.gz", tmp_path / "labels.nii.gz", tmp_path / "out.nii.gz")
    assert run("fuse", *arguments, "-q") == 2
    assert "label map" in capsys.readouterr().err


def test_options_of_several_files():
    assert parse(Several, {"inputs": ["a", "b"], "more": ["c"]}).more == ("c",)
    for wrong in (["a"], ["a", "b", "c", "d"], "ab", ["a", ""], ["a", 7]):
        with pytest.raises(BadInput, match="A B needs"):
            parse(Several, {"inputs": wrong})
    assert [p for _, p in input_paths(parse(Several, {"inputs": ["a", "b"], "more": ["c"]}))] == [
        "a",
        "b",
        "c",
    ]


def test_an_output_that_is_any_of_the_inputs_is_refused(folder):
    first, second = str(folder / "ax.nii.gz"), str(folder / "cor.nii.gz")
    for output in (first, second):
        with pytest.raises(BadInput, match="input"):
            check_request(Request("fuse", {"inputs": [first, second], "output": output}))
