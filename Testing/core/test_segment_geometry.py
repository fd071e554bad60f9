"""Any grid in, labels on the same grid out: places, sides, outlines, no gaps."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from outline_helpers import (
    LEVEL,
    SLICES,
    around,
    band_network,
    bands_of,
    centres_mm,
    dice,
    image_of,
    kidneys,
    rotation,
)

from mriforge.anatomy import VIEWS
from mriforge.errors import BadInput
from mriforge.physics.canonical import canonical_grid, on_grid, sampled
from mriforge.segment.outline import Outliner, Settings, outline
from mriforge.segment.shares import labels_on
from mriforge.volume import Grid, Volume

ORIENTATIONS = [
    np.eye(3)[:, list(order)] * np.array(signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


class Sides(nn.Module):
    """Knows right from left by the place in axial and coronal slices alone.

    What is bright and in the half of the image that is the patient's right, where x begins, is
    called a right kidney; in the other half a left one.
    """

    def forward(self, slab):
        bright = (slab > 0.5).float()
        right = (torch.arange(slab.shape[3]) < slab.shape[3] // 2).float()
        scores = slab.new_zeros((len(slab), 11, SLICES, *slab.shape[2:]))
        scores[:, 0] = 10 * (1 - bright)
        scores[:, 4] = 10 * bright * right
        scores[:, 5] = 10 * bright * (1 - right)
        return scores.flatten(1, 2)


@pytest.mark.parametrize("turn", ORIENTATIONS, ids=range(48))
def test_kidneys_never_swap_sides(turn) -> None:
    """All 8 flips and 6 permutations of the storage order; by intensity and by place."""
    grid = around((12, 15, 18), (8.0, 8.0, 8.0), np.eye(3))
    labels = kidneys(grid)
    shape = np.array(grid.stored_shape)[np.abs(turn).argmax(0)][::-1]
    stored = around(tuple(shape), grid.spacing, turn)
    truth = kidneys(stored)
    assert sorted(np.bincount(truth.ravel())) == sorted(np.bincount(labels.ravel()))
    volume = image_of(truth, stored)
    network = band_network(bands_of(volume))
    settings = Settings(8.0, views=("axial", "sagittal"), device="cpu", half=False)
    found = outline(volume, network, settings)
    assert np.array_equal(found.labels, truth)
    both = Volume((truth > 0).astype(np.float32), stored)
    settings = Settings(8.0, views=("coronal", "axial"), overlap=1, device="cpu", half=False)
    found = outline(both, Sides(), settings)
    assert np.array_equal(found.labels, truth) and (found.votes == 2).all()


CASES = {
    "0.8 mm": ((90, 60, 160), (0.8, 1.2, 1.0), (0, 0, 0), 0.955),
    "5 mm slices": ((24, 66, 100), (1.6, 1.6, 5.0), (0, 0, 0), 0.93),
    "oblique": ((44, 50, 64), (2.6, 2.4, 2.8), (0.3, -0.25, 0.4), 0.93),
    "oblique thick slices": ((18, 70, 90), (2.0, 2.0, 7.0), (-0.4, 0.2, 0.3), 0.9),
    "coronal": ((50, 40, 60), (2.5, 3.0, 2.2), (np.pi / 2, 0, 0), 0.95),
}


@pytest.mark.parametrize("name", CASES)
def test_organs_stay_where_they_are_on_any_grid(name) -> None:
    shape, spacing, angles, least = CASES[name]
    turn = rotation(*angles)
    grid = around(shape, spacing, turn, (3.0, -5.0, 8.0))
    truth = kidneys(grid, (3.0, 0.0, 8.0))
    volume = image_of(truth, grid)
    # The centres of the image on the working grid, where oblique corners do not count.
    centres = bands_of(volume)
    network = band_network(centres)
    found = outline(volume, network, Settings(3.0, device="cpu", disagreement=True, half=False))
    assert found.labels.shape == shape and found.labels.dtype == np.uint8
    assert set(np.unique(found.labels)) <= {0, 4, 5}
    for label in (4, 5):
        if (truth == label).sum() > 50:
            assert dice(found.labels, truth, label) > least
            gap = [centres_mm(grid)[part == label].mean(0) for part in (found.labels, truth)]
            assert np.abs(gap[0] - gap[1]).max() < 0.7, "moved, mm"
    assert found.entropy.dtype == np.float32
    assert found.entropy.min() >= 0 and found.entropy.max() <= 1


def test_an_image_of_one_value_holds_nothing_and_not_a_number_is_refused() -> None:
    grid = around((8, 9, 10), (3.0, 3.0, 3.0), rotation(0.4, 0.3, 0.7))
    flat = np.full(grid.shape, 7.1, np.float32)
    settings = Settings(3.0, device="cpu", disagreement=True)
    found = outline(Volume(flat, grid), torch.nn.Identity(), settings)
    assert not found.labels.any() and not found.entropy.any()
    flat[0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="not numbers"):
        outline(Volume(flat, grid), torch.nn.Identity(), settings)


def fields_of(distances: np.ndarray) -> np.ndarray:
    """Probabilities of classes from how deep voxels are in each, mm, as whole numbers."""
    scores = torch.from_numpy(distances).float() / 2
    return (scores.softmax(0) * 10_000).round().to(torch.int16).numpy()


def two_balls(grid: Grid) -> np.ndarray:
    """Depth in background, ball 1, ball 2 (which touch), mm, ``(3, z, y, x)``."""
    where = centres_mm(grid)
    depth = [
        radius - np.linalg.norm(where - np.array(middle), axis=-1)
        for middle, radius in (((-9.0, 0, 0), 11.0), ((9.0, 2.0, 1.0), 9.0))
    ]
    return np.stack([-np.max(depth, 0), *depth]) * np.array([1, 1, 1])[:, None, None, None]


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.2, 0.5, -0.3)])
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (1.0, 1.0, 5.0), (4.0, 4.0, 4.0)])
def test_labels_are_those_of_the_interpolated_probabilities(angles, spacing) -> None:
    """Boxes around classes save work and nothing else."""
    shape = tuple(int(42 / s) for s in spacing[::-1])
    target = around(shape, spacing, rotation(*angles))
    working = canonical_grid(target, 3.0)
    fields = fields_of(two_balls(working))
    found = labels_on(fields, working, target)
    whole = np.stack([sampled(Volume(one, working), target) for one in fields])
    assert np.array_equal(found, whole.argmax(0))
    truth = two_balls(target).argmax(0)
    sharp = 0.95 if max(spacing) < 4 else 0.88
    assert all(dice(found, truth, label) > sharp for label in (1, 2))


def test_outlines_are_smoother_than_those_of_labels() -> None:
    target = around((52, 52, 52), (0.8, 0.8, 0.8))
    working = canonical_grid(target, 3.0)
    fields = fields_of(two_balls(working))
    truth = two_balls(target).argmax(0)
    coarse = Volume(fields.argmax(0).astype(np.uint8), working)
    smooth, blocky = labels_on(fields, working, target), on_grid(coarse, target, labels=True).array
    wrong = [(labels != truth).sum() for labels in (smooth, blocky)]
    assert wrong[0] < 0.5 * wrong[1]


def test_labels_that_touch_leave_no_gap() -> None:
    """Two halves of a volume without background: every voxel is of one or the other."""
    target = around((40, 40, 40), (0.9, 0.9, 0.9), rotation(0.3, 0.1, 0.2))
    working = canonical_grid(target, 3.0)
    fields = np.zeros((11, *working.shape), np.int16)
    half = (centres_mm(working) @ np.array([0.6, 0.48, 0.64])) > 0
    fields[3], fields[8] = 10_000 * half, 10_000 * ~half
    found = labels_on(fields, working, target)
    assert set(np.unique(found)) == {3, 8}
    where = centres_mm(target) @ np.array([0.6, 0.48, 0.64])
    assert (found[where > 3] == 3).all() and (found[where < -3] == 8).all()


def test_memory_and_batch_do_not_change_the_labels() -> None:
    grid = around((30, 36, 44), (3.2, 3.0, 3.1), rotation(0.1, 0, 0.2))
    volume = image_of(kidneys(grid), grid)
    volume.array[:] = ndimage.gaussian_filter(volume.array, 1)
    network = band_network(bands_of(volume), sharpness=0.3)
    ways = [
        {"batch": 1}, {"batch": 5}, {"memory_gib": 0.08}, {"memory_gib": 2.0},
    ]  # fmt: skip
    found = [
        outline(volume, network, Settings(3.0, device="cpu", half=False, disagreement=True, **way))
        for way in ways
    ]
    for other in found[1:]:
        assert np.array_equal(other.labels, found[0].labels)
        assert np.array_equal(other.votes, found[0].votes)
        assert np.array_equal(other.entropy, found[0].entropy)


def test_devices_side_by_side_give_the_same() -> None:
    grid = around((24, 30, 36), (4.0, 4.0, 4.0))
    volume = image_of(kidneys(grid), grid)
    network = band_network(bands_of(volume), sharpness=0.3)
    settings = Settings(4.0, device="cpu", half=False, disagreement=True, fusion="probability")
    one, several = Outliner(network, settings), Outliner(network, settings)
    several.devices = [torch.device("cpu"), torch.device("cpu", 0), torch.device("cpu")]
    first, second = one(volume), several(volume)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.entropy, second.entropy)
    several._model = nn.Identity()
    several._predictors.clear()
    with pytest.raises(BadInput, match="classes"):
        several(volume)


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_alone(view) -> None:
    grid = around((24, 30, 36), (4.0, 4.0, 4.0))
    truth = kidneys(grid)
    volume = image_of(truth, grid, LEVEL)
    network = band_network(bands_of(volume))
    answers = Outliner(network, Settings(4.0, views=(view,), device="cpu")).ask(volume, whole=True)
    assert list(answers.views) == [view]
    assert np.array_equal(answers.fused("vote"), truth)
    assert np.array_equal(answers.fused("probability"), truth)


def test_unusable_settings_are_refused() -> None:
    for wrong, words in (
        ({"views": ()}, "Views are some of"),
        ({"views": ("oblique",)}, "Views are some of"),
        ({"fusion": "mean"}, "vote or probability"),
    ):
        with pytest.raises(BadInput, match=words):
            Outliner(nn.Identity(), Settings(3.0, device="cpu", **wrong))
