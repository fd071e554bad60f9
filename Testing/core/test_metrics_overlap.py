"""Overlap and surface distances of organs: brute force, known answers, tables, tests."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput, Cancelled
from mriforge.events import Events
from mriforge.metrics.compare_organs import compare_organs
from mriforge.metrics.distances import (
    hausdorff,
    mean_surface_distance,
    surface,
    surface_distances,
)
from mriforge.metrics.overlap import FIGURES, OrganScore, ScoreTable, organ_scores, to_csv
from mriforge.metrics.statistics import holm, paired_tests


def box(shape, start, size):
    region = np.zeros(shape, bool)
    region[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return region


def ball(radius, centre, shape, spacing_xyz):
    at = np.indices(shape) * np.reshape(spacing_xyz[::-1], (3, 1, 1, 1))
    return sum((a - c) ** 2 for a, c in zip(at, centre, strict=True)) <= radius**2


@st.composite
def blobs(draw):
    """Two smooth random regions, and a voxel size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(3))
    regions = []
    for _ in range(2):
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), draw(st.floats(0, 1.5)))
        regions.append(noise > np.quantile(noise, draw(st.floats(0.1, 0.9))))
    spacing = tuple(draw(st.floats(0.5, 8)) for _ in range(3))
    return *regions, spacing


def border_by_hand(region):
    """Voxels with a neighbour across a face that is not of the region."""
    padded = np.pad(region, 1)
    core = (slice(1, -1),) * 3
    outside = np.zeros_like(region)
    for axis in range(3):
        for step in (-1, 1):
            outside |= ~np.roll(padded, step, axis)[core]
    return region & outside


