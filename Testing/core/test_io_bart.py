"""BART arrays: layout, agreement with the tool itself where it is installed, refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mriforge.errors import BadInput
from mriforge.io.bart import read_cartesian, read_cfl, read_radial, write_cfl, write_radial
from mriforge.phantoms.multitasking import scan, subject


@pytest.fixture(scope="module")
def raw():
    raw, _ = scan(
        subject(0), matrix=32, coils=3, inversions=2, pulses=60, partitions=2, noise=0, ecg=True
    )
    return raw


def drawn(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(shape)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def bart(folder: Path, *words: str) -> str:
    if shutil.which("bart") is None:
        pytest.skip("BART is not installed")
    done = subprocess.run(["bart", *words], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("shape", [(5,), (4, 3), (8, 1, 6, 5), (2, 1, 1, 3, 1), (1, 7)])
def test_arrays_come_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = drawn(*shape)
    write_cfl(tmp_path / "a", array)
    back = read_cfl(tmp_path / "a.cfl")
    leading = next((n for n, size in enumerate(shape) if size > 1), len(shape) - 1)
    assert np.array_equal(back, array.reshape(shape[leading:]))
    assert isinstance(back, np.memmap)
    assert (tmp_path / "a.hdr").read_text().split()[2 : 2 + len(shape)] == [
        str(n) for n in shape[::-1]
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.cfl", "a.hdr"]


def test_bart_agrees_about_the_layout(tmp_path: Path) -> None:
    array = drawn(4, 3, 2)
    write_cfl(tmp_path / "a", array)
    assert "2x3x4" in bart(tmp_path, "show", "-m", "a").replace(" ", "").replace("\t", "x")
    bart(tmp_path, "transpose", "0", "2", "a", "b")
    assert np.array_equal(read_cfl(tmp_path / "b"), array.transpose(2, 1, 0))


def test_bart_agrees_about_the_trajectory(tmp_path: Path, raw) -> None:
    """`bart nufft` of an image at the written positions is the transform of the conventions."""
    image = drawn(32, 32)
    write_radial(tmp_path / "scan", raw)
    write_cfl(tmp_path / "image", image)
    trajectory = read_cfl(tmp_path / "scan_traj").copy()
    trajectory[..., 2] = 0
    write_cfl(tmp_path / "flat", trajectory)
    bart(tmp_path, "nufft", "-P", "flat", "image", "k")
    found = np.asarray(read_cfl(tmp_path / "k")).reshape(raw.trajectory.shape[:2])
    axis = np.arange(32) - 16
    points = raw.trajectory.reshape(-1, 2).astype(float)
    wanted = np.einsum(
        "my,yx,mx->m",
        np.exp(-2j * np.pi * np.outer(points[:, 1], axis)),
        image,
        np.exp(-2j * np.pi * np.outer(points[:, 0], axis)),
        optimize=True,
    )
    scale = np.vdot(found.ravel(), wanted) / np.vdot(found, found).real
    assert np.linalg.norm(scale * found.ravel() - wanted) / np.linalg.norm(wanted) < 5e-3


def test_radial_data_come_back(tmp_path: Path, raw) -> None:
    write_radial(tmp_path / "scan.cfl", raw)
    back = read_radial(tmp_path / "scan")
    for name in ("kspace", "navigator", "since_inversion", "time_s", "partition"):
        assert np.array_equal(getattr(back, name), getattr(raw, name)), name
    assert np.allclose(back.trajectory, raw.trajectory, atol=1e-6)
    assert back.grid.matches(raw.grid)
    assert np.allclose(back.physiology["cardiac_trigger_s"], raw.physiology["cardiac_trigger_s"])


def test_a_description_may_be_short(tmp_path: Path, raw) -> None:
    write_radial(tmp_path / "scan", raw)
    (tmp_path / "scan.json").unlink()
    (tmp_path / "scan.toml").write_text(
        "repetition_s = 0.0036\nflip_deg = 5\nmatrix = [32, 32, 2]\nfov_mm = [270, 270, 16]\n"
        "navigator_every = 2\ninversion_times_s = [0.0, 0.216]\n"
    )
    back = read_radial(tmp_path / "scan")
    assert np.array_equal(back.navigator, raw.navigator)
    assert np.array_equal(back.since_inversion, raw.since_inversion)
    assert np.allclose(back.time_s, raw.time_s)


def test_single_coil(tmp_path: Path) -> None:
    raw, _ = scan(subject(0), matrix=16, coils=1, inversions=1, pulses=60)
    write_radial(tmp_path / "one", raw)
    assert np.array_equal(read_radial(tmp_path / "one").kspace, raw.kspace)


@pytest.mark.parametrize("shape", [(4, 1, 6, 8), (4, 6, 8, 1), (1, 1, 6, 8)])
def test_cartesian(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = drawn(*shape)
    write_cfl(tmp_path / "k", array)
    assert np.array_equal(read_cartesian(tmp_path / "k"), array.reshape(shape[0], 6, 8))


def _cut(folder: Path) -> None:
    data = (folder / "scan.cfl").read_bytes()
    (folder / "scan.cfl").write_bytes(data[:-100])


def _edit(**changes: object):
    def edit(folder: Path) -> None:
        about = json.loads((folder / "scan.json").read_text())
        about.update(changes)
        about = {name: value for name, value in about.items() if value is not None}
        (folder / "scan.json").write_text(json.dumps(about))

    return edit


def _not_finite(folder: Path) -> None:
    array = np.array(read_cfl(folder / "scan"))
    array.flat[7] = np.nan
    write_cfl(folder / "scan", array)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_cut, "bytes; its header says"),
        (lambda f: (f / "scan.hdr").write_text("nonsense"), "not the header of a BART array"),
        (lambda f: (f / "scan.hdr").write_text("# Dimensions\n1 0 4\n"), "wrong dimensions"),
        (lambda f: (f / "scan.hdr").unlink(), "needs its .cfl and its .hdr"),
        (lambda f: (f / "scan_traj.cfl").unlink(), "There is no file"),
        (lambda f: (f / "scan.json").unlink(), "times of"),
        (lambda f: (f / "scan.json").write_text("{"), "is damaged"),
        (lambda f: (f / "scan.json").write_text("[1]"), "names and values"),
        (lambda f: write_cfl(f / "scan_traj", drawn(7, 64, 3)), "is needed"),
        (lambda f: write_cfl(f / "scan", drawn(3, 1, 64, 64)), "Cartesian"),
        (_not_finite, "not finite"),
        (_edit(navigator=None), "no navigators"),
        (_edit(navigator=[0, 9999]), "no navigators"),
        (_edit(since_inversion=None), "when the inversions were"),
        (_edit(since_inversion=[1, 2]), "does not have"),
        (_edit(since_inversion=None, inversion_times_s=[1.0]), "before the first"),
        (_edit(repetition_s=None), "lacks repetition_s"),
        (_edit(repetition_s="soon"), "wrong value"),
        (_edit(fov_mm=[270]), "fov_mm"),
        (_edit(matrix=[16, 16, 2]), "within"),
        (_edit(matrix=[32, 32, 1]), "partitions"),
    ],
)
def test_refusals_say_what_is_wrong(tmp_path: Path, raw, damage, sentence: str) -> None:
    write_radial(tmp_path / "scan", raw)
    read_radial(tmp_path / "scan")
    damage(tmp_path)
    with pytest.raises(BadInput, match=sentence) as caught:
        read_radial(tmp_path / "scan")
    assert str(tmp_path) in caught.value.message


def test_radial_is_not_cartesian(tmp_path: Path) -> None:
    write_cfl(tmp_path / "k", drawn(2, 3, 4, 5))
    with pytest.raises(BadInput, match="not Cartesian"):
        read_cartesian(tmp_path / "k")
