"""The temporal covariance of the whole of k-space, from every spoke that passes its centre.

Numpy and scipy. A navigator sees one line of k-space, so motion across it hardly shows. The other
spokes see all directions, but each direction only once. On a ring of radius ``rho`` (cycles per
field of view) k-space is a short Fourier series of the angle, since the object is no larger than
the field of view::

    y_s(rho) = sum_m exp(i m theta_s) phi_s^T u_m(rho) + noise,    |m| <= pi rho + 3

so the ``u_m`` follow from all spokes together. Their second moment, summed over rings with the area
a ring stands for, is the temporal covariance of the image (Parseval), of which the best basis are
the eigenvectors. It is also the prior with which the ``u_m`` are estimated: expectation and
maximisation in turn (probabilistic PCA with missing data, Tipping & Bishop 1999).

The normal equations depend on ``m - m'`` alone: a circulant product by FFT, the same for all
rings and coils. Opposite ends of a spoke tell even and odd ``m`` apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mriforge.rawdata import RawData
from mriforge.temporal.binning import Bins

MARGIN = 3
"""Angular orders beyond those of an object that just fills the field of view."""


@dataclass(frozen=True)
class Rings:
    """Samples of spokes sorted by radius.

    Attributes:
        angle: ``(s,)`` radians, of the positive end.
        radius: ``(q,)`` cycles per field of view, ascending; 0 may be the first.
        even: ``(s, q, c)`` complex64, mean of both ends.
        odd: ``(s, q, c)`` complex64, half their difference.
        readouts: ``(s,)`` indices into the raw data.
        noise: variance of a complex sample.
    """

    angle: np.ndarray
    radius: np.ndarray
    even: np.ndarray
    odd: np.ndarray
    readouts: np.ndarray
    noise: float

    @property
    def modes(self) -> np.ndarray:
        """``(q,)`` highest angular order of every ring."""
        return np.where(self.radius > 0, np.floor(np.pi * self.radius + MARGIN), 0).astype(int)


def rings_of(
    raw: RawData,
    readouts: np.ndarray,
    radius: float = 24.0,
    coils: int = 4,
    step: float = 2.0,
) -> Rings | None:
    """Sorts spokes by radius, or None when they do not run straight through the centre.

    Args:
        raw: raw data.
        readouts: ``(s,)`` indices of the spokes of one partition.
        radius: of the largest ring in cycles per field of view.
        coils: compress to this many.
        step: between rings, in cycles per field of view.
    """
    path = raw.trajectory[readouts].astype(np.float64)
    ends = path[:, -1] - path[:, 0]
    length = np.linalg.norm(ends, axis=1)
    if length.min() <= 0:
        return None
    unit = ends / length[:, None]
    along = np.einsum("snd,sd->sn", path, unit)
    across = path[:, :, 1] * unit[:, :1] - path[:, :, 0] * unit[:, 1:]
    places = np.median(along, axis=0)
    spacing = float(np.median(np.diff(places)))
    size = max(raw.grid.shape[1:])
    centre = int(np.argmin(np.abs(places)))
    if max(np.abs(across).max(), np.abs(along - places).max()) > spacing:
        return None
    if abs(places[centre]) > 0.3 * spacing:
        return None
    apart = max(round(step / (spacing * size)), 1)
    last = min(int(radius / (spacing * size) + 1e-3), centre, len(places) - 1 - centre)
    offsets = np.arange(0, last + 1, apart)
    noise = _noise(raw, readouts)
    # One indexing that copies only what is needed: (s, sample, c).
    where = np.concatenate([centre + offsets, centre - offsets])
    samples = _fewer_coils(raw.kspace[readouts[:, None], :, where], coils)
    plus, minus = samples[:, : len(offsets)], samples[:, len(offsets) :]
    return Rings(
        np.arctan2(unit[:, 1], unit[:, 0]),
        offsets * spacing * size,
        0.5 * (plus + minus),
        0.5 * (plus - minus),
        readouts,
        noise,
    )


def _noise(raw: RawData, readouts: np.ndarray) -> float:
    """Variance of a complex sample: measured, or that at both ends of the spokes."""
    if raw.noise is not None:
        return float(np.square(np.abs(raw.noise)).mean())
    edge = np.arange(max(raw.kspace.shape[2] // 40, 1))
    tails = raw.kspace[readouts[:, None], :, np.concatenate([edge, -1 - edge])]
    return float(np.square(np.abs(tails)).mean())


def _fewer_coils(samples: np.ndarray, coils: int) -> np.ndarray:
    if coils >= samples.shape[2]:
        return samples
    flat = samples.reshape(-1, samples.shape[2])
    vectors = np.linalg.eigh(flat.conj().T @ flat)[1][:, ::-1][:, :coils]
    return samples @ vectors


@dataclass(frozen=True)
class Moments:
    """What the data say, for every motion state on its own.

    Attributes:
        curvature: ``(state, H, K, K)`` complex128, ``sum_s exp(-2 i h theta_s) d_s d_s^T``.
        right: ``(state, K, a, parity, q, c)`` complex64.
        mask: ``(a, parity, q)`` bool; angular order ``2 a + parity`` belongs to the ring.
        energy: ``(q,)`` sum of squares of the data.
        samples: ``(q,)`` number of data.
        radius: ``(q,)``.
        noise: variance of the mean of both ends of a spoke.
    """

    curvature: np.ndarray
    right: np.ndarray
    mask: np.ndarray
    energy: np.ndarray
    samples: int
    radius: np.ndarray
    noise: float


def moments(rings: Rings, bins: Bins, relaxation: np.ndarray) -> Moments:
    """Collects the data by motion state, dictionary vector and angular order.

    Args:
        rings: data.
        bins: of all readouts of the raw data; readouts that are not valid are left out.
        relaxation: ``(K, T)`` orthonormal rows.
    """
    kept = bins.valid[rings.readouts]
    own = rings.readouts[kept]
    state = bins.motion[own]
    order = np.argsort(state, kind="stable")
    bounds = np.searchsorted(state[order], np.arange(bins.shape[0] * bins.shape[1] + 1))
    curves = relaxation[:, bins.inversion[own]].T[order]
    angle = rings.angle[kept][order]
    top = int(rings.modes.max())
    half = top // 2 + 1
    orders = np.arange(-half, half + 1)
    both = np.stack([rings.even[kept][order], rings.odd[kept][order]], axis=1)
    states, rank = len(bounds) - 1, curves.shape[1]
    shifts = np.arange(len(orders))
    curvature = np.zeros((states, len(shifts), rank, rank), np.complex128)
    right = np.zeros((states, rank, len(orders), 2, *both.shape[2:]), np.complex64)
    for number in range(states):
        part = slice(bounds[number], bounds[number + 1])
        if part.start == part.stop:
            continue
        d, theta = curves[part], angle[part]
        waves = np.exp(-2j * theta[:, None] * shifts)
        pairs = (d[:, :, None] * d[:, None, :]).reshape(len(d), -1)
        curvature[number] = (waves.T @ pairs).reshape(len(shifts), rank, rank)
        for parity in (0, 1):
            turned = np.exp(-1j * theta[:, None] * (2 * orders + parity)).astype(np.complex64)
            left = (d.astype(np.float32)[:, :, None] * turned[:, None, :]).reshape(len(d), -1)
            data = both[part, parity].reshape(len(d), -1)
            right[number, :, :, parity] = (left.T @ data).reshape(
                rank, len(orders), *both.shape[2:]
            )
    number = np.abs(2 * orders[:, None, None] + np.arange(2)[None, :, None])
    mask = number <= rings.modes
    energy = np.square(np.abs(both)).sum((0, 1, 3), dtype=np.float64)
    return Moments(
        curvature,
        right * mask[None, None, ..., None],
        mask,
        energy,
        len(own) * both.shape[3],
        rings.radius,
        rings.noise / 2,
    )


@dataclass(frozen=True)
class Estimate:
    """One turn of :func:`covariance`.

    Attributes:
        covariance: ``(n, n)`` in the vectors that were given.
        noise: ``(q,)`` variance of the residual.
        residual: relative to the data's energy.
    """

    covariance: np.ndarray
    noise: np.ndarray
    residual: float


def covariance(
    data: Moments,
    vectors: np.ndarray,
    prior: np.ndarray,
    turns: int = 1,
    iterations: int = 10,
    check: Callable[[], None] = lambda: None,
) -> Estimate:
    """Second moment of k-space over time, by expectation and maximisation.

    Args:
        data: from :func:`moments`.
        vectors: ``(n, state * K)`` orthonormal rows, the space that is searched.
        prior: ``(n, n)`` covariance to start with, any scale.
        turns: of expectation and maximisation. More than one fits noise in the weak components.
        iterations: of conjugate gradients in each.
        check: called in every iteration.
    """
    found = Estimate(prior, np.full(len(data.radius), data.noise), 1.0)
    for _ in range(turns):
        found = _turn(data, vectors, found.covariance, found.noise, iterations, check)
    return found


def _turn(
    data: Moments,
    vectors: np.ndarray,
    prior: np.ndarray,
    noise: np.ndarray,
    iterations: int,
    check: Callable[[], None],
) -> Estimate:
    states, rank = data.curvature.shape[0], data.curvature.shape[2]
    # Coordinates in which the prior is one and the mean curvature is diagonal.
    values, axes = np.linalg.eigh(prior)
    root = axes * np.sqrt(np.clip(values, 1e-12 * values[-1], None))
    part = (root.T @ vectors).reshape(-1, states, rank)
    curvature = _between(data.curvature, part)
    mean, turn = np.linalg.eigh(curvature[0].real.astype(np.float64))
    mean = np.clip(mean, 1e-9 * mean[-1], None)
    root = root @ turn
    curvature = turn.T @ curvature @ turn
    part = (root.T @ vectors).reshape(-1, states * rank).astype(np.float32)
    right = part @ data.right.reshape(states * rank, -1).view(np.float32)
    right = right.view(np.complex64).reshape(len(part), *data.right.shape[2:])
    right = np.ascontiguousarray(np.moveaxis(right, 0, 1))  # (a, n, parity, q, c)
    mask = data.mask[:, None, :, :, None]
    orders = data.mask.sum((0, 1))
    energy = np.clip(
        data.energy / data.samples - 2 * noise, 1e-3 * data.energy / data.samples, None
    )
    # Energy of a sample that unit prior gives: orders times the mean of phi^T phi.
    unit = orders * mean.sum() / (data.samples / data.right.shape[-1])
    scale = energy / np.maximum(unit, 1e-30)
    damping = noise / scale
    solution = _solve(curvature, mean, right, mask, damping, iterations, check)
    explained = np.real(np.conj(right) * solution).sum((0, 1, 2, 4))
    rest = np.clip(data.energy - explained, 0, None)
    posterior = noise[:, None] / (np.clip(mean, 0, None) + damping[:, None])
    used = (mean / (mean + damping[:, None])).sum(1) * orders * data.right.shape[-1]
    freedom = np.maximum(2 * data.samples - used, 0.1 * data.samples)
    area = np.where(data.radius > 0, data.radius, 0.125)
    weighted = solution * np.sqrt(area / orders)[:, None].astype(np.float32)
    flat = np.moveaxis(weighted, 1, 0).reshape(len(mean), -1)
    moment = (flat @ flat.conj().T).real.astype(np.float64)
    moment[np.diag_indices(len(mean))] += (area[:, None] * posterior).sum(0) * data.right.shape[-1]
    return Estimate(
        root @ moment @ root.T,
        np.maximum(rest / freedom, 0.25 * data.noise),
        float(rest.sum() / data.energy.sum()),
    )


def _between(curvature: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """``v^T curvature v (H, n, n)`` of a block-diagonal ``curvature (state, H, K, K)``."""
    states, shifts, rank = curvature.shape[:3]
    rows = vectors.reshape(len(vectors), -1).astype(np.float32)
    columns = rows.reshape(-1, states, rank).transpose(1, 2, 0)
    parts = []
    for part in (curvature.real, curvature.imag):  # real products cost a quarter of complex ones
        blocks = part.astype(np.float32).reshape(states, shifts * rank, rank) @ columns
        blocks = blocks.reshape(states, shifts, rank, -1).transpose(1, 0, 2, 3)
        parts.append(rows @ blocks.reshape(shifts, states * rank, -1))
    return parts[0] + 1j * parts[1]


def _solve(
    curvature: np.ndarray,
    mean: np.ndarray,
    right: np.ndarray,
    mask: np.ndarray,
    damping: np.ndarray,
    iterations: int,
    check: Callable[[], None],
) -> np.ndarray:
    """Preconditioned conjugate gradients on all rings at once, each with its own steps."""
    from scipy import fft

    orders = right.shape[0]
    size = fft.next_fast_len(2 * orders - 1)
    circulant = np.zeros((size, *curvature.shape[1:]), np.complex128)
    circulant[:orders] = curvature[:orders]
    circulant[size - orders + 1 :] = np.conj(curvature[1:orders][::-1])
    spectrum = np.ascontiguousarray(fft.fft(circulant, axis=0).real.astype(np.float32))
    weak = damping[:, None].astype(np.float32)
    diagonal = 1.0 / (mean[:, None, None, None].astype(np.float32) + weak)

    def apply(x: np.ndarray) -> np.ndarray:
        waves = fft.fft(x, size, axis=0)
        flat = waves.reshape(size, len(mean), -1).view(np.float32)
        mixed = np.matmul(spectrum, flat).view(np.complex64).reshape(waves.shape)
        return fft.ifft(mixed, axis=0)[:orders] * mask + weak * x

    def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        real = np.einsum("anpqc,anpqc->q", a.real, b.real) + np.einsum(
            "anpqc,anpqc->q", a.imag, b.imag
        )
        return real[:, None]

    solution = np.zeros_like(right)
    residual = right.copy()
    step = residual * diagonal
    direction = step
    product = dot(residual, step)
    for _ in range(iterations):
        check()
        image = apply(direction)
        length = (product / np.maximum(dot(direction, image), 1e-30)).astype(np.float32)
        solution = solution + length * direction
        residual = residual - length * image
        step = residual * diagonal
        following = dot(residual, step)
        direction = step + (following / np.maximum(product, 1e-30)).astype(np.float32) * direction
        product = following
    return solution
