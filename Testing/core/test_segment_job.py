"""The command ``segment``: files in and out, series, doubts, refusals, cancel, the worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from outline_helpers import around, bands_of, image_of, kidneys, save_bands

from mriforge.anatomy import ORGANS
from mriforge.cli import main
from mriforge.errors import BadInput, Cancelled, OutOfMemory
from mriforge.events import Events
from mriforge.io import read, write
from mriforge.jobs import Request, run_request
from mriforge.jobs.segment import Options, check, views_of
from mriforge.models.card import ModelCard
from mriforge.segment import doubts
from mriforge.segment.outline import Outliner, Settings
from mriforge.volume import Grid, Series, Volume

GRID = around((20, 26, 32), (7.0, 7.0, 8.0))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return kidneys(GRID)


@pytest.fixture(scope="module")
def scan(truth, tmp_path_factory) -> Path:
    return write(image_of(truth, GRID), tmp_path_factory.mktemp("scan") / "scan.nrrd")


@pytest.fixture(scope="module")
def model(truth, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "bands"
    return save_bands(folder, bands_of(image_of(truth, GRID)), 7.0)


class Heard(Events):
    """Keeps what it is told; cancels at a fraction."""

    def __init__(self, cancel_at: float = 2.0) -> None:
        super().__init__()
        self.told, self.lines, self.cancel_at = [], [], cancel_at

    def _progress(self, fraction, message, eta_s):
        self.told.append((fraction, message))
        if fraction >= self.cancel_at:
            self.control.cancel()

    def _log(self, text):
        self.lines.append(text)


def segment(source, output, model, events=None, **options) -> dict:
    """The command in this process."""
    given = {"input": str(source), "output": str(output), "model": str(model), "device": "cpu"}
    return run_request(Request("segment", {**given, **options}), events or Events())


def ml(labels: np.ndarray, label: int, grid: Grid = GRID) -> float:
    return float((labels == label).sum() * np.prod(grid.spacing) / 1000)


def test_a_volume_with_everything_that_can_be_written(scan, model, truth, tmp_path) -> None:
    names = {
        "disagreement": "doubt.nii.gz", "votes": "votes.nii.gz", "json": "v.json",
        "report": "page.html",
    }  # fmt: skip
    files = {key: str(tmp_path / name) for key, name in names.items()}
    events = Heard()
    result = segment(scan, tmp_path / "organs.nrrd", model, events, largest=True, **files)
    labels = read(tmp_path / "organs.nrrd")
    assert labels.array.dtype == np.uint8 and labels.grid.matches(GRID, 1e-3)
    assert (labels.array == truth).mean() > 0.999
    doubt, votes = read(files["disagreement"]).array, read(files["votes"]).array
    assert doubt.dtype == np.float32 and 0 <= doubt.min() <= doubt.max() <= 1
    assert votes.min() >= 0 and votes.max() == 3
    saved = json.loads(Path(files["json"]).read_text(encoding="utf-8"))
    for found in (saved, result):
        assert found["volumes_ml"]["right_kidney"] == pytest.approx(ml(labels.array, 4))
        assert found["volumes_ml"]["left_kidney"] == pytest.approx(ml(labels.array, 5))
        assert list(found["volumes_ml"]) == [organ.key for organ in ORGANS]
        assert found["method"]["name"] == "bands" and len(found["method"]["sha256"]) == 64
        assert found["views"] == ["axial", "coronal", "sagittal"] and found["device"] == "cpu"
    page = Path(files["report"]).read_text(encoding="utf-8")
    assert "Left kidney" in page and "Not found: liver" in page
    assert any("No liver" in line for line in events.lines)
    fractions = [fraction for fraction, _ in events.told]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    for view in ("axial", "coronal", "sagittal"):
        assert any(f"{view} view, slab" in text for _, text in events.told)


def test_labels_know_how_they_were_made(scan, model, tmp_path) -> None:
    result = segment(scan, tmp_path / "organs.npy", model, views="coronal", fusion="probability")
    origin = read(result["output"]).metadata["provenance"]
    assert origin["job"] == "segment" and origin["method"]["sha256"] == result["method"]["sha256"]
    assert origin["views"] == ["coronal"] and origin["fusion"] == "probability"
    assert origin["working"]["spacing_mm"] == [7.0, 7.0, 7.0]


def test_a_series_frame_by_frame(model, truth, tmp_path) -> None:
    shifted = np.roll(truth, 2, axis=0)
    frames = np.stack([image_of(labels, GRID).array for labels in (truth, shifted, truth)])
    frames[2] = 55.0  # a black frame at the end of a scan
    series = Series(frames, GRID, np.array([0.0, 1.5, 3.0]), "trigger time", "ms")
    write(series, tmp_path / "cine.seq.nrrd")
    files = {key: str(tmp_path / f"{key}.seq.nrrd") for key in ("disagreement", "votes")}
    events = Heard()
    page = {"json": str(tmp_path / "v.json"), "report": str(tmp_path / "page.html")}
    result = segment(
        tmp_path / "cine.seq.nrrd", tmp_path / "o.seq.nrrd", model, events, **files, **page
    )
    made = read(tmp_path / "o.seq.nrrd")
    assert np.array_equal(made.times, series.times) and made.array.dtype == np.uint8
    for found, wanted in zip(made.array, (truth, shifted, 0 * truth), strict=True):
        assert (found == wanted).mean() > 0.999
    assert result["volumes_ml"]["left_kidney"] == pytest.approx(
        [ml(frame, 5) for frame in made.array]
    )
    assert read(files["disagreement"]).array.shape == made.array.shape
    assert any(text.startswith("frame 2 of 3: axial view") for _, text in events.told)
    assert any(text.startswith("Frame 2: Almost nothing") for text in result["warnings"])


def test_an_input_in_dicom_terms_of_nothing_but_a_black_frame(model, tmp_path) -> None:
    """Outlined volumes of one value only are answered with nothing."""
    volume = Volume(np.full(GRID.shape, 3.0, np.float32), GRID)
    found = Outliner(torch.nn.Identity(), Settings(7.0, device="cpu", disagreement=True))(volume)
    assert not found.labels.any() and not found.entropy.any()


def test_the_command_line(scan, model, truth, tmp_path, capfd) -> None:
    arguments = ["segment", str(scan), str(tmp_path / "o.nii.gz"), "--model", str(model)]
    more = ["--views", "axial, sagittal", "--overlap", "1", "--holes", "--memory", "1"]
    assert main([*arguments, *more, "--device", "cpu"]) == 0
    assert (read(tmp_path / "o.nii.gz").array == truth).mean() > 0.999
    assert main([*arguments, "--views", "axial,oblique"]) == 2
    assert "--views are some of" in capfd.readouterr().err


def test_a_worker_from_request_to_result(scan, model, truth, tmp_path) -> None:
    output = tmp_path / "organs.npy"
    options = {"input": str(scan), "output": str(output), "model": str(model), "device": "cpu"}
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"version": 1, "command": "segment", "options": options}))
    done = subprocess.run(
        [sys.executable, "-m", "mriforge.worker", str(request)],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert lines[-1]["event"] == "result" and lines[-1]["output"] == str(output)
    assert {line["event"] for line in lines} <= {"progress", "log", "metric", "result"}
    assert (read(output).array == truth).mean() > 0.999


@pytest.mark.parametrize("fraction", [0.0, 0.03, 0.5, 0.9])
def test_a_cancelled_job_leaves_nothing(fraction, scan, model, tmp_path) -> None:
    out = tmp_path / "out"
    files = {"disagreement": str(out / "d.nrrd"), "json": str(out / "v.json")}
    with pytest.raises(Cancelled):
        segment(scan, out / "o.nrrd", model, Heard(fraction), **files)
    assert not out.exists() or not any(out.iterdir())


def saved(array, grid, tmp_path) -> Path:
    return write(Volume(np.asarray(array, np.float32), grid), tmp_path / "in.nrrd")


BAD = {
    "constant": (np.full(GRID.shape, 4), GRID, "the same value"),
    "not numbers": (np.full(GRID.shape, np.nan), GRID, "not numbers"),
    "one slice": (np.arange(60).reshape(1, 6, 10), Grid((1, 6, 10), (9, 9, 9)), "a single slice"),
    "tiny": (np.random.default_rng(0).random((20, 20, 20)), Grid((20, 20, 20), (1, 1, 1)),
             "covers 20 x 20 x 20 mm"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_images_with_nothing_to_outline_are_refused(name, model, tmp_path) -> None:
    array, grid, words = BAD[name]
    source = saved(array, grid, tmp_path)
    with pytest.raises(BadInput, match=words) as caught:
        segment(source, tmp_path / "o.nrrd", model)
    assert str(source) in caught.value.message and caught.value.hint
    assert not (tmp_path / "o.nrrd").exists()


def test_models_for_other_things_are_refused(scan, truth, tmp_path) -> None:
    other = save_bands(tmp_path / "other", bands_of(image_of(truth, GRID)), 7.0, task="factors")
    with pytest.raises(BadInput, match="is for factors, not for organs"):
        segment(scan, tmp_path / "o.nrrd", other)


def test_a_memory_limit_that_nothing_fits_in(scan, model, tmp_path) -> None:
    with pytest.raises(OutOfMemory, match="GiB are left"):
        segment(scan, tmp_path / "o.nrrd", model, memory=0.001)
    assert not (tmp_path / "o.nrrd").exists()


def test_the_cpu_goes_on_where_a_device_has_no_memory(model, truth) -> None:
    from mriforge.models.store import load_model

    network, card = load_model(model)
    heard = Heard()
    outliner = Outliner(network, Settings.of(card, device="cpu", memory_gib=2.0), heard)
    outliner.devices = [torch.device("cuda", 0)]
    usual = outliner.predictor

    class Full:
        def __call__(self, *given, **options):
            raise OutOfMemory("Memory ran out on cuda:0 even with one slab at a time.")

    outliner.predictor = lambda device: Full() if device.type == "cuda" else usual(device)
    found = outliner(image_of(truth, GRID), heard)
    assert np.array_equal(found.labels, truth)
    assert found.figures["device"] == "cpu" and found.figures["precision"] == "single"
    assert sum("Going on with the CPU" in line for line in heard.lines) == 3


CARD = ModelCard("m", "denseunet_small", "denseunet_small", task="organs")


def one_frame(array, grid, **metadata) -> Series:
    return Series(np.asarray(array, np.float32)[None], grid, np.zeros(1), metadata=metadata)


def test_doubts_about_an_image() -> None:
    wide = around((40, 50, 70), (6.0, 6.0, 6.0))
    ramp = np.arange(np.prod(wide.shape)).reshape(wide.shape)
    assert doubts.before(CARD, one_frame(ramp, wide), 3.0) == []
    head = around((20, 40, 40), (4.0, 5.0, 10.0))
    small = np.arange(np.prod(head.shape)).reshape(head.shape)
    found = " ".join(doubts.before(CARD, one_frame(small - 9, head, modality="CT"), 3.0))
    for words in ("CT, not MR", "negative", "10.0 mm long", "160 mm from left to right"):
        assert words in found
    thin = around((4, 50, 70), (6.0, 6.0, 6.0))
    broad = around((40, 40, 40), (6.3, 6.3, 6.3))
    assert doubts.too_narrow(broad) == doubts.too_short(broad) == ""
    assert "24 mm from feet to head" in doubts.before(CARD, one_frame(ramp[:4], thin), 3.0)[0]


def test_doubts_about_an_answer(truth) -> None:
    torso = truth.copy()
    torso[6:14, 4:16, 3:12][torso[6:14, 4:16, 3:12] == 0] = 1
    said = lambda labels, grid=GRID: " ".join(  # noqa: E731
        doubts.after(labels, grid, doubts.volumes_ml(labels, grid))
    )
    assert said(torso) == ""
    assert "No liver was found" in said(truth)
    assert "Almost nothing was found" in said(0 * truth)
    assert "Right kidney: " in said(truth, Grid(GRID.shape, (20, 20, 20)))
    swapped = np.array([0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10], np.uint8)[torso]
    assert "on the left of the left one" in said(swapped)
    turned = Grid(GRID.shape, GRID.spacing, (0, 0, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert "on the left of the left one" in said(torso, turned)


def test_doubts_name_their_frames() -> None:
    assert doubts.as_sentences([["a"], ["a", "b"], ["a"]]) == ["a", "Frame 1: b"]
    assert doubts.as_sentences([["b"]]) == ["b"]


def test_settings_are_those_of_the_card() -> None:
    card = ModelCard("m", "n", "r", settings={"organs": {"spacing": 3.0, "slices": 12}})
    assert (Settings.of(card).spacing, Settings.of(card).slices) == (3.0, 12)
    old = ModelCard("m", "n", "r", input={"spacing_mm": 2.0})
    assert (Settings.of(old).spacing, Settings.of(old).slices) == (2.0, 20)
    assert Settings.of(card, overlap=4, fusion="probability").overlap == 4


def test_views_of_the_command() -> None:
    make = lambda views: Options(input="a", output="b", views=views)  # noqa: E731
    assert views_of(make("Coronal, axial")) == ("coronal", "axial")
    for wrong in ("", "axial,axial", "x"):
        with pytest.raises(BadInput, match="--views"):
            check(make(wrong))
