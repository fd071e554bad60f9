"""Factors: frames on demand, saved and read back, refused when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mriforge.errors import BadInput
from mriforge.factors import AXES, Factors
from mriforge.volume import Grid

GRID = Grid((2, 6, 5), (1.5, 2.0, 8.0), (1.0, -2.0, 3.0), (0, 1, 0, 1, 0, 0, 0, 0, -1))


def factors(rank=3, bins=(4, 2, 7)) -> Factors:
    rng = np.random.default_rng(0)
    spatial = rng.standard_normal((rank, *GRID.shape, 2)).astype(np.float32).view(np.complex64)
    temporal = np.linalg.qr(rng.standard_normal((int(np.prod(bins)), rank)))[0].T
    return Factors(
        spatial[..., 0],
        temporal.reshape(rank, *bins).astype(np.float32),
        GRID,
        np.linspace(0.01, 2, bins[2]),
        {"program": "test", "numbers": [1, 2]},
    )


def test_frame_is_the_sum_of_products():
    made = factors()
    expected = sum(made.temporal[k, 3, 1, 5] * made.spatial[k] for k in range(3))
    assert np.allclose(made.frame(3, 1, 5), expected, atol=1e-6)
    assert made.frames == 56
    assert (made.rank, made.bins) == (3, (4, 2, 7))


@pytest.mark.parametrize("axis", AXES)
def test_line_is_made_of_frames(axis):
    made = factors()
    line = made.line(axis, 2, 1, 4, step=2)
    count = made.bins[AXES.index(axis)]
    for number, place in enumerate(range(0, count, 2)):
        index = {"cardiac": 2, "respiratory": 1, "inversion": 4} | {axis: place}
        assert np.allclose(line[number], made.frame(**index), atol=1e-6)
    assert len(line) == len(range(0, count, 2))


def test_an_axis_that_is_none():
    with pytest.raises(ValueError, match="not one of"):
        factors().line("echo")


def test_saved_and_read_back(tmp_path: Path):
    made, path = factors(), tmp_path / "f.npz"
    made.save(path)
    read = Factors.load(path)
    assert np.array_equal(read.spatial, made.spatial)
    assert np.array_equal(read.temporal, made.temporal)
    assert np.array_equal(read.inversion_times_s, made.inversion_times_s)
    assert read.grid == made.grid
    assert read.info == dict(made.info)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.98])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: float):
    path = tmp_path / "f.npz"
    factors().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(BadInput, match=r"f\.npz"):
        Factors.load(path)


def test_other_arrays_and_later_versions_are_refused(tmp_path: Path):
    path = tmp_path / "f.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(BadInput, match="not a file of factors"):
        Factors.load(path)
    np.savez(path, about=np.array('{"format": "mriforge-factors-9"}'))
    with pytest.raises(BadInput, match="another version"):
        Factors.load(path)
    np.save(tmp_path / "p.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput):
        Factors.load(tmp_path / "p.npy")


@pytest.mark.parametrize("part", ["spatial", "temporal", "inversion_times_s"])
def test_parts_that_do_not_belong_together(part: str):
    made = factors()
    values = {name: getattr(made, name) for name in ("spatial", "temporal", "inversion_times_s")}
    values[part] = values[part][:-1] if part != "spatial" else values[part][..., :-1]
    with pytest.raises(BadInput):
        Factors(values["spatial"], values["temporal"], GRID, values["inversion_times_s"])
