"""Stray parts and holes: each organ for itself, and never one into another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.segment.clean import PIECES, clean


def empty() -> np.ndarray:
    return np.zeros((12, 14, 16), np.uint8)


def test_the_largest_part_of_each_organ_stays() -> None:
    labels = empty()
    labels[2:6, 2:6, 2:6] = 1
    labels[8:10, 8:10, 8:10] = 1
    labels[2:4, 10:12, 10:14] = 2
    labels[6, 2, 12] = 2
    found = clean(labels, largest=True)
    assert (found[8:10, 8:10, 8:10] == 0).all() and (found[2:6, 2:6, 2:6] == 1).all()
    assert found[6, 2, 12] == 0 and (found == 2).sum() == 16
    assert np.array_equal(clean(labels, largest=(2,)) == 1, labels == 1)
    assert np.array_equal(clean(labels), labels) and clean(labels) is not labels


def test_corners_hold_an_organ_together() -> None:
    labels = empty()
    labels[3:5, 3:5, 3:5] = 3
    labels[5:7, 5:7, 5:7] = 3
    assert np.array_equal(clean(labels, largest=True), labels)


@pytest.mark.parametrize("label", sorted(PIECES))
def test_organs_of_several_parts_keep_them(label) -> None:
    labels = empty()
    labels[1:5, 2:6, 2:6] = label
    labels[7:10, 2:6, 2:6] = label
    labels[7, 10, 10] = label
    found = clean(labels, largest=True)
    assert found[7, 10, 10] == 0
    assert (found == label).sum() == (labels == label).sum() - 1


def test_a_hole_is_filled_by_the_organ_around_it() -> None:
    labels = empty()
    labels[2:8, 2:8, 2:8] = 1
    labels[4:6, 4:6, 4:6] = 0
    assert (clean(labels, holes=True)[2:8, 2:8, 2:8] == 1).all()
    assert np.array_equal(clean(labels, holes=(2,)), labels)


def test_holes_at_the_border_of_the_image_are_none() -> None:
    labels = empty()
    labels[0:6, 2:8, 2:8] = 1
    labels[0:3, 4:6, 4:6] = 0
    assert np.array_equal(clean(labels, holes=True), labels)


def test_organs_do_not_grow_into_each_other() -> None:
    labels = empty()
    labels[2:9, 2:9, 2:9] = 1
    labels[4:7, 4:7, 4:7] = 0
    labels[5, 5, 5] = 6  # an organ in a cavity: whose the rest of it is nobody knows
    assert np.array_equal(clean(labels, holes=True), labels)
    labels[4:7, 4:7, 4:7] = 6
    labels[5, 5, 5] = 0  # a hole in the inner organ alone
    found = clean(labels, holes=True)
    assert found[5, 5, 5] == 6 and np.array_equal(found == 1, labels == 1)
    labels = empty()
    labels[3:6, 3:6, 3:6] = 1
    labels[3:6, 3:6, 6:9] = 2
    labels[4, 4, 5:7] = 0  # between two organs
    assert np.array_equal(clean(labels, holes=True), labels)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_what_cleaning_may_change(seed) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.choice(11, size=(4, 4, 4), p=[0.3, *[0.07] * 10]).astype(np.uint8)
    labels = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)
    noise = rng.random(labels.shape) < 0.1
    labels[noise] = rng.integers(0, 11, noise.sum())
    found = clean(labels, largest=True, holes=True)
    changed = found != labels
    lost = clean(labels, largest=True)
    assert ((lost == labels) | (lost == 0)).all(), "an organ only loses parts"
    assert (lost[changed & (found != 0)] == 0).all(), "only background is filled"
    assert set(np.unique(found)) == set(np.unique(labels)) or 0 not in found
    assert np.array_equal(clean(found, largest=True), found)
    assert np.array_equal(clean(found, holes=True), found)
