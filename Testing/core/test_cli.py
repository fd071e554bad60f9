"""The command line: help, results, chains of commands, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mriforge import __version__
from mriforge.cli import main
from mriforge.jobs import COMMANDS

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
RECIPE = """
name = "tiny"
[network]
name = "unet3d_small"
options = { width = 4, residual = true }
[degradation]
keep = [0.25]
[patches]
size = [4, 16, 16]
batch = 2
per_slab = 2
[optimiser]
lr = 1.0e-3
[training]
steps = 6
validate_every = 3
[validation]
patches = 1
size = [4, 16, 16]
"""


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def nifti(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...] = (1.0, 1.0, 4.0)) -> Path:
    axes = np.meshgrid(*(np.linspace(-2, 2, n) for n in shape[:3]), indexing="ij", sparse=True)
    blob = np.exp(-sum(axis**2 for axis in axes))
    frames = np.random.default_rng(5).random(shape) * 0.2
    frames += blob if len(shape) == 3 else blob[..., None]
    image = nibabel.Nifti1Image((frames * 1000).astype(np.int16), np.diag([*spacing, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny model, trained by the command."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(RECIPE)
    nifti(folder / "a.nii.gz", (40, 32, 6))
    nifti(folder / "b.nii.gz", (32, 40, 6))
    (folder / "data.csv").write_text(
        "path,subject,split,licence\na.nii.gz,a,train,CC0-1.0\nb.nii.gz,b,validation,CC0-1.0\n"
    )
    arguments = ["--data", folder / "data.csv", "--out", folder / "run"]
    assert run("train", folder / "tiny.toml", *arguments, "--quiet") == 0
    return folder / "run" / "model"


def test_help_loads_nothing_that_takes_long():
    code = (
        "import sys\n"
        "from mriforge.cli import main; main(['--help'])\n"
        "slow = {'torch', 'numpy', 'scipy', 'SimpleITK', 'nibabel', 'matplotlib', 'pydicom'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(name, capsys):
    assert main([name, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"Usage: mriforge {name} [OPTIONS]")
    assert printed.err == ""


def test_options_of_the_design_are_there(capsys):
    wanted = {
        "degrade": "--keep --axes --mode --fermi --slice-thickness --slice-gap --axis --profile",
        "superres": "--model --prior --finetune --max-minutes --epochs --scale --spacing --like "
        "--no-consistency --no-gate --register --device --memory --stride --json",
        "finetune": "--model --prior --like --keep --out",
        "train": "RECIPE --data --out --max-minutes --resume",
        "evaluate": "--reference --mask --ssim-map --difference-map --json --csv --report "
        "--compare",
        "models": "--json",
        "demo": "--out",
    }
    for name, options in wanted.items():
        main([name, "--help"])
        text = capsys.readouterr().out
        assert [option for option in options.split() if option not in text] == [], name


def test_version_and_bare_call(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mriforge {__version__}\n"
    assert main([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "shape",
    [(40, 32, 5), (33, 27, 3, 2), (40, 40, 1, 3), (40, 40, 1, 1), (24, 20, 1), (9, 7, 2)],
    ids=["volume", "odd series", "cine of one slice", "one frame", "one slice", "tiny"],
)
def test_degrade_sharpen_evaluate(shape, model, tmp_path, capsys):
    """Single slices, single frames, odd sizes and images smaller than a patch, in all commands."""
    truth = nifti(tmp_path / "truth.nii.gz", shape)
    low, sharp = tmp_path / "low.nii.gz", tmp_path / "sharp.nii.gz"
    assert run("degrade", truth, low, "--keep", 0.3) == 0
    assert run("superres", low, sharp, "--model", model, "--like", truth) == 0
    assert nibabel.load(sharp).shape == shape
    figures, table = tmp_path / "f.json", tmp_path / "f.csv"
    outputs = ["--json", figures, "--csv", table, "--ssim-map", tmp_path / "ssim.nii.gz"]
    outputs += ["--difference-map", tmp_path / "difference.nii.gz"]
    capsys.readouterr()
    assert run("evaluate", sharp, "--reference", truth, *outputs) == 0
    found = json.loads(figures.read_text())
    assert {"psnr", "ssim", "nrmse", "mae", "diff_sd", "frames"} <= set(found)
    assert len(found["frames"]) == (shape[3] if len(shape) == 4 else 1)
    assert nibabel.load(tmp_path / "ssim.nii.gz").shape == shape
    assert table.read_text().count("\n") >= len(found["frames"])
    assert f"{found['psnr']:.2f}"[:4] in capsys.readouterr().out


def test_finetune_then_sharpen(model, tmp_path, capsys, monkeypatch):
    """The subject-specific step alone, and within ``superres``, give models that work."""
    recipe = RECIPE + "[finetune.default]\nsize = [4, 16, 16]\nbatch = 2\nsteps = 3\nlr = 1e-3\n"
    folder = tmp_path / "with_recipe"
    card = json.loads((model / "card.json").read_text())
    folder.mkdir()
    (tmp_path / "tiny.toml").write_text(recipe)
    card["recipe"], card["settings"] = str(tmp_path / "tiny.toml"), {}
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    prior = nifti(tmp_path / "prior.nii.gz", (48, 48, 6))
    low = nifti(tmp_path / "low.nii.gz", (24, 24, 6, 2), (2.0, 2.0, 4.0))
    common = ["--model", folder, "--prior", prior]
    assert run("finetune", *common, "--like", low, "--out", tmp_path / "tuned") == 0
    output = tmp_path / "sharp.nii.gz"
    tuned = tmp_path / "tuned" / "model"
    assert run("superres", low, output, "--model", tuned, "--scale", 2) == 0
    figures = tmp_path / "figures.json"
    options = ["--finetune", "--register", "--json", figures, "--save-model", tmp_path / "own"]
    assert run("superres", low, output, *common, *options) == 0
    assert nibabel.load(output).shape == (48, 48, 6, 2)
    assert json.loads(figures.read_text())["finetune"]["steps"] == 3
    assert run("models", "verify", tmp_path / "own") == 0
    assert run("finetune", *common, "--like", low, "--out", tmp_path / "tuned") == 2
    assert "--resume" in capsys.readouterr().err


def test_earlier_results_are_replaced(tmp_path):
    truth = nifti(tmp_path / "truth.nii.gz", (16, 16, 2))
    for keep, size in ((0.25, 8), (0.5, 10)):
        assert run("degrade", truth, tmp_path / "low.nii.gz", "--keep", keep) == 0
        assert nibabel.load(tmp_path / "low.nii.gz").shape[0] == size
    assert len(list(tmp_path.iterdir())) == 2


def test_models_as_json(model, monkeypatch, capsys):
    monkeypatch.setenv("MRIFORGE_MODELS", str(model.parent))
    assert main(["models", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    networks = {entry["name"]: entry for entry in entries if entry["kind"] == "network"}
    assert networks["unet3d"]["parameters"] == 5_418_177
    assert networks["unet3d"]["source"]
    mine = next(e for e in entries if e["kind"] == "model" and e["name"] == "model")
    assert mine["network"] == "unet3d_small"
    assert mine["sha256"]
    assert mine["trained_on"][0]["licence"] == "CC0-1.0"
    assert main(["models", "show", "model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == mine["sha256"]
    assert main(["models", "show", "model"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert f"sha256: {mine['sha256']}" in shown
    at = shown.index("trained_on:")
    assert shown[at + 1] == "  1:"
    assert "    licence: CC0-1.0" in shown[at + 2 :]
    assert max(map(len, shown)) < 400
    assert main(["models"]) == 0
    assert "unet3d_small" in capsys.readouterr().out


def test_models_export(model, tmp_path, capsys):
    assert run("models", "export", model, "--out", tmp_path / "copy") == 0
    assert run("models", "verify", tmp_path / "copy") == 0
    assert run("models", "export", model, "--out", tmp_path / "copy") == 2
    assert "not empty" in capsys.readouterr().err


def test_debug_shows_where(tmp_path, capsys):
    assert run("degrade", tmp_path / "no.nii", tmp_path / "o.nii", "--keep", 1, "--debug") == 2
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.splitlines()[-1].startswith("mriforge: ")


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "mriforge.cli.commands", raising=False)
    monkeypatch.setitem(sys.modules, "click", None)
    assert main(["--help"]) == 4
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert 'pip install "mriforge[cli]"' in line


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for other processes")
def test_ctrl_c_leaves_nothing(tmp_path):
    """Ctrl+C while a long series is degraded: code 6, one line, no output."""
    source = nifti(tmp_path / "long.nii", (24, 24, 2, 20_000))
    process = subprocess.Popen(
        [sys.executable, "-m", "mriforge", "degrade", str(source), str(tmp_path / "o.nii.gz"),
         "--keep", "0.5"],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 6, printed
    assert printed.splitlines()[-1] == "mriforge: The job was cancelled."
    assert [path.name for path in tmp_path.iterdir()] == ["long.nii"]
