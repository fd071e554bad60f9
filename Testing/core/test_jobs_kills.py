"""Worker processes killed at random moments: nothing damaged, and resuming is exact.

The long variant (50 kills) is ``Testing/long/test_kills.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows processes end without signals")

RECIPE = """
name = "tiny"
[network]
name = "unet3d_small"
options = { width = 4, residual = true }
[patches]
size = [8, 16, 16]
batch = 2
per_slab = 2
[optimiser]
lr = 1.0e-3
[training]
steps = 40
checkpoint_seconds = 0.05
[finetune.default]
size = [8, 16, 16]
batch = 2
steps = 150
lr = 1.0e-3
"""
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}


class Bench:
    """A folder with a tiny model, a prior and a series, and jobs that are killed in it.

    Args:
        folder: where everything is put.
        seed: of the moments and the signals.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.codes: list[int] = []
        self.finished = 0
        voxels = np.random.default_rng(seed)
        self.prior = self._image("prior.nii.gz", voxels.random((48, 40, 12)), (1.0, 1.0, 3.0))
        self.series = self._image("series.nii.gz", voxels.random((24, 20, 12, 4)), (2.0, 2.0, 3.0))
        self.model = self._model()
        self.inputs = {path: digest(path) for path in (self.prior, self.series)}

    def _image(self, name: str, voxels: np.ndarray, spacing: tuple[float, ...]) -> Path:
        affine = np.diag([*spacing, 1.0])
        image = nibabel.Nifti1Image((voxels * 1000).astype(np.int16), affine)
        nibabel.save(image, self.folder / name)
        return self.folder / name

    def _model(self) -> Path:
        import torch

        from mriforge.models.card import ModelCard
        from mriforge.models.store import save_model
        from mriforge.networks.registry import build

        recipe = self.folder / "tiny.toml"
        recipe.write_text(RECIPE)
        options = {"width": 4, "residual": True}
        torch.manual_seed(3)
        network = build("unet3d_small", **options)
        card = ModelCard(
            name="tiny",
            network="unet3d_small",
            network_options=options,
            recipe=str(recipe),
            input={"upsample": "sinc", "scale": "percentile", "percentile": 99.5},
        )
        return save_model(self.folder / "tiny", network.state_dict(), card).path

    def finetune(self, out: Path, resume: bool) -> dict:
        options = {"model": str(self.model), "prior": str(self.prior), "out": str(out)}
        return {"command": "finetune", "options": {**options, "keep": 0.25, "resume": resume}}

    def superres(self, out: Path) -> dict:
        options = {"input": str(self.series), "output": str(out), "model": str(self.model)}
        return {"command": "superres", "options": {**options, "scale": 4.0}}

    def start(self, request: dict) -> subprocess.Popen:
        path = self.folder / "request.json"
        path.write_text(json.dumps({"version": 1, **request}))
        return subprocess.Popen(
            [sys.executable, "-m", "mriforge.worker", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=ENVIRONMENT,
        )

    def run(self, request: dict) -> dict:
        """Runs to the end; the result."""
        process = self.start(request)
        out, _ = process.communicate(timeout=300)
        last = json.loads(out.splitlines()[-1])
        assert process.returncode == 0, last
        return last

    def kill(self, request: dict, number: int, after: str, within_s: float) -> int:
        """Starts a job, waits for a message that contains ``after``, kills it a moment later.

        Returns:
            the exit code; 0 when the job was faster.
        """
        process = self.start(request)
        lines: list[str] = []
        reached = threading.Event()

        def listen() -> None:
            for line in process.stdout:
                lines.append(line)
                if after in line:
                    reached.set()
            reached.set()

        listener = threading.Thread(target=listen)
        listener.start()
        reached.wait(timeout=120)
        time.sleep(self.random.uniform(0.0, within_s))
        process.send_signal(number)
        process.wait(timeout=60)
        listener.join()
        self.codes.append(process.returncode)
        self._check_report(process.returncode, number, lines)
        return process.returncode

    def _check_report(self, code: int, number: int, lines: list[str]) -> None:
        if code == -signal.SIGKILL:
            return
        # A polite signal while Python itself was still starting.
        if code == -number and not lines:
            return
        last = json.loads(lines[-1])
        assert code in (0, 6), last
        assert last["event"] == ("error" if code else "result"), last

    def check_nothing_damaged(self) -> None:
        """Inputs untouched; everything with a final name is whole."""
        assert {path: digest(path) for path in self.inputs} == self.inputs
        for path in self.folder.rglob("*"):
            hidden = any(p.startswith((".partial-", ".replaced-")) for p in path.parts)
            if path.is_dir() or hidden:
                continue
            if path.name.endswith(".nii.gz"):
                np.asarray(nibabel.load(path).dataobj)
            if path.suffix == ".safetensors":
                weights(path)
            if path.name == "card.json":
                from mriforge.models.store import find_model, verify_model

                verify_model(find_model(path.parent))

    def leftovers(self) -> list[str]:
        return [path.name for path in self.folder.rglob(".partial-*")]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def kill_finetuning(bench: Bench, kills: int) -> None:
    """Kills and resumes fine-tunings; each one that gets to its end has the undisturbed weights."""
    bench.run(bench.finetune(bench.folder / "undisturbed", resume=False))
    expected = weights(bench.folder / "undisturbed" / "model" / "model.safetensors")
    for kill in range(kills):
        out = bench.folder / f"killed{bench.finished}"
        number = (signal.SIGTERM, signal.SIGKILL)[kill % 2]
        code = bench.kill(bench.finetune(out, resume=True), number, "step", within_s=1.0)
        bench.check_nothing_damaged()
        if code == 0:
            bench.finished += 1
            assert same(weights(out / "model" / "model.safetensors"), expected)
    out = bench.folder / f"killed{bench.finished}"
    bench.run(bench.finetune(out, resume=True))
    assert same(weights(out / "model" / "model.safetensors"), expected)
    assert bench.leftovers() == []


def kill_writing(bench: Bench, kills: int) -> None:
    """Kills super-resolution around the moment its result is written."""
    out = bench.folder / "sharp" / "out.nii.gz"
    for kill in range(kills):
        number = (signal.SIGTERM, signal.SIGKILL)[kill % 2]
        after = "writing" if kill % 4 < 2 else "frame"
        code = bench.kill(bench.superres(out), number, after, within_s=0.3)
        bench.check_nothing_damaged()
        if number == signal.SIGTERM and code == 6:
            assert not out.exists(), "a cancelled job has no output"
            assert bench.leftovers() == [] or kill > 0
        if out.exists():
            bench.finished += 1
            out.unlink()
    bench.run(bench.superres(out))
    assert nibabel.load(out).shape == (96, 80, 12, 4)
    assert bench.leftovers() == []


def test_two_kills_of_finetuning(tmp_path):
    kill_finetuning(Bench(tmp_path, seed=1), kills=2)


def test_two_kills_of_writing(tmp_path):
    kill_writing(Bench(tmp_path, seed=2), kills=2)
