"""Slabs of one view, their average, memory; the vote of views and where they disagree."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from outline_helpers import SLICES, band_network

from mriforge.device import GIB
from mriforge.errors import Cancelled, Failed, OutOfMemory
from mriforge.networks.registry import build
from mriforge.segment.footprint import bytes_per_pixel
from mriforge.segment.predict import FULL, SlabPredictor
from mriforge.segment.shares import most_likely
from mriforge.segment.slabs import cut, kept, slab_starts, times_seen
from mriforge.segment.vote import agreement, entropy, vote

CPU = torch.device("cpu")


class Blurred(nn.Module):
    """Scores that depend on the neighbours within a slab and on the place in it."""

    def __init__(self, classes: int = 11, slices: int = SLICES, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.mix = nn.Conv2d(slices, classes * slices, 3, padding=1)

    def forward(self, slab):
        return self.mix(slab)


def image(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 20))
def test_slabs_cover_every_slice_as_often_as_asked(count, slices, overlap) -> None:
    starts = slab_starts(count, slices, overlap)
    seen = times_seen(starts, slices, count)
    assert starts[0] == 0 and starts == sorted(starts)
    assert (seen >= 1).all()
    if count <= slices:
        assert starts == [0]
        return
    assert starts[-1] == count - slices
    least = min(overlap, slices)
    step = slices / overlap
    inner = seen[slices : count - slices]
    # Whole slices only: a step that is none is now longer, now shorter.
    assert len(inner) == 0 or inner.min() >= min(least, int(slices / np.ceil(step + 1e-9)))
    assert len(starts) <= np.ceil((count - slices) / step) + 1


def test_overlap_of_the_default_slab() -> None:
    seen = times_seen(slab_starts(80, 20, 2), 20, 80)
    assert (seen[10:70] == 2).all() and (seen[:10] == 1).all() and (seen[70:] == 1).all()


def test_thin_volumes_lie_in_the_middle_of_repeated_slices() -> None:
    volume = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 2, 2), np.float32)
    slab = cut(volume, 0, 8)[:, 0, 0]
    assert slab.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert slab[kept(3, 8)].tolist() == [0, 1, 2]
    assert kept(30, 8) == slice(0, 8)


@pytest.mark.parametrize("count", [7, 20, 33])
@pytest.mark.parametrize("overlap", [1, 2, 5])
def test_probabilities_of_slabs_are_averaged(count, overlap) -> None:
    network, slices = Blurred(), image((count, 13, 17))
    found = SlabPredictor(network, SLICES, CPU)(slices, overlap)
    total = np.zeros((11, count, 13, 17))
    starts = slab_starts(count, SLICES, overlap)
    with torch.no_grad():
        for start in starts:
            slab = torch.from_numpy(cut(slices, start, SLICES))[None]
            shares = network(slab).reshape(11, SLICES, 13, 17).softmax(0).numpy()
            shares = shares[:, kept(count, SLICES)]
            total[:, start : start + shares.shape[1]] += shares
    seen = times_seen(starts, SLICES, count)
    total /= seen[None, :, None, None]
    assert found.dtype == np.int16
    assert np.abs(found / FULL - total).max() <= 0.5 * seen.max() / FULL + 1e-6
    assert np.array_equal(most_likely(found), found.argmax(0))


@pytest.mark.parametrize("size", [(24, 40), (33, 17)])
def test_the_answer_does_not_depend_on_how_many_slabs_at_a_time(size) -> None:
    slices = image((50, *size))
    one, three, many = (
        SlabPredictor(Blurred(), SLICES, CPU, batch=batch)(slices, 4) for batch in (1, 3, 16)
    )
    assert np.array_equal(one, three) and np.array_equal(one, many)


def test_memory_limits_change_the_batch_and_not_the_answer() -> None:
    predictor = SlabPredictor(Blurred(), SLICES, CPU)
    slices = image((60, 16, 16))
    size = slices.shape[1:]
    assert predictor.batch(size) == 16
    limit = 3 * predictor.need(1, size)
    assert predictor.batch(size, limit) == 2
    assert np.array_equal(predictor(slices, 2, limit=limit), predictor(slices, 2))
    with pytest.raises(OutOfMemory, match="Slices of 16 x 16 voxels take"):
        predictor(slices, 2, limit=predictor.need(1, size) - 1)


def test_the_estimate_of_a_network_grows_with_it() -> None:
    small, large = (build("denseunet_small", growth=g).eval() for g in (8, 16))
    few, many = (bytes_per_pixel(n, SLICES, CPU) for n in (small, large))
    # At full resolution 32 + 64 maps come up and down, 64 are added; and 220 scores.
    assert 4 * (20 + 220 + 64) < few < many < 4 * 4000
    assert 1.3 < many / few < 2.2
    assert bytes_per_pixel(Blurred().eval(), SLICES, CPU) >= 4 * (20 + 220)


class Hungry(Blurred):
    """Runs out of memory with more than so many slabs."""

    most = 2

    def forward(self, slab):
        if len(slab) > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return super().forward(slab)


def test_smaller_batches_after_memory_ran_out() -> None:
    heard, slices = [], image((60, 16, 16))
    found = SlabPredictor(Hungry(), SLICES, CPU, batch=8, log=heard.append)(slices, 2)
    assert np.array_equal(found, SlabPredictor(Blurred(), SLICES, CPU)(slices, 2))
    assert [text.split("; ")[1] for text in heard] == [
        "4 slabs at a time.",
        "2 slabs at a time.",
    ]
    none = Hungry()
    none.most = 0
    with pytest.raises(OutOfMemory, match="even with one slab"):
        SlabPredictor(none, SLICES, CPU)(slices, 2)


def test_other_errors_are_not_swallowed() -> None:
    class Broken(Blurred):
        def forward(self, slab):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        SlabPredictor(Broken(), SLICES, CPU)(image((20, 8, 8)), 1)
    spoiled = Blurred()
    with torch.no_grad():
        spoiled.mix.bias[0] = float("nan")
    with pytest.raises(Failed, match="no numbers"):
        SlabPredictor(spoiled, SLICES, CPU)(image((20, 8, 8)), 1)


def test_progress_and_cancel_between_slabs() -> None:
    told = []

    def after(done, count):
        told.append((done, count))
        if done >= 2:
            raise Cancelled("The job was cancelled.")

    predictor = SlabPredictor(Blurred(), SLICES, CPU, batch=1)
    with pytest.raises(Cancelled):
        predictor(image((60, 8, 8)), 1, after=after)
    assert told == [(0, 3), (1, 3), (2, 3)]


def test_half_precision_is_used_only_where_labels_agree() -> None:
    clear = band_network({0: 0.0, 4: 4.0, 5: -4.0})
    steps = np.repeat(np.float32([-4, 0, 4]), 8)[None, None, :] * np.ones((20, 24, 1), np.float32)
    assert SlabPredictor(clear, SLICES, CPU).agrees(steps)
    vague = Blurred()
    with torch.no_grad():
        vague.mix.weight.mul_(1e-3)
        vague.mix.bias.zero_()
    vague.mix.bias.data.fill_(100.0)  # what tells the classes apart is below half precision
    assert not SlabPredictor(vague, SLICES, CPU).agrees(image((20, 24, 24)))


labels = st.integers(0, 3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(labels, labels, labels), min_size=1, max_size=30), st.permutations("acs"))
def test_the_vote_is_the_majority_and_ties_are_axial(triples, order) -> None:
    names = {"a": "axial", "c": "coronal", "s": "sagittal"}
    arrays = dict(zip("acs", np.array(triples, np.uint8).T.reshape(3, -1, 1, 1), strict=True))
    views = {names[key]: arrays[key] for key in order}
    found = vote(views).ravel()
    count = agreement(vote(views), views).ravel()
    for (a, c, s), answer, agree in zip(triples, found, count, strict=True):
        expected = max((a, c, s), key=[a, c, s].count)  # the first of the most frequent ones
        assert answer == expected and agree == [a, c, s].count(answer)


def test_two_views_and_one() -> None:
    a, c = (np.array([[[1, 2, 0]]], np.uint8), np.array([[[1, 3, 4]]], np.uint8))
    assert vote({"coronal": c, "axial": a}).ravel().tolist() == [1, 2, 0]
    assert vote({"sagittal": c, "coronal": a}).ravel().tolist() == [1, 3, 4]
    assert agreement(a, {"axial": a, "coronal": c}).ravel().tolist() == [2, 1, 1]
    alone = vote({"coronal": c})
    assert np.array_equal(alone, c) and alone is not c


def test_entropy_is_0_for_certainty_and_1_for_ignorance() -> None:
    total = np.zeros((11, 1, 1, 4), np.int16)
    total[3, ..., 0] = 3 * FULL
    total[:, ..., 1] = 3 * FULL // 11
    total[:2, ..., 2] = 3 * FULL // 2
    total[:, 0, 0, 3] = [20000, 9000, 1000, *[0] * 8]
    found = entropy(total).ravel()
    p = np.array([20, 9, 1]) / 30
    assert found[0] == 0
    assert found[1] == pytest.approx(1, abs=1e-6)
    assert found[2] == pytest.approx(np.log(2) / np.log(11), abs=1e-6)
    assert found[3] == pytest.approx(-(p * np.log(p)).sum() / np.log(11), abs=1e-6)


def test_entropy_is_of_disagreement_and_of_doubt_alike() -> None:
    """The figures that the documentation gives."""
    total = np.zeros((11, 1, 1, 3), np.int16)
    total[:2, 0, 0, 0] = 2 * FULL, FULL  # one view is certain of another label
    total[:3, 0, 0, 1] = FULL  # each is certain of its own
    total[:2, 0, 0, 2] = round(1.8 * FULL), round(1.2 * FULL)  # all of the same, 0.6 to 0.4
    assert entropy(total).ravel() == pytest.approx([0.265, 0.458, 0.281], abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_entropy_stays_within_its_limits(seed) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(11, rng.choice([0.02, 0.3, 3.0])), size=(2, 3, 4))
    total = np.round(np.moveaxis(shares, -1, 0) * 3 * FULL).astype(np.int16)
    found = entropy(total)
    assert found.min() >= 0 and found.max() <= 1
    assert np.allclose(entropy(total[rng.permutation(11)]), found, atol=1e-6)


def test_a_limit_in_gib_is_a_limit_in_bytes() -> None:
    predictor = SlabPredictor(Blurred(), SLICES, CPU)
    need = predictor.need(1, (512, 512)) / GIB
    assert 0.2 < need < 2
