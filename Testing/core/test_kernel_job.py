"""The command that learns a kernel: files in, a kernel file and a picture out, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.blind.describe import example, widths
from mriforge.blind.scans import prepare
from mriforge.errors import BadInput
from mriforge.io import read, write
from mriforge.jobs import Request, check_request, run_request
from mriforge.physics.downsampling import KernelDownsampling, gaussian_kernel, read_kernel
from mriforge.physics.profiles import FWHM_PER_SIGMA
from mriforge.volume import Grid, Volume

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import phantom

RECIPE = """
name = "tiny"
task = "kernel"
[network]
name = "downsampler"
options = {width = 4}
[kernel]
crop = 32
batch = 2
every = 10
slices = "SLICES"
[adversarial]
kind = "absolute"
discriminator = "patch_judge"
options = {width = 4, inner = 1}
[optimiser]
lr = 1e-2
[training]
steps = 40
validate_every = 20
"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("scans")
    grid = Grid((3, 56, 60), (0.8, 0.9, 3.0))
    sharp = Volume(800 * phantom(grid.shape, 0), grid)
    op = KernelDownsampling(grid, gaussian_kernel(1.0))
    other = torch.from_numpy(phantom(grid.shape, 1))
    low = Volume(90 * op.A(other).clamp(min=0).numpy(), op.low)
    found = {name: str(folder / f"{name}.nii.gz") for name in ("high", "low")}
    write(sharp, found["high"])
    write(low, found["low"])
    for kind in ("all", "each"):
        path = folder / f"{kind}.toml"
        path.write_text(RECIPE.replace("SLICES", kind), encoding="utf-8")
        found[kind] = str(path)
    return found


def request(scans: dict[str, str], out: Path, **options: object) -> Request:
    given = {"low": scans["low"], "high": scans["high"], "output": str(out)}
    return Request("kernel", given | {"recipe": scans["all"], "device": "cpu"} | options)


def test_files_in_and_a_kernel_out(scans, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "k.json"
    picture = str(tmp_path / "k.png")
    result = run_request(request(scans, out, picture=picture, more_high=[scans["high"]]))
    kernel = read_kernel(out)
    assert kernel.taps.shape == (13, 13) and kernel.ratio == (2, 2)
    assert kernel.spacing == pytest.approx((0.9, 0.8))
    # Of a kernel that has hardly learned some mass leaves over the edge while it is centred.
    assert np.abs(kernel.centre_of_mass).max() < 0.05
    note = kernel.provenance
    assert note["low"] == ["low.nii.gz"] and note["high"] == ["high.nii.gz"] * 2
    assert note["steps"] == result["steps"] == 40
    assert len(result["fwhm_pixels"]) == 2
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    json.dumps(result)
    degraded = run_request(
        Request(
            "degrade",
            {
                "input": scans["high"],
                "output": str(tmp_path / "d.nii.gz"),
                "kernel": str(out),
            },
        )
    )
    assert read(degraded["output"]).grid.shape == (3, 28, 30)


def test_a_game_for_each_slice(scans, tmp_path) -> None:
    result = run_request(request(scans, tmp_path / "k.json", recipe=scans["each"], steps=30))
    assert result["games"] == 3 and result["steps"] == 30 and result["spread"] >= 0


def test_going_on_from_a_checkpoint(scans, tmp_path) -> None:
    state = str(tmp_path / "c.safetensors")
    run_request(request(scans, tmp_path / "a.json", checkpoint=state, steps=20))
    with pytest.raises(BadInput, match="already a checkpoint"):
        check_request(request(scans, tmp_path / "b.json", checkpoint=state))
    on = request(scans, tmp_path / "b.json", checkpoint=state, resume=True)
    assert run_request(on)["steps"] == 40
    run_request(request(scans, tmp_path / "whole.json"))
    one, other = (read_kernel(tmp_path / f"{name}.json").taps for name in ("b", "whole"))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "mdcsrn"}, "does not learn a kernel"),
        ({"axes": [0, 3]}, "two of 0, 1, 2"),
        ({"axes": [1, 1]}, "two of 0, 1, 2"),
        ({"resume": True}, "needs a checkpoint"),
        ({"output": "k.txt"}, "must end with .json"),
        ({"more_low": ["none.nii"]}, "There is no file"),
        ({"recipe": "downsampling_gan", "checkpoint": "c.safetensors"}, "keeps no checkpoint"),
    ],
)
def test_refused_before_any_work(scans, tmp_path, monkeypatch, options: dict, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=words):
        check_request(request(scans, tmp_path / "k.json", **options))


