"""The parametric abdomen: all organs, of human size, in their places, and breathing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from mriforge.anatomy import NUMBER, ORGANS, TissueMap
from mriforge.errors import BadInput
from mriforge.phantoms.abdomen import draw
from mriforge.phantoms.abdomen.build import build

COARSE = 4.0
SEEDS = (0, 1, 5, 7, 12, 900_003)
# From small to large adults, in ml; of cord and vertebrae what lies in the field of view.
RANGES = {
    "liver": (500, 2800),
    "spleen": (50, 600),
    "pancreas": (15, 180),
    "right_kidney": (80, 320),
    "left_kidney": (80, 320),
    "stomach": (60, 900),
    "duodenum": (25, 220),
    "small_intestine": (200, 1500),
    "spinal_cord": (2, 45),
    "vertebrae": (80, 600),
}


@cache
def torso(seed: int, breath: float | None = None) -> TissueMap:
    return draw(seed, spacing=COARSE, breath=breath)


def middle(tissues: TissueMap, label: int) -> np.ndarray:
    """Centre of an organ, LPS mm."""
    index = np.argwhere(tissues.labels() == label).mean(axis=0)[::-1]
    return tissues.grid.index_to_world(index)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_organ_is_there_and_of_human_size(seed: int) -> None:
    labels = torso(seed).labels()
    for organ in ORGANS:
        millilitres = (labels == organ.label).sum() * COARSE**3 / 1000
        low, high = RANGES[organ.key]
        assert low < millilitres < high, (organ.key, millilitres)


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_are_where_they_belong(seed: int) -> None:
    at = {organ.key: middle(torso(seed), organ.label) for organ in ORGANS}
    assert at["liver"][0] < at["stomach"][0], "the liver is on the right"
    assert at["spleen"][0] > 40, "the spleen is on the left"
    assert at["right_kidney"][0] < at["vertebrae"][0] < at["left_kidney"][0]
    assert at["spinal_cord"][1] > at["vertebrae"][1], "the cord runs behind the bodies"
    assert at["stomach"][1] < at["left_kidney"][1], "the stomach lies in front"
    assert at["small_intestine"][2] < at["liver"][2]


@pytest.mark.parametrize("seed", SEEDS)
def test_solid_organs_are_one_piece_inside_the_body(seed: int) -> None:
    tissues = torso(seed)
    labels = tissues.labels()
    for organ in ORGANS[:5]:
        parts, count = ndimage.label(labels == organ.label, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.9 * sizes.sum(), (organ.key, count)
    body = tissues.array != NUMBER["air"]
    rim = body & ~ndimage.binary_erosion(body, iterations=1, border_value=1)
    assert not labels[rim].any(), "no organ reaches the skin"


def test_a_seed_is_a_subject_and_the_next_one_another() -> None:
    again = draw(5, spacing=COARSE)
    assert np.array_equal(again.array, torso(5).array)
    assert again.grid == torso(5).grid
    assert torso(7).array.shape != torso(5).array.shape or (torso(7).array != torso(5).array).any()


def test_the_same_subject_at_another_voxel_size() -> None:
    fine = draw(5, spacing=3.0)
    for organ in ORGANS:
        if organ.key in ("duodenum", "small_intestine", "pancreas", "spinal_cord"):
            continue  # their walls are thinner than voxels
        volumes = [
            (part.labels() == organ.label).sum() * part.grid.spacing[0] ** 3
            for part in (fine, torso(5))
        ]
        assert volumes[1] == pytest.approx(volumes[0], rel=0.15), organ.key


def test_deep_inspiration_pushes_the_liver_down_by_one_or_two_centimetres() -> None:
    heights = [middle(torso(1, breath), 1)[2] for breath in (0.0, 0.5, 1.0)]
    assert heights[0] > heights[1] > heights[2]
    assert 4 < heights[0] - heights[2] < 30
    spine = [middle(torso(1, breath), 10)[2] for breath in (0.0, 1.0)]
    assert abs(spine[0] - spine[1]) < 2


@pytest.mark.parametrize("seed", [1, 7, 990_001])
def test_breathing_moves_organs_and_keeps_their_volumes(seed: int) -> None:
    own, others = torso(seed), [torso(seed, breath) for breath in (0.0, 0.5, 1.0)]
    compared = 0
    for organ in ORGANS:
        parts = [tissues.labels() == organ.label for tissues in (own, *others)]
        if any(part[end].any() for part in parts for end in (0, -1)):
            continue  # the field of view ends in it
        volumes = np.array([part.sum() for part in parts]) * COARSE**3 / 1000
        assert volumes[1:] == pytest.approx(volumes[0], rel=0.05), organ.key
        compared += 1
    assert compared >= 7


def test_the_bowel_is_wound_the_same_way_in_every_breath() -> None:
    shapes = [torso(990_001, breath).labels() == 8 for breath in (None, 0.3)]
    overlap = 2 * (shapes[0] & shapes[1]).sum() / sum(shape.sum() for shape in shapes)
    assert overlap > 0.6, "moved by millimetres, not drawn anew"


def test_a_subject_is_the_same_whether_its_own_breath_is_drawn_or_named() -> None:
    tidal = build(5, 1.0).posture.breath_mm
    own = build(5, None).posture.breath_mm / tidal
    assert np.array_equal(torso(5, own).array, torso(5).array)
    near = torso(5, own + 1e-5 if own < 0.5 else own - 1e-5)
    assert (near.array != torso(5).array).mean() < 0.01


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 0, "spacing": 9.0}, "voxels"),
        ({"seed": 0, "breath": 2}, "breath"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given: dict, says: str) -> None:
    seed = given.pop("seed")
    with pytest.raises(BadInput, match=says):
        draw(seed, **given)
