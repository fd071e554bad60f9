"""The recon and frames commands on a small simulated scan: truth, files, refusals, cancel, kill."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge import io
from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.factors import Factors
from mriforge.io.bart import write_radial
from mriforge.jobs import Request, run_request
from mriforge.phantoms.multitasking import scan, subject
from mriforge.physics.trajectory import apply_delays, delays_matrix
from mriforge.rawdata import RawData
from mriforge.recon.encoding import check_memory
from mriforge.recon.job import ReconOptions, reconstruct_raw
from mriforge.recon.setup import prepare, without_delays
from mriforge.recon.spatial import Settings
from mriforge.temporal.model import given_bins

SIZE = 48


@pytest.fixture(scope="module")
def measured():
    return scan(subject(0), matrix=SIZE, coils=4, inversions=8, noise=0.003)


@pytest.fixture(scope="module")
def raw_file(measured, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "scan.cfl"
    write_radial(path, measured[0])
    return path


def truth_bins(raw: RawData, truth):
    return given_bins(raw, truth.cardiac, truth.respiratory, truth.bins[:2])


def cine_error(factors: Factors, truth) -> float:
    """Of magnitudes, up to one factor; the true images are those of perfect coils."""
    index = [(c, 0, 343) for c in range(0, 20, 4)]
    found = np.stack([np.abs(factors.frame(*i)) for i in index])
    wanted = np.stack([np.abs(truth.frame(*i)) for i in index])
    scale = (found * wanted).sum() / (found**2).sum()
    return float(np.linalg.norm(scale * found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("method", ["gridding", "admm", "fista"])
def test_methods_against_the_truth(measured, method):
    raw, truth = measured
    options = ReconOptions(
        Settings(method=method), rank=8, bins=truth_bins(raw, truth), coil_maps="walsh"
    )
    result = reconstruct_raw(raw, options)
    assert result.factors.bins == (20, 6, 344)
    limit = {"gridding": 0.7, "admm": 0.2, "fista": 0.2}[method]
    assert cine_error(result.factors, truth) < limit
    assert result.t1 is not None
    tissue, t1 = truth.tissue(0, 0, 0.95), truth.t1_ms(0, 0, 0.95)
    liver = (tissue == truth.tissues.index("liver") + 1) & result.t1.fitted
    if method != "gridding":
        assert np.median(result.t1.t1_ms[liver]) == pytest.approx(np.median(t1[liver]), rel=0.1)
        assert result.spatial.progress.costs[-1] < 0.2


@pytest.mark.parametrize("rounds", [0, 1])
def test_shipped_network_and_iterations_from_its_answer(measured, rounds):
    raw, truth = measured
    options = ReconOptions(
        Settings(method="malibu", consistency=rounds), bins=truth_bins(raw, truth), t1=None
    )
    result = reconstruct_raw(raw, options)
    assert result.factors.rank == 32
    assert result.info["spatial"]["model"]["name"] == "mdcn_small"
    gridded = reconstruct_raw(raw, replace(options, spatial=Settings(method="gridding")))
    assert cine_error(result.factors, truth) < 0.8 * cine_error(gridded.factors, truth)
    assert (result.spatial.progress is not None) == (rounds > 0)


def test_a_network_of_another_rank_is_refused(measured):
    raw, truth = measured
    options = ReconOptions(Settings(method="malibu"), rank=8, bins=truth_bins(raw, truth), t1=None)
    with pytest.raises(BadInput, match="32"):
        reconstruct_raw(raw, options)


def test_command_line_to_files(raw_file, tmp_path):
    out = tmp_path / "out"
    result = run_request(
        Request("recon", {"input": str(raw_file), "output": str(out), "rank": 8, "outer": 3})
    )
    assert sorted(p.name for p in out.iterdir()) == [
        "factors.npz", "recon.json", "report.html", "t1_ms.nii.gz", "t1_quality.nii.gz",
    ]  # fmt: skip
    assert result["frames"] == 41280
    factors = Factors.load(result["factors"])
    assert factors.info["settings"]["rank"] == 8
    assert factors.info["input"] == str(raw_file)
    t1 = io.read(result["t1"])
    assert t1.grid.shape == factors.grid.shape
    assert np.allclose(t1.grid.affine(), factors.grid.affine(), atol=1e-4)
    assert json.loads((out / "recon.json").read_text())["seconds"]["iterations"] > 0

    for name, axis in (("cine.seq.nrrd", "cardiac"), ("recovery.nii.gz", "inversion")):
        made = run_request(
            Request(
                "frames",
                {"input": result["factors"], "output": str(tmp_path / name), "axis": axis,
                 "step": 2 if axis == "cardiac" else 43},
            )
        )  # fmt: skip
        series = io.read(made["output"])
        expected = np.abs(factors.line(axis, 0, 0, -1, step=2 if axis == "cardiac" else 43))
        assert series.array.shape == expected.shape
        assert np.allclose(series.array, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_frames_refuses_what_is_not_there(raw_file, tmp_path):
    folder = tmp_path / "out"
    done = run_request(
        Request("recon", {"input": str(raw_file), "output": str(folder), "method": "gridding",
                          "rank": 3, "t1": False, "report": False})
    )  # fmt: skip
    with pytest.raises(BadInput, match="no respiratory 6"):
        run_request(
            Request("frames", {"input": done["factors"], "output": str(tmp_path / "a.nii.gz"),
                               "respiratory": 6})
        )  # fmt: skip
    with pytest.raises(BadInput, match="factors"):
        run_request(
            Request("frames", {"input": str(raw_file), "output": str(tmp_path / "a.nii.gz")})
        )


def test_navigators_alone_are_refused(measured):
    raw = measured[0]
    with pytest.raises(BadInput, match="navigators only"):
        reconstruct_raw(raw.take(raw.navigator))


def test_no_navigators_are_refused(measured):
    raw = measured[0]
    with pytest.raises(BadInput, match="navigator"):
        reconstruct_raw(raw.take(raw.imaging), ReconOptions(rank=4))


def test_one_coil_is_reconstructed(measured):
    raw, truth = measured
    single = replace(raw, kspace=raw.kspace[:, :1], noise=None)
    options = ReconOptions(Settings(outer=2), rank=4, bins=truth_bins(raw, truth))
    result = reconstruct_raw(single, options)
    assert np.isfinite(result.factors.spatial).all()
    assert np.abs(result.factors.spatial).max() > 0


def test_too_little_memory_is_said_before_any_work():
    check_memory(32, (1, 160, 160), 8, 4 << 30, False)
    with pytest.raises(BadInput, match="GiB") as refused:
        check_memory(32, (1, 160, 160), 8, 1 << 30, True)
    fitting = int(refused.value.hint.split("--rank ")[1].split()[0])
    check_memory(fitting, (1, 160, 160), 8, 1 << 30, True)
    with pytest.raises(BadInput):
        check_memory(fitting + 1, (1, 160, 160), 8, 1 << 30, True)


def test_delays_along_the_spokes_are_undone(measured):
    raw = measured[0]
    delays = delays_matrix(0.4, 0.4)
    _, still = without_delays(raw)
    assert np.abs(still).max() < 0.1
    late, _ = scan(
        subject(0), matrix=SIZE, coils=4, inversions=8, noise=0.003, gradient_delay=(0.4, 0.4, 0.0)
    )
    mended, found = without_delays(late)
    assert np.allclose(found, delays, atol=0.1)
    assert np.array_equal(mended.trajectory, late.trajectory)
    before = np.linalg.norm(late.kspace - raw.kspace)
    assert np.linalg.norm(mended.kspace - raw.kspace) < 0.5 * before


def test_sideways_delays_move_the_trajectory(measured):
    late, _ = scan(
        subject(0), matrix=SIZE, coils=4, inversions=8, noise=0.003, gradient_delay=(1.2, -0.4, 0.0)
    )
    mended, found = without_delays(late)
    assert np.allclose(found, delays_matrix(1.2, -0.4), atol=0.15)
    assert np.array_equal(mended.kspace, late.kspace)
    expected = apply_delays(late.trajectory, found)
    assert np.allclose(mended.trajectory, expected, atol=1e-6)


def test_coil_maps_have_unit_length_or_nothing(measured):
    for kind in ("espirit", "walsh"):
        maps = prepare(measured[0], coil_maps=kind).maps
        power = maps.abs().square().sum(0)
        assert torch.all((power < 1e-6) | ((power - 1).abs() < 1e-3))


def test_many_coils_are_compressed(measured):
    raw = measured[0]
    setup = prepare(raw, coils=2)
    assert setup.raw.coils == setup.maps.shape[0] == 2
    assert setup.info["coils_measured"] == 4
    with pytest.raises(BadInput):
        prepare(raw, coils=9)


class _StopAfter(Events):
    """Cancels when the progress has reached a stage."""

    def __init__(self, stage: str) -> None:
        super().__init__(Control())
        self.stage = stage

    def _progress(self, fraction: float, message: str, eta_s: float | None) -> None:
        if message.startswith(self.stage):
            self.control.cancel()


@pytest.mark.parametrize(
    "stage",
    ["coil sensitivities", "navigators", "temporal basis", "adjoint", "normal operator",
     "iteration 1", "T1 map"],
)  # fmt: skip
def test_cancel_in_every_stage(raw_file, tmp_path, stage):
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        run_request(
            Request("recon", {"input": str(raw_file), "output": str(out), "rank": 4}),
            _StopAfter(stage),
        )
    assert not out.exists() or not list(out.iterdir())


def test_killed_in_the_middle_leaves_nothing(raw_file, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "mriforge", "recon", str(raw_file), str(out)]
    process = subprocess.Popen(
        [*command, "--rank", "24", "--outer", "200", "--tolerance", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    time.sleep(6)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert not out.exists() or not [p for p in out.iterdir() if not p.name.startswith(".")]


def test_cartesian_kspace_by_sense(tmp_path):
    y, x = np.mgrid[-1:1:48j, -1:1:40j]
    image = ((x**2 + y**2 < 0.6) + 1.0 * (np.abs(x) + np.abs(y) < 0.3)).astype(np.complex64)
    coils = np.stack([np.exp(-((x - a) ** 2 + (y - b) ** 2)) for a in (-1, 1) for b in (-1, 1)])
    coils = coils / np.sqrt((coils**2).sum(0))
    kspace = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(coils * image, axes=(1, 2)), norm="ortho"), axes=(1, 2)
    )
    kspace[:, [row for row in range(48) if row % 2 and not 12 <= row < 36]] = 0
    np.save(tmp_path / "k.npy", kspace.astype(np.complex64))
    request = {"input": str(tmp_path / "k.npy"), "output": str(tmp_path / "out")}
    result = run_request(Request("recon", {**request, "method": "sense"}))
    found = io.read(result["output"]).array[0]
    body = np.abs(image) > 0
    scale = (found[body] * np.abs(image[body])).sum() / (found[body] ** 2).sum()
    assert np.linalg.norm(scale * found - np.abs(image)) < 0.12 * np.linalg.norm(image)
    with pytest.raises(BadInput, match="no trajectory"):
        run_request(Request("recon", request))
    np.save(tmp_path / "k.npy", np.zeros((4, 4)))
    with pytest.raises(BadInput, match=r"coils, y, x|shape"):
        run_request(Request("recon", {**request, "method": "sense"}))
