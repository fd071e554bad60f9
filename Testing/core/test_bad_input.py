"""Bad input on the command line: exit code, one clear line that names the culprit, no output.

A table: each case makes its bad file (or uses good ones badly) and gives the arguments, in which
``{good}`` is a good image, ``{bad}`` the file just made, ``{out}`` an output that must not appear.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mriforge.cli import main

RANDOM = np.random.default_rng(7)
VOXELS = (RANDOM.random((12, 10, 4)) * 900 + 100).astype(np.int16)
DEGRADE = "degrade {bad} {out} --keep 0.25"
EVALUATE = "evaluate {good} --reference {bad} --json {json}"
Make = Callable[[Path], Path]


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    affine = np.diag([2.0, 2.0, 5.0, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def image(array: object, affine: np.ndarray | None = None, name: str = "bad.nii.gz") -> Make:
    return lambda folder: nifti(folder / name, np.asarray(array), affine)


def data(name: str, content: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def with_voxel(value: float) -> np.ndarray:
    array = VOXELS.astype(np.float32)
    array[3, 3, 1] = value
    return array


def truncated(folder: Path) -> Path:
    whole = nifti(folder / "whole.nii.gz", RANDOM.random((20, 20, 4)).astype(np.float32))
    return data("bad.nii.gz", whole.read_bytes()[:-900])(folder)


def header(**fields: object) -> Make:
    """A good NIfTI file whose header is spoiled afterwards."""

    def make(folder: Path) -> Path:
        path = nifti(folder / "bad.nii", VOXELS)
        raw = bytearray(path.read_bytes())
        text = nibabel.Nifti1Header(bytes(raw[:348]), check=False)
        for name, value in fields.items():
            text[name] = value
        raw[:348] = text.binaryblock
        path.write_bytes(raw)
        return path

    return make


def rgb(folder: Path) -> Path:
    array = np.zeros((6, 6, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    array["R"] = 9
    return nifti(folder / "bad.nii.gz", array)


def sheared() -> np.ndarray:
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[0, 1] = 1.0
    return affine


def folder_of(**files: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / "bad").mkdir()
        for name, content in files.items():
            (folder / "bad" / name.replace("_", ".")).write_bytes(content)
        return folder / "bad"

    return make


def npy(array: np.ndarray, sidecar: str | None) -> Make:
    def make(folder: Path) -> Path:
        np.save(folder / "bad.npy", array)
        if sidecar is not None:
            (folder / "bad.json").write_text(sidecar)
        return folder / "bad.npy"

    return make


def text(name: str, content: str) -> Make:
    return data(name, content.encode())


def manifest(*rows: str) -> Make:
    return text("bad.csv", "path,subject,split,licence\n" + "\n".join(rows) + "\n")


def model(spoil: Callable[[Path, dict], None]) -> Make:
    """A copy of a good model folder, spoiled."""

    def make(folder: Path) -> Path:
        shutil.copytree(folder / "model", folder / "bad")
        card = json.loads((folder / "bad" / "card.json").read_text())
        spoil(folder / "bad", card)
        return folder / "bad"

    return make


def corrupt(folder: Path, card: dict) -> None:
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-5] ^= 255
    (folder / "model.safetensors").write_bytes(raw)


def rewrite(**changes: object) -> Callable[[Path, dict], None]:
    def spoil(folder: Path, card: dict) -> None:
        (folder / "card.json").write_text(json.dumps({**card, **changes}))

    return spoil


@dataclass(frozen=True)
class Case:
    name: str
    arguments: str
    said: str
    make: Make | None = None
    code: int = 2


FILES = [
    ("a missing file", lambda folder: folder / "bad.nii.gz", "bad.nii.gz"),
    ("an empty folder", folder_of(), "empty"),
    ("a folder without images", folder_of(notes_txt=b"hello"), "no DICOM image"),
    ("zero bytes", data("bad.nii.gz", b""), "0 bytes"),
    ("a cut gzip file", truncated, "bad.nii.gz"),
    ("text called .nii.gz", data("bad.nii.gz", b"this is not an image"), "NIfTI"),
    ("gzipped text called .nii.gz", data("bad.nii.gz", gzip.compress(b"no" * 400)), "bad.nii.gz"),
    ("noise called .nrrd", data("bad.nrrd", b"\x01\x02" * 300), "NRRD"),
    ("noise called .dcm", data("bad.dcm", b"\x01\x02" * 300), "DICOM"),
    ("noise called .mgz", data("bad.mgz", gzip.compress(b"\x01" * 600)), "bad.mgz"),
    ("NaN", image(with_voxel(np.nan)), "NaN"),
    ("infinity", image(with_voxel(np.inf)), "infinite"),
    ("a constant image", image(np.full((8, 8, 4), 3, np.int16)), "same value"),
    ("five axes", image(np.ones((4, 4, 4, 2, 3), np.float32)), "bad.nii.gz"),
    ("colours", rgb, "colour"),
    ("complex voxels", image(VOXELS.astype(np.complex64)), "complex"),
    ("a picture", data("bad.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 600), "picture"),
    ("a photograph", data("bad.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 600), "picture"),
    ("a MATLAB file", data("bad.mat", b"MATLAB 5.0 MAT-file" + b"\0" * 600), "MATLAB"),
    ("an archive", data("bad.zip", b"PK\x03\x04" + b"\0" * 600), "archive"),
    ("an unknown extension", data("bad.xyz", b"?" * 600), "no known format"),
    ("a sheared grid", image(VOXELS, sheared()), "perpendicular"),
    ("voxels of size zero", header(pixdim=[1, 0, 0, 0, 0, 0, 0, 0], srow_x=0, srow_y=0, srow_z=0),
     "voxel size"),
    ("voxels of size NaN", header(srow_x=np.nan, srow_y=np.nan, srow_z=np.nan), "finite"),
    ("more voxels than bytes", header(dim=[3, 300, 300, 300, 1, 1, 1, 1]), "bad.nii"),
    ("an array without its JSON", npy(VOXELS, None), "bad.json"),
    ("an array with broken JSON", npy(VOXELS, "{"), "JSON"),
    ("an array without voxel size", npy(VOXELS, "{}"), "voxel size"),
    ("raw k-space", npy(VOXELS.astype(np.complex64), '{"spacing": [1, 1, 1]}'), "complex"),
    ("an array of objects", data("bad.npy", b"\x93NUMPY\x01\x00F\x00{'descr': '|O', 'fortran_order'"
     b": False, 'shape': (1,), }                \n\x80\x04."), "bad.npy"),
]  # fmt: skip

CASES = [
    *(Case(f"{name} to degrade", DEGRADE, said, make) for name, make, said in FILES),
    *(Case(f"{name} as reference", EVALUATE, said, make) for name, make, said in FILES[:17:4]),
    # Options of degrade
    Case("nothing to do", "degrade {good} {out}", "Nothing is to be degraded"),
    Case("negative keep", "degrade {good} {out} --keep -0.1", "--keep must be greater than 0"),
    Case("keep in percent", "degrade {good} {out} --keep 25", "--keep must be at most 1"),
    Case("keep is a word", "degrade {good} {out} --keep much", "--keep needs a number"),
    Case("nothing left of k-space", "degrade {good} {out} --keep 1e-6", "No k-space line"),
    Case("axis 3", "degrade {good} {out} --keep 0.5 --axes 0,3", "axes"),
    Case("an axis twice", "degrade {good} {out} --keep 0.5 --axes 1,1", "axes"),
    Case("axes by letter", "degrade {good} {out} --keep 0.5 --axes x,y", "--axes needs a whole"),
    Case("unknown mode", "degrade {good} {out} --keep 0.5 --mode blur", "--mode is crop or"),
    Case("thin slices", "degrade {good} {out} --slice-thickness 1", "thinner"),
    Case("negative thickness", "degrade {good} {out} --slice-thickness -5", "must be greater"),
    Case("missing profile", "degrade {good} {out} --slice-thickness 9 --profile p.txt", "p.txt"),
    Case("a profile of words", "degrade {good} {out} --slice-thickness 9 --profile {bad}",
         "bad.txt", text("bad.txt", "no numbers")),
    Case("noise below zero", "degrade {good} {out} --noise -1", "--noise must be at least 0"),
    Case("Fermi without keep", "degrade {good} {out} --noise 0.1 --fermi", "Fermi"),
    # Outputs
    Case("output is the input", "degrade {good} {good} --keep 0.5", "also the input"),
    Case("output below a file", "degrade {good} {good}/x.nii --keep 0.5", "not a folder"),
    Case("unknown output format", "degrade {good} {out}.xyz --keep 0.5", "not a format"),
    Case("output is a full folder", "degrade {good} {models} --keep 0.5", "not empty"),
    Case("report that is no page", "evaluate {good} --reference {good} --report {out}", ".html"),
    Case("unwritable report", "evaluate {good} --reference {good} --report {good}/r.html",
         "not a folder"),
    Case("two outputs of one name",
         "evaluate {good} --reference {good} --ssim-map {out} --difference-map {out}", "both"),
    # The command line itself
    Case("unknown command", "sharpen {good} {out}", "no command 'sharpen'"),
    Case("unknown option", "degrade {good} {out} --keeep 0.5", "--keeep"),
    Case("missing argument", "superres {good}", "OUT is missing"),
    Case("missing option", "evaluate {good}", "--reference is missing"),
    # superres
    Case("scale below one", "superres {good} {out} --scale 0.5", "--scale must be greater than 1"),
    Case("two targets", "superres {good} {out} --scale 2 --spacing 1,1,5", "both say how fine"),
    Case("two spacings", "superres {good} {out} --spacing 1,1", "needs 3 numbers"),
    Case("negative spacing", "superres {good} {out} --spacing=-1,1,5", "must be greater than 0"),
    Case("coarser spacing", "superres {good} {out} --spacing 4,4,5", "coarser"),
    Case("nothing finer", "superres {good} {out} --spacing 2,2,5", "no finer"),
    Case("fine-tuning without prior", "superres {good} {out} --finetune", "--prior"),
    Case("registration without prior", "superres {good} {out} --register", "--prior"),
    Case("budget without fine-tuning", "superres {good} {out} --max-minutes 3", "--finetune"),
    Case("negative budget", "superres {good} {out} --prior {good} --finetune --max-minutes -1",
         "--max-minutes must be greater than 0"),
    Case("unknown device", "superres {good} {out} --device gpu", "--device is auto, cpu"),
    Case("no such GPU", "superres {good} {out} --device cuda:77", "cuda:77"),
    Case("stride zero", "superres {good} {out} --stride 0", "--stride must be at least 1"),
    Case("no such frame", "superres {good} {out} --frames 5", "frames"),
    Case("prior is a text", "superres {good} {out} --prior {bad}", "bad.txt", text("bad.txt", "x")),
    Case("prior is constant", "superres {good} {out} --prior {bad} --finetune", "same value",
         image(np.full((24, 20, 4), 3, np.int16))),
    Case("prior has NaN", "superres {good} {out} --prior {bad} --finetune", "NaN",
         image(with_voxel(np.nan))),
    Case("prior is a series", "superres {good} {out} --prior {bad}", "--prior-frame",
         image(np.stack([VOXELS] * 2, -1))),
    Case("prior is no sharper", "superres {good} {out} --prior {bad}", "no finer",
         image(VOXELS, np.diag([4.0, 4.0, 5.0, 1.0]))),
    Case("checkpoint that is none",
         "superres {good} {out} --prior {sharp} --finetune --resume --checkpoint {bad}",
         "bad.safetensors", text("bad.safetensors", "weights")),
    # Models
    Case("unknown model", "superres {good} {out} --model gpt", "gpt", code=3),
    Case("model without card", "superres {good} {out} --model {bad}", "bad", folder_of(), 3),
    Case("card that is no card", "superres {good} {out} --model {bad}", "bad",
         folder_of(card_json=b"[1]"), 3),
    Case("corrupt weights", "superres {good} {out} --model {bad}", "bad", model(corrupt), 3),
    Case("missing weights", "superres {good} {out} --model {bad}", "bad",
         model(lambda folder, card: (folder / "model.safetensors").unlink()), 3),
    Case("unknown network", "superres {good} {out} --model {bad}", "bad",
         model(rewrite(network="unet9d")), 3),
    Case("weights of another network", "superres {good} {out} --model {bad}", "bad",
         model(rewrite(network="unet3d", network_options={})), 3),
    Case("card from the future", "superres {good} {out} --model {bad}", "newer",
         model(rewrite(format=99)), 3),
    Case("verifying corrupt weights", "models verify {bad}", "bad", model(corrupt), 3),
    Case("showing no model", "models show", "Which model"),
    Case("exporting nowhere", "models export {models}/model", "--out"),
    Case("unknown action", "models burn", "ACTION is list, show"),
    # evaluate
    Case("reference of another grid", EVALUATE, "bad.nii.gz", image(VOXELS[:8])),
    Case("reference of more frames", EVALUATE, "frames", image(np.stack([VOXELS] * 3, -1))),
    Case("mask of another grid", "evaluate {good} --reference {good} --mask {bad} --json {json}",
         "bad.nii.gz", image((VOXELS[:8] > 500).astype(np.uint8))),
    Case("empty mask", "evaluate {good} --reference {good} --mask {bad} --json {json}",
         "bad.nii.gz", image(np.zeros((12, 10, 4), np.uint8))),
    Case("compare without name", "evaluate {good} --reference {good} --compare {good}",
         "NAME=FILE"),
    # finetune and train
    Case("two ways to be coarse", "finetune --prior {good} --like {good} --keep 0.1 --out {dir}",
         "both say how coarse"),
    Case("fine-tuning of nothing", "finetune --out {dir}", "--prior is missing"),
    Case("unknown recipe", "train unet9d --data {bad} --out {dir}", "unet9d",
         manifest("good.nii.gz,a,train,CC0")),
    Case("misspelt recipe", "train {bad} --data {good} --out {dir}", "learning_rate",
         text("bad.toml", 'name = "x"\nlearning_rate = 1.0\n[network]\nname = "unet3d_small"\n')),
    Case("recipe that is no TOML", "train {bad} --data {good} --out {dir}", "bad.toml",
         text("bad.toml", "name = = 3")),
    Case("missing manifest", "train unet3d_small --data none.csv --out {dir}", "none.csv"),
    Case("manifest of pixels", "train unet3d_small --data {good} --out {dir}", "good.nii.gz"),
    Case("manifest without a column", "train unet3d_small --data {bad} --out {dir}", "subject",
         text("bad.csv", "path,split,licence\ngood.nii.gz,train,CC0\n")),
    Case("manifest of a missing file", "train unet3d_small --data {bad} --out {dir}", "gone.nii",
         manifest("gone.nii,a,train,CC0")),
    Case("a subject in two splits", "train unet3d_small --data {bad} --out {dir}", "two splits",
         manifest("good.nii.gz,a,train,CC0", "good.nii.gz,a,validation,CC0")),
    Case("no budget", "train unet3d_small --data {bad} --out {dir} --max-minutes 0",
         "--max-minutes must be greater", manifest("good.nii.gz,a,train,CC0")),
    Case("training into a file", "train unet3d_small --data {bad} --out {good}", "not a folder",
         manifest("good.nii.gz,a,train,CC0")),
]  # fmt: skip


@pytest.fixture
def places(tmp_path, monkeypatch) -> dict[str, Path]:
    """Good images, a good model, and names of outputs in a folder that does not exist yet."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    out = tmp_path / "out"
    return {
        "good": nifti(work / "good.nii.gz", VOXELS),
        "sharp": nifti(
            work / "sharp.nii.gz",
            RANDOM.integers(0, 900, (48, 40, 8)).astype(np.int16),
            np.diag([1.0, 1.0, 5.0, 1.0]),
        ),
        "out": out / "out.nii.gz",
        "json": out / "out.json",
        "dir": out / "new",
    }


