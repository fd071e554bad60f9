"""What the temporal basis alone costs: the truth projected on bases estimated from a noisy scan.

Run: ``python Testing/benchmarks/temporal_basis.py [--matrix 80] [--seed 0]``. For every
basis and L = 8, 16, 32: relative error ``||A - A Phi^T Phi|| / ||A||`` over the whole image and
over the heart in per cent, and T1 of the myocardium fitted to the projected truth (median, and
interquartile range, ms) at mid-systole and end-expiration. The truth's own best basis is the
bound. Bins are the true ones, so that only the basis is judged; the scores of self-gating follow.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from mriforge.phantoms.multitasking import Truth, scan, subject
from mriforge.rawdata import RawData
from mriforge.relaxometry.subspace import t1_from_factors
from mriforge.temporal.basis import factorise, fill_by_rank, normal_equations
from mriforge.temporal.binning import Bins, phase_error, rank_correlation
from mriforge.temporal.dictionary import relaxation_basis
from mriforge.temporal.lines import density_weights, navigator_lines
from mriforge.temporal.model import find_bins, given_bins, temporal_model

RANKS = (8, 16, 32)
CARDIAC, RESPIRATORY = 10, 0


class Judge:
    """Compares bases with the truth."""

    def __init__(self, truth: Truth, raw: RawData) -> None:
        self.truth, self.raw = truth, raw
        self.images = truth.images.reshape(*truth.images.shape[:3], -1)
        wall = truth.fractions[truth.tissues.index("myocardium")]
        self.heart = (wall > 0.5).any((0, 1)).ravel()
        self.wall = wall[CARDIAC, RESPIRATORY] > 0.99
        signals = truth.signals
        self.energy = [self._energy(self.images[..., m], signals) for m in self.masks]

    @property
    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        return np.ones_like(self.heart), self.heart

    @staticmethod
    def _energy(images: np.ndarray, signals: np.ndarray) -> float:
        gram = signals @ signals.T
        parts = images.reshape(*images.shape[:1], -1)
        return float(np.einsum("tp,tu,up->", parts.conj(), gram, parts, optimize=True).real)

    def line(self, name: str, basis: np.ndarray, seconds: float | None = None) -> None:
        cells = []
        for rank in RANKS:
            own = basis[:rank]
            factors = self.truth.factors(own)
            power = np.square(np.abs(factors.spatial)).sum(0).ravel()
            errors = [
                100 * np.sqrt(max(total - power[mask].sum(), 0) / total)
                for total, mask in zip(self.energy, self.masks, strict=True)
            ]
            fitted = t1_from_factors(
                factors,
                CARDIAC,
                RESPIRATORY,
                self.raw.repetition_s,
                self.raw.flip_deg,
                mask=self.wall,
            ).t1_ms[self.wall]
            low, median, high = np.percentile(fitted, (25, 50, 75))
            cells.append(f"{errors[0]:5.2f} {errors[1]:5.2f} {median:5.0f} {high - low:4.0f}")
        took = "" if seconds is None else f"{seconds:5.1f} s"
        print(f"{name:<44}" + " | ".join(cells) + f" | {took}", flush=True)


def complete_lines(truth: Truth, angles: int, samples: int) -> np.ndarray:
    """Noise-free navigators of every frame, ``(space, C, R, tissue)``, at several angles."""
    size = truth.grid.shape[-1]
    place = np.arange(size) - size // 2
    along = (np.arange(samples) - samples // 2) / samples
    rows = []
    for angle in np.arange(angles) * np.pi / angles:
        waves = [
            np.exp(-2j * np.pi * np.outer(along * turn, place)).astype(np.complex64)
            for turn in (np.cos(angle), np.sin(angle))
        ]
        for coil in truth.coil_maps:
            images = truth.images[:, :, :, 0] * coil
            values = np.einsum("tcryx,ny,nx->ncrt", images, waves[1], waves[0], optimize=True)
            rows += [values.real, values.imag]
    return np.concatenate(rows)


def bases(raw: RawData, truth: Truth, bins: Bins) -> Iterator[tuple[str, np.ndarray, float | None]]:
    top = max(RANKS)
    yield "the truth's own (bound)", truth.basis(top), None
    relaxation = relaxation_basis(bins.pulses, raw.repetition_s, raw.flip_deg, 6).vectors
    for angles in (1, 2, 4):
        lines = complete_lines(truth, angles, raw.kspace.shape[2]) @ (
            truth.signals @ relaxation.T
        ).astype(np.float32)
        name = f"PCA, noise-free, every bin, {angles} angle{'s' * (angles > 1)}"
        yield name, factorise(lines, relaxation, top).vectors, None
    for name, options in (
        ("navigator: PCA", {"basis": "navigator"}),
        ("completion: low-rank tensor, HOSVD", {"basis": "completion"}),
        ("lrt without spokes: products of factors", {"spokes": False}),
        ("lrt: products chosen by all spokes (default)", {}),
        ("lrt, 4 dictionary vectors", {"relaxation_rank": 4}),
        ("lrt, 5 dictionary vectors", {"relaxation_rank": 5}),
        ("lrt, 8 dictionary vectors", {"relaxation_rank": 8}),
    ):
        start = time.perf_counter()
        found = temporal_model(raw, rank=top, bins=bins, **options)
        yield name, found.basis, time.perf_counter() - start
    lines = navigator_lines(raw, 64, density_weights(raw, int(np.flatnonzero(raw.navigator)[0])))
    filled = fill_by_rank(normal_equations(lines, bins, relaxation)).tensor
    for ranks in ((4, 4, 4), (8, 5, 5)):
        yield f"completion, ranks {ranks}", factorise(filled, relaxation, top, ranks).vectors, None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--matrix", type=int, default=80)
    parser.add_argument("--samples", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--gating", type=int, default=4, help="subjects whose self-gating is scored"
    )
    options = parser.parse_args()
    raw, truth = scan(subject(options.seed), matrix=options.matrix, samples=options.samples)
    bins = given_bins(raw, truth.cardiac, truth.respiratory, truth.bins[:2])
    judge = Judge(truth, raw)
    myocardium = 1000 * truth.t1_s[truth.tissues.index("myocardium")]
    print(
        f"{len(raw.kspace)} readouts, {raw.coils} coils; {int((bins.counts > 0).sum())} of "
        f"{int(np.prod(truth.bins))} bins measured; T1 of the wall {myocardium:.0f} ms, "
        f"{int(judge.wall.sum())} pixels"
    )
    print(" " * 44 + " | ".join(f"L = {rank:<3} % heart T1 IQR"[:22] for rank in RANKS))
    for name, basis, seconds in bases(raw, truth, bins):
        judge.line(name, basis, seconds)
    print("\nself-gating: mean phase error (cycles), rank correlation of breathing, beats found")
    for number in range(options.gating):
        kind = ({}, {"continuous": True}, {"arrhythmia": True}, {"irregular_breathing": True})
        settings = kind[number % len(kind)]
        raw, truth = scan(subject(number), matrix=48, samples=96, coils=6, **settings)
        start = time.perf_counter()
        found, gating = find_bins(raw)
        took = time.perf_counter() - start
        score = phase_error((found.cardiac + 0.5) / 20, truth.cardiac_phase)
        breathing = rank_correlation(gating.breathing(raw.time_s), truth.inspiration)
        print(
            f"subject {number} {', '.join(settings) or 'standard':<20} {score.mean_error:.3f} "
            f"{breathing:6.3f} {len(gating.beats_s)} of {len(truth.triggers_s)}  {took:.1f} s"
        )


if __name__ == "__main__":
    main()
