"""The demo: honest images, every method in the table, all files there, a clear end."""

from __future__ import annotations

import csv
import dataclasses
import json
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge import demo, demo_data
from mriforge.errors import Cancelled, MissingDependency
from mriforge.events import Events
from mriforge.io import read
from mriforge.models.card import ModelCard
from mriforge.models.store import save_model
from mriforge.networks.registry import build
from mriforge.physics.interpolation import BASELINES, resample
from mriforge.volume import Grid, Series, Volume


@pytest.fixture(scope="module")
def series() -> Series:
    return demo_data.example_series()


@pytest.fixture(scope="module")
def prior(series: Series) -> Volume:
    return demo_data.make_prior(series[0])


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def detail(array: np.ndarray) -> float:
    """Energy of in-plane differences between neighbours, relative to the image's."""
    array = array.astype(float)
    return float((np.diff(array, axis=-1) ** 2).mean() / (array**2).mean())


def test_the_example_is_what_the_demo_says(series: Series) -> None:
    assert series.array.shape == (2, 24, 96, 128)
    assert series.grid.spacing == pytest.approx((2.0, 2.0, 2.2), abs=1e-3)
    assert correlation(series.array[0], series.array[1]) > 0.999


def test_a_nibabel_without_its_example_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = ModuleSpec("nibabel", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(demo_data, "find_spec", lambda name: spec)
    with pytest.raises(MissingDependency, match=r"example4d\.nii\.gz") as caught:
        demo_data.example_series()
    assert "pip" in caught.value.hint


def test_the_prior_is_another_image_of_the_same_head(series: Series, prior: Volume) -> None:
    frame = series[0]
    again = demo_data.make_prior(frame)
    np.testing.assert_array_equal(again.array, prior.array)
    assert not np.array_equal(demo_data.make_prior(frame, seed=1).array, prior.array)
    assert not prior.grid.matches(frame.grid)
    seen = resample(prior, frame.grid, 1)
    inside = slice(demo_data.SHORTER, -demo_data.SHORTER)
    assert correlation(seen.array[inside], frame.array[inside]) < 0.93
    assert prior.array.min() >= 0
    assert 0.8 < detail(prior.array) / detail(frame.array[inside]) < 1.3


def test_the_motion_that_is_stated_is_the_motion_that_is_made(series: Series) -> None:
    frame = series[0]
    motion = demo_data._rigid_motion(frame.grid)
    turn = motion[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    angle = np.degrees(np.arccos((np.trace(turn) - 1) / 2))
    assert angle == pytest.approx(np.linalg.norm(demo_data.ROTATION_DEG), rel=0.02)
    centre = frame.grid.index_to_world((np.array(frame.grid.stored_shape) - 1) / 2)
    moved = turn @ centre + motion[:3, 3]
    np.testing.assert_allclose(moved - centre, demo_data.TRANSLATION_MM, atol=1e-9)


def test_moving_back_gives_the_frame_again() -> None:
    z, y, x = np.mgrid[:12, :40, :40]
    blob = np.exp(-((z - 6) ** 2 / 8 + (y - 21) ** 2 / 30 + (x - 19) ** 2 / 40))
    grid = Grid((12, 40, 40), (2.0, 2.0, 2.2))
    motion = demo_data._rigid_motion(grid)
    there = Volume(demo_data._moved(Volume(blob, grid), grid, motion), grid)
    back = demo_data._moved(there, grid, np.linalg.inv(motion))
    assert np.abs(back - blob)[3:-3].max() < 0.02
    peak = np.unravel_index(there.array.argmax(), grid.shape)[::-1]
    expected = motion[:3, :3] @ grid.index_to_world(np.array([19, 21, 6])) + motion[:3, 3]
    assert np.abs(grid.index_to_world(np.array(peak)) - expected).max() <= 1.3


def test_sensitivity_is_smooth_and_bounded() -> None:
    field = demo_data._sensitivity((18, 112, 128), np.random.default_rng(0))
    limit = 1 + demo_data.BIAS
    assert field.min() >= 1 / limit - 1e-9
    assert field.max() <= limit + 1e-9
    assert field.max() / field.min() > 1.1
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 0.05


class Listening(Events):
    """Remembers what is said, and stops the job when told to."""

    def __init__(self, stop_at: float = 2.0) -> None:
        super().__init__()
        self.fractions: list[float] = []
        self.said: list[str] = []
        self.stop_at = stop_at

    def _progress(self, fraction: float, message: str, eta_s: float | None) -> None:
        self.fractions.append(fraction)
        if fraction >= self.stop_at:
            self.control.cancel()

    def _log(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def small_world(
    series: Series, prior: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A tiny series and an untrained network, so that the whole demo runs in seconds."""
    torch.manual_seed(0)
    network = build("unet3d", width=4, residual=True)
    card = ModelCard(
        name="unet3d_small",
        network="unet3d",
        network_options={"width": 4, "residual": True},
        recipe="unet3d_small",
        input={"upsample": "sinc", "scale": "percentile", "percentile": 99.5},
    )
    save_model(tmp_path / "models" / "unet3d_small", network.state_dict(), card)
    monkeypatch.setenv("MRIFORGE_MODELS", str(tmp_path / "models"))
    part = (slice(None), slice(8, 16), slice(24, 72), slice(32, 96))
    array = series.array[part]
    grid = series.grid.resampled((64, 48, 8), series.grid.spacing, (32.0, 24.0, 8.0))
    small = dataclasses.replace(series, array=array, grid=grid)
    monkeypatch.setattr(demo, "example_series", lambda: small)
    monkeypatch.setattr(demo, "make_prior", lambda frame: small[0])
    return tmp_path / "out"


def test_the_demo_from_end_to_end(small_world: Path) -> None:
    events = Listening()
    result = demo.run_demo(small_world, events, minutes=0.1)
    assert events.fractions == sorted(events.fractions)
    assert events.fractions[-1] == 1.0
    assert "nearly the same image" in events.said[0]
    for name in ("report", "json", "csv"):
        assert Path(result[name]).is_file()
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert "<img" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    figures = json.loads(Path(result["json"]).read_text(encoding="utf-8"))
    assert list(figures["levels"]) == ["25", "10", "6.25"]
    for scores in figures["levels"].values():
        assert set(scores) == {*BASELINES, "main", "finetuned"}
        assert scores["finetuned"]["psnr"] >= scores["sinc"]["psnr"] - 0.05
    with Path(result["csv"]).open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3 * len(demo.TITLES)
    for title in demo.TITLES.values():
        assert title in result["table"]
    assert result["report"] in result["next"]
    assert "--finetune" in result["next"]
    truth, sharp = (read(small_world / name) for name in ("truth.nii.gz", "finetuned_10.nii.gz"))
    assert truth.grid.matches(sharp.grid)


def test_the_demo_can_be_stopped(small_world: Path) -> None:
    with pytest.raises(Cancelled):
        demo.run_demo(small_world, Listening(stop_at=0.2), minutes=0.1)
    assert not (small_world / "report.html").exists()
    assert not [path for path in small_world.iterdir() if "partial" in path.name]


@pytest.mark.long
def test_the_shipped_model_beats_every_baseline(tmp_path: Path) -> None:
    result = demo.run_demo(tmp_path, Events(), minutes=8.0)
    for scores in result["levels"].values():
        best = max(scores[name]["psnr"] for name in BASELINES)
        assert scores["main"]["psnr"] > scores["sinc"]["psnr"]
        assert scores["finetuned"]["psnr"] > best
    assert result["seconds"] < 600
