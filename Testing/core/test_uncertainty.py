"""What was not measured, spread of answers, calibrated intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.errors import BadInput, Cancelled
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.profiles import gaussian
from mriforge.physics.stack import SliceStack
from mriforge.superres.problem import Problem, Symmetry, symmetries_of
from mriforge.uncertainty.conformal import Sample, calibrate
from mriforge.uncertainty.ensemble import spread
from mriforge.uncertainty.nullspace import unmeasured, unmeasured_share
from mriforge.volume import Grid


def random_image(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape)).float()


def crop_of(shape, low):
    return KspaceCrop(Grid(shape), low)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(6, 15),
    st.integers(6, 15),
    st.integers(2, 6),
    st.integers(2, 6),
    st.integers(0, 2**16),
)
def test_a_band_limited_image_was_measured_whole(height, width, rows, columns, seed) -> None:
    operator = crop_of((2, height, width), (columns, rows, 2))
    image = operator.A_dagger(random_image(operator.low.shape, seed))
    assert float(unmeasured(operator, image).abs().max()) < 1e-4
    assert unmeasured_share(operator, image) < 1e-5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16))
def test_the_unmeasured_part_is_invisible_and_stays(seed) -> None:
    operator = crop_of((2, 12, 10), (5, 6, 2))
    image = random_image(operator.high.shape, seed)
    hidden = unmeasured(operator, image)
    assert float(operator.A(hidden).abs().max()) < 1e-5
    torch.testing.assert_close(unmeasured(operator, hidden), hidden, atol=1e-5, rtol=1e-4)
    rest = image - hidden
    assert abs(float((rest * hidden).sum())) < 1e-3 * float(image.norm()) ** 2
    assert 0.5 < unmeasured_share(operator, image) < 1


def test_thick_slices_measure_the_mean_but_not_what_changes_within() -> None:
    high = Grid((16, 6, 6), (1.0, 1.0, 1.0))
    low = Grid((4, 6, 6), (1.0, 1.0, 4.0), (0.0, 0.0, 1.5))
    operator = SliceStack(high, low, 2, gaussian(1.7))
    quick = torch.tensor([1.0, -1.0]).repeat(8)[:, None, None].expand(16, 6, 6).contiguous()
    assert unmeasured_share(operator, quick) > 0.9
    assert unmeasured_share(operator, operator.A_dagger(random_image(low.shape))) < 1e-4
    assert unmeasured_share(operator, torch.zeros(16, 6, 6)) == 0


@pytest.mark.parametrize("shape", [(3, 12, 12), (3, 11, 11), (3, 12, 9), (1, 8, 8)])
def test_the_acquisition_does_not_notice_its_symmetries(shape) -> None:
    """Turning before truncating or after it is the same, for even and for odd sizes.

    But for the line of an even size that has no partner, which is left out here.
    """
    low = (*(max(1, n // 2) for n in shape[:0:-1]), shape[0])
    operator = crop_of(shape, low)
    below, above = (
        crop_of(shape, (*(n + step if n % 2 == 0 else n for n in low[:2]), low[2]))
        for step in (-1, 1)
    )
    image = below.A_dagger(random_image(below.low.shape))
    image = image + unmeasured(above, random_image(shape, 1))
    found = symmetries_of(operator)
    assert found[0] == Symmetry()
    assert len(found) == (8 if shape[1] == shape[2] else 4) * (2 if shape[0] > 1 else 1)
    for turn in found:
        turned = turn.apply(image)
        torch.testing.assert_close(turn.undo(turned), image)
        expected = turn.apply(operator.A(image))
        torch.testing.assert_close(operator.A(turned), expected, atol=1e-5, rtol=1e-4)


def test_what_is_linear_has_no_spread_and_what_prefers_a_side_has() -> None:
    operator = crop_of((2, 16, 16), (7, 7, 2))
    problem = Problem(
        random_image(operator.low.shape),
        operator,
        (operator.zero_fill,),
        symmetries_of(operator),
    )
    plain, deviation, count = spread(problem, 4)
    assert count == 4
    torch.testing.assert_close(plain, operator.zero_fill(problem.low))
    assert float(deviation.max()) < 1e-5

    def leaning(low):
        ramp = torch.linspace(0, 1, 16)
        return operator.zero_fill(low) + ramp

    told = Problem(problem.low, operator, (leaning,), problem.symmetries)
    answers = torch.stack([t.undo(leaning(t.apply(told.low))) for t in told.symmetries[:4]])
    _, deviation, _ = spread(told, 4)
    torch.testing.assert_close(deviation, answers.std(0), atol=1e-5, rtol=1e-4)
    assert float(deviation.max()) > 0.1


def test_other_models_are_asked_too_and_the_first_answer_is_not_computed_again() -> None:
    operator = crop_of((1, 8, 8), (3, 3, 1))
    asked = []

    def one(low):
        asked.append("one")
        return operator.zero_fill(low)

    def other(low):
        asked.append("other")
        return operator.zero_fill(low) + 1

    low = random_image(operator.low.shape)
    problem = Problem(low, operator, (one, other), symmetries_of(operator))
    _, deviation, count = spread(problem, 2, first=operator.zero_fill(low))
    assert count == 4 and asked == ["one", "other", "other"]
    assert float(deviation.mean()) == pytest.approx(math.sqrt(1 / 3), rel=1e-3)


def test_a_spread_can_be_cancelled_between_answers() -> None:
    operator = crop_of((1, 8, 8), (3, 3, 1))
    asked = []

    def sharpen(low):
        asked.append(1)
        return operator.zero_fill(low)

    def cancel():
        if len(asked) == 2:
            raise Cancelled("stop")

    problem = Problem(
        random_image(operator.low.shape), operator, (sharpen,), symmetries_of(operator)
    )
    with pytest.raises(Cancelled):
        spread(problem, 4, cancel=cancel)
    assert len(asked) == 2


def drawn(patches, seed, *, noise=1.0, voxels=8, correlated=0.0):
    """Voxels whose error is their difficulty times a random number, some of it by patch."""
    random = np.random.default_rng(seed)
    patch = np.repeat(np.arange(patches), voxels)
    difficulty = random.uniform(0.01, 0.2, patch.size)
    common = random.normal(0, 1, patches)[patch]
    own = random.normal(0, 1, patch.size)
    unit = correlated * common + math.sqrt(1 - correlated**2) * own
    air = random.uniform(size=patch.size) < 0.1
    return Sample(np.abs(unit) * difficulty * noise, difficulty, air, patch)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95])
def test_exchangeable_voxels_are_covered_as_often_as_was_asked(confidence) -> None:
    found = []
    for seed in range(20):
        made = calibrate(drawn(200, seed), confidence)
        found.append(made.coverage(drawn(200, 1000 + seed)).share)
    assert np.mean(found) == pytest.approx(confidence, abs=0.012)


def test_a_patch_counts_as_one_however_much_its_voxels_agree() -> None:
    shares = []
    for seed in range(40):
        made = calibrate(drawn(60, seed, correlated=0.9), 0.9)
        shares.append(made.coverage(drawn(60, 500 + seed, correlated=0.9)).share)
    assert 0.88 < np.mean(shares) < 0.97
    loose = calibrate(drawn(60, 0, correlated=0.9), 0.9).coverage(drawn(60, 1, correlated=0.9))
    tight = calibrate(drawn(60, 0), 0.9).coverage(drawn(60, 1))
    assert loose.error > 1.5 * tight.error


def test_each_class_of_difficulty_is_covered_though_errors_do_not_go_along() -> None:
    """Errors are the same everywhere: without classes easy voxels would be missed."""

    def flat(seed):
        one = drawn(400, seed)
        random = np.random.default_rng(seed)
        return Sample(np.abs(random.normal(0, 0.05, one.error.size)), one.difficulty, one.air,
                      one.patch)  # fmt: skip

    sample, test = flat(0), flat(1)
    with_classes, without = calibrate(sample, 0.9), calibrate(sample, 0.9, classes=1)
    easy = test[test.difficulty < np.quantile(test.difficulty, 0.25)]
    assert without.coverage(easy).share < 0.8
    assert with_classes.coverage(easy).share > 0.85
    assert len(with_classes.edges) == 3 and len(with_classes.factors) == 5


def test_half_widths_follow_the_difficulty_and_the_factor() -> None:
    made = calibrate(drawn(200, 3), 0.9, classes=1)
    difficulty, air = np.array([0.1, 0.2]), np.array([False, False])
    first, second = made.half_width(difficulty, air)
    assert second == pytest.approx(2 * first) and first > 0.1
    assert made.scaled(0.5).half_width(difficulty, air)[0] == pytest.approx(first / 2)
    wider = calibrate(drawn(200, 3), 0.95, classes=1)
    assert wider.half_width(difficulty, air)[0] > first


def test_too_little_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadInput, match="patches of tissue"):
        calibrate(drawn(10, 0), 0.9)
    with pytest.raises(BadInput, match="99 %"):
        calibrate(drawn(60, 0), 0.99)
    with pytest.raises(BadInput, match="between 0 and 1"):
        calibrate(drawn(60, 0), 90.0)


def test_patches_of_several_images_stay_apart() -> None:
    joined = Sample.joined([drawn(30, 0), drawn(40, 1)])
    assert joined.patches == 70 and joined.error.size == 70 * 8
