"""Label maps: recognised, and resampled by their shapes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mriforge.cli import main
from mriforge.errors import BadInput
from mriforge.interslice.labels import resample_labels
from mriforge.interslice.recognise import looks_like_labels
from mriforge.interslice.wish import plan_slices
from mriforge.io import read, write
from mriforge.volume import Grid, Volume


def balls(grid: Grid) -> np.ndarray:
    """Two touching bodies, labels 3 and 7, as a function of position in mm."""
    index = np.stack(np.indices(grid.shape)[::-1], axis=-1)
    x, y, z = np.moveaxis(grid.index_to_world(index), -1, 0)
    first = (x - 20) ** 2 + (y - 20) ** 2 + (z - 20) ** 2 < 14**2
    return np.where(first, np.where(x < 20, 3, 7), 0).astype(np.uint8)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shapes_are_followed_between_the_slices(axis: int) -> None:
    """Closer to the truth than repeating slices; no label that was not there; no gap."""
    spacing, shape = [1.0, 1.0, 1.0], [40, 40, 40]
    spacing[axis], shape[2 - axis] = 5.0, 8
    low = Grid(tuple(shape), tuple(spacing))
    plan = plan_slices(low)
    made = resample_labels(Volume(balls(low), low), plan)
    truth = balls(plan.working)
    assert made.array.dtype == np.uint8
    assert set(np.unique(made.array)) == {0, 3, 7}
    repeated = np.repeat(balls(low), 5, axis=2 - axis)
    ours, theirs = (
        1 - 2 * ((a > 0) & (truth > 0)).sum() / ((a > 0).sum() + (truth > 0).sum())
        for a in (made.array, repeated)
    )
    assert ours < 0.8 * theirs
    # Where both agree that there is something, it is the same label (of slices across the border
    # between the two, the border's place is not known better than half a slice).
    both = (made.array > 0) & (truth > 0)
    assert (made.array == truth)[both].mean() > (0.85 if axis == 0 else 0.99)
    # Bodies that touch in every slice touch between them: no background inside.
    assert not (ndimage.binary_fill_holes(made.array > 0) & (made.array == 0)).any()


def test_slices_themselves_are_kept() -> None:
    """An odd factor puts a fine slice on every thick one."""
    low = Grid((8, 40, 40), (1, 1, 5))
    made = resample_labels(Volume(balls(low), low), plan_slices(low))
    assert np.array_equal(made.array[2::5], balls(low))


def test_labels_end_half_way() -> None:
    array = np.zeros((8, 21, 21), np.int16)
    array[3, 6:15, 6:15] = 1000
    grid = Grid(array.shape, (1, 1, 5))
    made = resample_labels(Volume(array, grid), plan_slices(grid)).array
    there = np.flatnonzero((made == 1000).any(axis=(1, 2)))
    assert there.min() >= 13
    assert there.max() <= 21
    assert set(np.unique(made)) == {0, 1000}


def test_what_looks_like_labels_and_what_does_not() -> None:
    grid = Grid((8, 40, 40), (1, 1, 5))
    assert looks_like_labels(balls(grid))
    assert looks_like_labels(balls(grid).astype(np.float32))
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.random((8, 40, 40)), 1.5)
    assert not looks_like_labels(noise)
    assert not looks_like_labels((255 * noise / noise.max()).astype(np.uint8))
    assert not looks_like_labels((balls(grid) > 0) * (1000 * noise).astype(np.int16))
    assert not looks_like_labels(np.zeros((4, 4, 4)))


def test_images_are_not_resampled_as_labels() -> None:
    grid = Grid((8, 20, 20), (1, 1, 5))
    with pytest.raises(BadInput, match="not a label map"):
        resample_labels(Volume(np.random.rand(*grid.shape), grid), plan_slices(grid))


def test_the_command_line_resamples_labels(tmp_path) -> None:
    low = Grid((8, 40, 40), (1, 1, 5))
    write(Volume(balls(low), low), tmp_path / "seg.nii.gz")
    out = tmp_path / "fine.nii.gz"
    arguments = ["superres", str(tmp_path / "seg.nii.gz"), str(out), "--labels", "--quiet"]
    assert main([*arguments, "--spacing", "2,2,2"]) == 0
    made = read(out)
    assert made.grid.spacing == pytest.approx((2, 2, 2))
    assert set(np.unique(made.array)) == {0, 3, 7}