@settings(max_examples=60, deadline=None)
@given(blobs())
def test_distances_are_those_of_brute_force(case):
    first, second, spacing = case
    assume(first.any() and second.any())
    points = [np.argwhere(border_by_hand(r)) * spacing[::-1] for r in (first, second)]
    table = cdist(*points)
    forward, backward = surface_distances(first, second, spacing)
    np.testing.assert_allclose(np.sort(forward), np.sort(table.min(axis=1)), atol=1e-9)
    np.testing.assert_allclose(np.sort(backward), np.sort(table.min(axis=0)), atol=1e-9)
    pooled = np.concatenate([table.min(axis=1), table.min(axis=0)])
    assert mean_surface_distance(forward, backward) == pytest.approx(pooled.mean(), abs=1e-9)
    assert hausdorff(forward, backward, 100) == pytest.approx(pooled.max(), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(blobs())
def test_scores_do_not_depend_on_order_or_storage(case):
    first, second, spacing = case
    there, back = (
        organ_scores(*pair, spacing, [1])[0] for pair in ((first, second), (second, first))
    )
    flipped = organ_scores(first[::-1].T, second[::-1].T, spacing[::-1], [1])[0]
    for figure in FIGURES:
        value = getattr(there, figure)
        assert getattr(back, figure) == pytest.approx(value, nan_ok=True)
        assert getattr(flipped, figure) == pytest.approx(value, nan_ok=True)
    assert there.volume_ml == back.reference_ml
    if first.any() or second.any():
        assert there.jaccard == pytest.approx(there.dice / (2 - there.dice))


def test_distances_agree_with_the_distance_transform():
    spacing = (0.8, 1.7, 4.0)
    first = ball(18, (40, 30, 20), (20, 40, 50), spacing)
    second = ball(15, (44, 33, 17), (20, 40, 50), spacing)
    a, b = surface(first), surface(second)
    expected = ndimage.distance_transform_edt(~b, sampling=spacing[::-1])[a]
    np.testing.assert_allclose(surface_distances(first, second, spacing)[0], expected, atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_box(axis):
    """Shifted by two voxels: overlap by counting, distances by hand along the shifted axis."""
    spacing, size = (1.0, 2.0, 5.0), (6, 6, 6)
    step = spacing[2 - axis]
    start = [2, 2, 2]
    moved = list(start)
    moved[axis] += 2
    first, second = box((12, 12, 12), start, size), box((12, 12, 12), moved, size)
    score = organ_scores(first, second, spacing, [1])[0]
    assert score.dice == pytest.approx(4 / 6)
    assert score.jaccard == pytest.approx(4 / 8)
    forward, backward = surface_distances(first, second, spacing)
    assert max(forward.max(), backward.max()) == pytest.approx(2 * step)
    assert score.hd95_mm == pytest.approx(2 * step)
    assert 0 < score.msd_mm < 2 * step
    assert score.volume_ml == pytest.approx(216 * 10 / 1000)


def test_concentric_balls():
    """Surfaces at radius 20 and 26 mm, on a grid with voxels of 1 x 1.5 x 2 mm."""
    spacing = (1.0, 1.5, 2.0)
    small, large = (ball(r, (32, 30, 32), (33, 41, 65), spacing) for r in (20, 26))
    score = organ_scores(small, large, spacing, [1])[0]
    assert score.msd_mm == pytest.approx(6, abs=0.6)
    assert score.hd95_mm == pytest.approx(6, abs=1.2)
    assert score.volume_ml == pytest.approx(4 / 3 * math.pi * 2**3, rel=0.02)
    assert score.dice == pytest.approx(2 * 20**3 / (20**3 + 26**3), rel=0.02)


def test_the_larger_direction_counts():
    """A far island in one region only: one direction sees it, the other does not."""
    first = box((8, 8, 40), (2, 2, 2), (3, 3, 3))
    second = first | box((8, 8, 40), (2, 2, 30), (3, 3, 3))
    forward, backward = surface_distances(first, second, (1, 1, 1))
    assert forward.max() == 0
    assert hausdorff(forward, backward) > 20
    assert hausdorff(forward, backward) == np.percentile(backward, 95)


def test_a_region_at_the_edge_has_its_border_there():
    region = np.ones((4, 4, 4), bool)
    assert surface(region).sum() == 64 - 8
    assert surface(np.ones((1, 5, 5), bool)).all()


def test_equal_absent_missed_and_invented():
    truth = np.zeros((4, 5, 6), np.uint8)
    truth[:2], truth[2:] = 1, 2
    found = truth.copy()
    found[truth == 2] = 3
    scores = {s.label: s for s in organ_scores(found, truth, (1, 1, 1), (1, 2, 3, 4))}
    assert (scores[1].dice, scores[1].jaccard, scores[1].msd_mm, scores[1].hd95_mm) == (1, 1, 0, 0)
    assert (scores[2].missed, scores[2].invented) == (True, False)
    assert (scores[3].missed, scores[3].invented) == (False, True)
    for label in (2, 3):
        assert scores[label].dice == scores[label].jaccard == 0
        assert math.isnan(scores[label].msd_mm)
        assert math.isnan(scores[label].hd95_mm)
    assert all(math.isnan(getattr(scores[4], figure)) for figure in FIGURES)
    assert not scores[4].missed
    assert not scores[4].invented


def test_bad_shapes_and_cancelling():
    a = np.zeros((3, 4, 5), np.uint8)
    with pytest.raises(BadInput, match="voxels"):
        organ_scores(a, a[:2], (1, 1, 1))
    with pytest.raises(ValueError, match="empty"):
        surface_distances(a, a, (1, 1, 1))
    with pytest.raises(ValueError, match="one shape"):
        surface_distances(a, a[:2], (1, 1, 1))
    events = Events()
    events.control.cancel()
    with pytest.raises(Cancelled):
        organ_scores(a, a, (1, 1, 1), events=events)


def score(label, dice, distance=1.0, volume=10.0, reference=10.0):
    return OrganScore(label, dice, dice / (2 - dice), distance, 2 * distance, volume, reference)


def table(rows, labels=(1, 2)):
    """A table of Dice scores, one row for each case."""
    return ScoreTable(
        {
            f"case{number}": [score(label, d) for label, d in zip(labels, row, strict=True)]
            for number, row in enumerate(rows)
        }
    )


def test_table_by_hand():
    found = table([(0.9, 0.5), (0.8, math.nan), (0.7, 0.7)])
    mean, sd = found.per_organ("dice")
    np.testing.assert_allclose(mean, (0.8, 0.6))
    np.testing.assert_allclose(sd, (0.1, 0.1 * math.sqrt(2)))
    np.testing.assert_allclose(found.per_case("dice"), (0.7, 0.8, 0.7))
    assert found.overall("dice") == pytest.approx((0.7, 0.1))
    text = found.to_markdown()
    assert "| DSC | 0.800 ± 0.100 | 0.600 ± 0.141 | 0.700 ± 0.100 |" in text
    assert "| Liver | Spleen | Mean |" in text
    assert found.organs == ("liver", "spleen")
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["organs"]["spleen"]["dice"]
    lines = list(csv.DictReader(io.StringIO(to_csv({"ours": found}))))
    assert len(lines) == 6
    assert (lines[3]["case"], lines[3]["organ"], lines[3]["dice"]) == ("case1", "spleen", "")


def test_the_published_means_follow_from_the_published_organs():
    """Table 7-5 of Chen 2021: 0.909 +- 0.048 and 1.099 +- 0.451 from its ten organs."""
    dice = (0.963, 0.880, 0.954, 0.954, 0.923, 0.801, 0.870, 0.904, 0.900, 0.946)
    distance = (1.072, 1.027, 0.655, 0.645, 1.338, 1.831, 1.960, 0.630, 0.892, 0.941)
    case = [score(o.label, d, m) for o, d, m in zip(ORGANS, dice, distance, strict=True)]
    published = ScoreTable({"mean": case})
    assert published.overall("dice") == pytest.approx((0.909, 0.048), abs=1e-3)
    assert published.overall("msd_mm") == pytest.approx((1.099, 0.451), abs=1e-3)


def test_missed_organs_are_counted_and_do_not_flatter_distances():
    gone = OrganScore(1, 0.0, 0.0, math.nan, math.nan, 0.0, 5.0)
    found = ScoreTable({"a": [gone, score(2, 0.9)], "b": [score(1, 0.8), score(2, 0.9)]})
    assert found.counts("missed").tolist() == [1, 0]
    assert found.per_organ("dice")[0][0] == pytest.approx(0.4)
    assert "| missed | 1 | 0 | 1 |" in found.to_markdown()
    with pytest.raises(BadInput, match="same organs"):
        ScoreTable({"a": [score(1, 0.5)], "b": [score(2, 0.5)]})
    with pytest.raises(BadInput, match="same organs"):
        ScoreTable({})


def test_holm_by_hand():
    corrected = holm([0.01, 0.04, math.nan, 0.03])
    np.testing.assert_allclose(corrected, [0.03, 0.06, math.nan, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_comparison_over_cases():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.6, 0.8, (12, 3))
    better = base + [0.05, 0.0, 0.001] + rng.normal(0, 0.01, base.shape)
    pair = [table(values, labels=(1, 2, 3)) for values in (better, base)]
    found = compare_organs(*pair)
    assert found.over == "cases"
    expected = paired_tests(better.mean(axis=1), base.mean(axis=1))
    assert found.overall.wilcoxon_p == pytest.approx(expected.wilcoxon_p)
    assert found.overall.mean_difference == pytest.approx((better - base).mean())
    raw = [found.organs[name].wilcoxon_p for name in ("liver", "spleen", "pancreas")]
    np.testing.assert_allclose(list(found.corrected.values()), holm(raw))
    assert found.corrected["liver"] < 0.01 < found.corrected["spleen"]
    json.dumps(found.to_json(), allow_nan=False)


def test_comparison_takes_organs_that_both_have():
    one = table([(0.9, 0.5), (0.8, math.nan), (0.7, 0.6)])
    other = table([(0.8, 0.4), (0.7, 0.1), (0.6, 0.5)])
    assert compare_organs(one, other).overall.mean_difference == pytest.approx(0.1)


def test_comparison_of_a_single_case_is_over_its_organs():
    one, other = table([(0.9, 0.5)]), table([(0.8, 0.6)])
    found = compare_organs(one, other)
    assert found.over == "organs"
    assert found.overall.n == 2
    assert found.organs == {}
    with pytest.raises(BadInput, match="same cases"):
        compare_organs(one, table([(0.8, 0.6)] * 2))
    with pytest.raises(ValueError, match="figure"):
        compare_organs(one, other, "volume_ml")