@pytest.fixture(scope="module")
def small_model(tmp_path_factory) -> Path:
    """A model folder as ``train`` writes it, with random weights."""
    from mriforge.models.card import ModelCard
    from mriforge.models.store import save_model
    from mriforge.networks.registry import build

    card = ModelCard(
        name="model",
        network="unet3d_small",
        network_options={"residual": True},
        recipe="unet3d_small",
        input={"upsample": "sinc", "scale": "percentile", "percentile": 99.5},
    )
    network = build("unet3d_small", residual=True)
    return save_model(tmp_path_factory.mktemp("models") / "model", network.state_dict(), card).path


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input(case, places, small_model, tmp_path, monkeypatch, capfd):
    work = tmp_path / "work"
    if "{models}" in case.arguments or "--model {bad}" in case.arguments or "verify" in case.name:
        shutil.copytree(small_model, work / "model")
    if " superres" in " " + case.arguments and "--model" not in case.arguments:
        monkeypatch.setenv("MRIFORGE_MODELS", str(small_model.parent))
        case = Case(case.name, case.arguments + " --model model", case.said, case.make, case.code)
    bad = case.make(work) if case.make else work / "none"
    before = contents(tmp_path)
    words = {**places, "bad": bad, "models": work}
    arguments = [word.format(**words) for word in case.arguments.split()]
    code = main(arguments)
    printed = capfd.readouterr()
    assert code == case.code, printed.err
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("mriforge: ")
    assert case.said in lines[0]
    assert "Traceback" not in lines[0]
    assert "inside MRIForge" not in lines[0]
    assert printed.out == ""
    assert contents(tmp_path) == before, "nothing is written, nothing is changed"


def contents(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): hash(path.read_bytes()) if path.is_file() else 0
        for path in sorted(folder.rglob("*"))
    }


def test_there_are_enough_cases():
    assert len({case.name for case in CASES}) == len(CASES) >= 45


def test_dicom_folders_that_need_a_person(shared_data, tmp_path, capfd):
    """Broken series, and a folder that holds several series."""
    mixed = tmp_path / "mixed"
    for name in ("dicom/d2n_ge_anatomical_001", "dicom/d2n_hitachi_anatomical_001"):
        shutil.copytree(shared_data / name, mixed / Path(name).name)
    for folder in (mixed, *sorted(shared_data.glob("dicom/d2n_failing_*"))):
        code = main(["degrade", str(folder), str(tmp_path / "out.nii.gz"), "--keep", "0.5"])
        printed = capfd.readouterr().err
        assert (code, printed.count("\n")) == (2, 1), printed
        assert str(folder) in printed
        assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize("arguments", [["degrade", "no.nii", "o.nii", "--keep", "1"], ["supress"]])
def test_as_a_process(arguments, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mriforge", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