def volume(shape=(2, 40, 44), spacing=(1.0, 1.0, 2.0), seed: int = 0) -> Volume:
    return Volume(phantom(shape, seed), Grid(shape, spacing))


def test_scans_are_brought_to_twice_the_sharp_pixels() -> None:
    low = volume((2, 40, 44), (1.7, 1.7, 5.0), 1)
    ready = prepare([low], [volume((3, 60, 60), (0.8, 0.8, 2.0))], ratio=(2, 2))
    assert ready.spacing == (0.8, 0.8)
    assert len(ready.low) == 2 and len(ready.high) == 3
    # 40 pixels of 1.7 mm: 66.3 mm from first to last, 41 steps of 1.6 mm.
    assert ready.low[0].shape == (42, 46)
    assert ready.figures["resampled_from_mm"] == [[1.7, 1.7]]


def test_other_planes_and_volumes() -> None:
    low, high = volume((20, 8, 24), (2.0, 1.0, 2.0)), volume((30, 5, 32), (1.0, 1.0, 1.0))
    ready = prepare([low], [high], ratio=(2, 2), axes=(0, 2))
    assert len(ready.low) == 8 and ready.low[0].shape == (20, 24)
    ready = prepare([volume((10, 12, 14), (2, 2, 2))], [volume((9, 9, 9), (1, 1, 1))],
                    ratio=(2, 2, 2))  # fmt: skip
    assert ready.low[0].shape == (10, 12, 14) and len(ready.high) == 1


def test_noise_is_removed_from_the_low_resolution_scans() -> None:
    clean = volume((2, 64, 64), (2.0, 2.0, 4.0), 3)
    rng = np.random.default_rng(0)
    noisy = clean.with_array(
        (clean.array + rng.normal(0, 0.03, clean.array.shape)).astype(np.float32)
    )
    high = volume((2, 64, 64), (1.0, 1.0, 4.0), 2)
    ready = prepare([noisy], [high], ratio=(2, 2), denoise=0.8)
    truth = clean.array / np.percentile(noisy.array, 99.5)
    before = np.std(noisy.array / np.percentile(noisy.array, 99.5) - truth)
    after = np.std(np.stack(ready.low) - truth)
    assert after < 0.7 * before
    assert ready.figures["noise"][0] == pytest.approx(0.03, rel=0.25)


def test_scans_that_do_not_fit() -> None:
    high = volume((2, 40, 40), (1.0, 1.0, 1.0))
    with pytest.raises(BadInput, match="pixels of 4 x 4 mm; beside the sharp ones 2 x 2 mm"):
        prepare([volume(spacing=(4.0, 4.0, 1.0))], [high], ratio=(2, 2))
    with pytest.raises(BadInput, match=r"Sharp scan 2 has pixels of 1\.5 x 1 mm"):
        prepare([volume()], [high, volume(spacing=(1.5, 1.0, 1.0))], ratio=(2, 2))
    empty = Volume(np.zeros((2, 9, 9), np.float32), Grid((2, 9, 9), (2.0, 2.0, 1.0)))
    with pytest.raises(BadInput, match="Low-resolution scan 1 is empty"):
        prepare([empty], [high], ratio=(2, 2))


def test_width_of_a_gaussian() -> None:
    found = widths(gaussian_kernel((1.0, 1.6)).taps)
    assert found == pytest.approx([1.6 * FWHM_PER_SIGMA, FWHM_PER_SIGMA], rel=1e-3)


def test_example_is_as_large_as_the_samples() -> None:
    real, made = example(gaussian_kernel(1.0), [np.ones((9, 9))] * 3, [np.ones((20, 22))] * 2)
    assert real.shape == (9, 9) and made.shape == (10, 11)
    assert np.allclose(made, 1.0)
