"""Bland-Altman, concordance and regions against published figures and by construction."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.metrics.agreement import agreement, concordance, regional_agreement

# Peak flow of 17 people by two meters, first readings: Bland and Altman, Lancet 1986, table.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_the_published_example():
    found = agreement(WRIGHT, MINI)
    assert found.n == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert found.limits == pytest.approx((-78.1, 73.9), abs=0.2)  # 1.96; the paper takes 2
    assert found.bias_interval == pytest.approx((-22.0, 17.8), abs=0.1)
    assert found.lower_interval == pytest.approx((-114.3 + 1.6, -45.1 + 1.6), abs=1.5)
    assert found.pearson == pytest.approx(0.94, abs=0.005)
    assert not found.biased


def test_a_shift_is_found_and_concordance_sees_what_correlation_does_not():
    truth = np.linspace(300, 2000, 40)
    noise = np.random.default_rng(0).normal(0, 10, 40)
    found = agreement(truth + 100 + noise, truth)
    assert found.biased
    assert found.bias_interval[0] < 100 < found.bias_interval[1]
    assert found.pearson > 0.999 > found.concordance
    assert found.proportional.p > 0.05
    assert "p < 0.001" in found.statement("ms")


def test_a_bias_that_grows_is_found():
    truth = np.linspace(300, 2000, 40)
    noise = np.random.default_rng(1).normal(0, 10, 40)
    found = agreement(1.1 * truth + noise, truth)
    low, high = found.proportional.slope_interval
    assert low < 0.1 / 1.05 < high
    assert found.proportional.p < 1e-6
    assert "changes with the value" in found.statement()


def test_five_percent_of_the_tests_without_a_bias_find_one():
    random = np.random.default_rng(2)
    found = [agreement(*random.normal(0, 1, (2, 12))) for _ in range(300)]
    assert 0.015 < np.mean([one.biased for one in found]) < 0.095
    covered = [one.bias_interval[0] < 0 < one.bias_interval[1] for one in found]
    assert 0.915 < np.mean(covered) < 0.98
    upper = 1.959964 * math.sqrt(2)
    covered = [one.upper_interval[0] < upper < one.upper_interval[1] for one in found]
    assert 0.90 < np.mean(covered) < 0.99


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=30),
    st.integers(0, 2**31 - 1),
)
def test_swapping_changes_the_signs_and_nothing_else(values, seed):
    a = np.array(values)
    b = a + np.random.default_rng(seed).normal(0, 1, len(a))
    one, other = agreement(a, b), agreement(b, a)
    assert one.bias == pytest.approx(-other.bias, abs=1e-9)
    assert one.limits[0] == pytest.approx(-other.limits[1], abs=1e-9)
    assert one.concordance == pytest.approx(other.concordance, abs=1e-9)
    assert abs(one.concordance) <= abs(one.pearson) + 1e-9 or math.isnan(one.pearson)
    json.dumps(one.to_json(), allow_nan=False)


def test_equal_and_constant_lists_have_no_figures_where_there_are_none():
    same = agreement([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert (same.bias, same.sd, same.outside) == (0.0, 0.0, 0.0)
    assert same.concordance == pytest.approx(1.0)
    assert not same.biased
    flat = agreement([5.0, 5.0, 5.0], [5.0, 5.0, 5.0])
    assert math.isnan(flat.concordance)
    assert flat.to_json()["pearson"] is None


def test_pairs_that_are_not_finite_are_left_out():
    found = agreement([1, 2, np.nan, 4, 5], [1, 2, 3, np.inf, 5.5])
    assert found.n == 3
    with pytest.raises(ValueError, match="at least 3"):
        agreement([1, np.nan, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="equal lists"):
        agreement([1, 2, 3], [1, 2])


def test_concordance_by_its_definition():
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 50))
    below = np.var(a) + np.var(b) + (a.mean() - b.mean()) ** 2
    assert concordance(a, b) == pytest.approx(2 * np.cov(a, b, bias=True)[0, 1] / below)


def test_regions_are_pairs():
    labels = np.repeat([0, 1, 2, 3], 25).reshape(4, 5, 5)
    truth = labels * 400.0
    other = truth + 10.0 * labels
    other[1, 0, 0] = np.nan
    found, table = regional_agreement(other, truth, labels, {1: "liver", 2: "myocardium"})
    assert list(table) == ["liver", "myocardium", "region 3"]
    assert table["liver"]["voxels"] == 24
    assert table["liver"]["bias"] == pytest.approx(10)
    assert found.n == 3 and found.bias == pytest.approx(20)
    none, small = regional_agreement(other[:2], truth[:2], labels[:2])
    assert none is None and list(small) == ["region 1"]


def test_the_figure_is_a_png_for_regions_and_for_many_voxels():
    pytest.importorskip("matplotlib")
    from mriforge.report.agreement import agreement_figure

    found = agreement(WRIGHT, MINI)
    names = ["a", "b"] * 8 + ["a"]
    picture = agreement_figure(found, ("Wright", "mini"), "PEFR", "l/min", names)
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
    many = np.random.default_rng(4).normal(1000, 100, (2, 30_000))
    assert agreement_figure(agreement(*many)).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="17 pairs"):
        agreement_figure(found, groups=["a"])
