"""Radial trajectories, and what gradient delays do to them.

Numpy only. Spokes are ``(s, n, 2)`` positions ``(kx, ky)`` in cycles per pixel; sample ``n // 2``
is the centre of k-space. A delay is given in samples along the spoke.
"""

from __future__ import annotations

import math

import numpy as np

from mriforge.errors import BadInput

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
_SEARCH_STEP = 1 / 16  # samples, before the parabola
_MOST_PAIRS = 600


def golden_angle(tiny: int = 1) -> float:
    """The ``tiny``-th golden angle in degrees: 111.246, 68.754, 49.751, 38.978, ...

    Source: Wundrak et al. 2015, "A small surrogate for the golden angle in time-resolved radial
    MRI", equation 1: ``180 / (tau + N - 1)``.
    """
    if tiny < 1:
        raise ValueError(f"golden angles are numbered from 1, not {tiny}")
    return 180 / (GOLDEN_RATIO + tiny - 1)


def golden_angles(count: int, tiny: int = 1, first_deg: float = 0.0) -> np.ndarray:
    """``(count,)`` angles in degrees, ascending without end (not wrapped)."""
    return first_deg + golden_angle(tiny) * np.arange(count)


def radial(angles_deg: np.ndarray, samples: int, extent: float = 1.0) -> np.ndarray:
    """Spokes ``(s, samples, 2)`` float32 through the centre, in cycles per pixel.

    Args:
        angles_deg: ``(s,)`` from the kx axis towards the ky axis.
        samples: along a spoke; sample ``j`` is at ``extent (j - samples // 2) / samples``.
        extent: length of a spoke in cycles per pixel; 1 reaches the edge of k-space.
    """
    radius = extent * (np.arange(samples) - samples // 2) / samples
    angle = np.deg2rad(np.asarray(angles_deg, np.float64))
    directions = np.stack((np.cos(angle), np.sin(angle)), -1)
    return (radius[:, None] * directions[:, None, :]).astype(np.float32)


def directions(trajectory: np.ndarray) -> np.ndarray:
    """``(s, 2)`` float64 unit vectors along straight spokes ``(s, n, 2)``.

    Raises:
        BadInput: a spoke without length.
    """
    along = trajectory[:, -1].astype(np.float64) - trajectory[:, 0]
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    if (length == 0).any():
        raise BadInput("A spoke of the trajectory has no length.", "Is it a radial acquisition?")
    return along / length


def sample_step(trajectory: np.ndarray) -> float:
    """Distance of neighbouring samples along spokes ``(s, n, 2)``, in cycles per pixel."""
    along = trajectory[:, -1].astype(np.float64) - trajectory[:, 0]
    return float(np.median(np.linalg.norm(along, axis=-1))) / (trajectory.shape[1] - 1)


def delays_matrix(x: float, y: float, cross: float = 0.0) -> np.ndarray:
    """``(2, 2)`` delays in samples: of the two gradient axes, and between them."""
    return np.array([[x, cross], [cross, y]], np.float64)


def apply_delays(trajectory: np.ndarray, delays: np.ndarray) -> np.ndarray:
    """Where spokes ``(s, n, 2)`` really ran, in cycles per pixel, float32.

    Args:
        trajectory: as it was asked for.
        delays: ``(2, 2)`` in samples, see :func:`delays_matrix`. A spoke along the unit vector
            ``u`` is moved by ``delays @ u`` samples: along itself and, where the axes differ,
            across. The ends may pass the edge of k-space by as much.
    """
    moved = directions(trajectory) @ np.asarray(delays).T * sample_step(trajectory)
    return (trajectory + moved[:, None, :]).astype(np.float32)


def estimate_delays(
    kspace: np.ndarray,
    trajectory: np.ndarray,
    pairs: np.ndarray | None = None,
    search: float = 3.0,
) -> np.ndarray:
    """Gradient delays ``(2, 2)`` in samples, from the points where spokes cross (RING).

    Two spokes measure the same value where they cross. Without delays all cross at their centre
    samples; with them ``a u + S u = b v + S v`` for the samples ``a`` and ``b`` of spokes along
    ``u`` and ``v``, which is linear in the delays ``S`` (Rosenzweig, Holme and Uecker 2019,
    "Simple auto-calibrated gradient delay estimation from few spokes using Radial Intersections
    (RING)", equations 4 to 8).

    Args:
        kspace: ``(s, c, n)`` complex.
        trajectory: ``(s, n, 2)`` as it was asked for.
        pairs: ``(p, 2)`` spokes to compare. Default: each with the one after it, where the angle
            between them is at least 30 degrees; of a changing object these saw the same state.
        search: largest shift that is looked for, in samples.

    Raises:
        BadInput: there are fewer than three crossings, or they lie in too few directions.
    """
    along = directions(trajectory)
    pairs = _neighbours(along) if pairs is None else np.asarray(pairs)
    if len(pairs) > _MOST_PAIRS:
        pairs = pairs[np.linspace(0, len(pairs) - 1, _MOST_PAIRS).astype(int)]
    if len(pairs) < 3:
        raise BadInput(
            "Gradient delays need at least three pairs of spokes that cross at a wide angle.",
            "Leave their correction out.",
        )
    centres = _around_centre(kspace, np.unique(pairs), search)
    crossings = np.array([_crossing(centres[i], centres[j], search) for i, j in pairs])
    return _solve(along[pairs[:, 0]], along[pairs[:, 1]], crossings)


def _neighbours(along: np.ndarray) -> np.ndarray:
    first = np.arange(len(along) - 1)
    crossed = along[:-1, 0] * along[1:, 1] - along[:-1, 1] * along[1:, 0]
    first = first[np.abs(crossed) >= 0.5]
    return np.stack((first, first + 1), -1)


def _around_centre(kspace: np.ndarray, spokes: np.ndarray, search: float) -> dict[int, np.ndarray]:
    """``{spoke: (positions, c)}``: sinc interpolation of each spoke about its centre sample."""
    samples = kspace.shape[2]
    fine = _fine_positions(search)
    frequency = (np.arange(samples) - samples // 2) / samples
    # Through the projections: a spoke is the Fourier transform of an object that has an end.
    to_line = np.exp(2j * np.pi * np.outer(np.arange(samples) - samples // 2, frequency)) / samples
    to_fine = np.exp(-2j * np.pi * np.outer(frequency, fine))
    interpolate = (to_line @ to_fine).astype(np.complex64)
    return {int(s): (kspace[s] @ interpolate).T for s in spokes}


def _fine_positions(search: float) -> np.ndarray:
    steps = round(search / _SEARCH_STEP)
    return np.arange(-steps, steps + 1) * _SEARCH_STEP


def _crossing(first: np.ndarray, second: np.ndarray, search: float) -> tuple[float, float]:
    """Samples ``(a, b)`` of two spokes ``(positions, c)`` at which all coils agree best."""
    powers = (np.abs(first) ** 2).sum(1)[:, None] + (np.abs(second) ** 2).sum(1)[None, :]
    # Relative to the signal, or two empty places would agree best.
    cost = 1 - 2 * np.real(first @ second.conj().T) / np.maximum(powers, 1e-30)
    fine = _fine_positions(search)
    row, column = np.unravel_index(cost.argmin(), cost.shape)
    row = min(max(row, 1), len(fine) - 2)
    column = min(max(column, 1), len(fine) - 2)
    patch = cost[row - 1 : row + 2, column - 1 : column + 2]
    slope = np.array([patch[2, 1] - patch[0, 1], patch[1, 2] - patch[1, 0]]) / 2
    mixed = (patch[2, 2] - patch[2, 0] - patch[0, 2] + patch[0, 0]) / 4
    bend = np.array(
        [
            [patch[2, 1] - 2 * patch[1, 1] + patch[0, 1], mixed],
            [mixed, patch[1, 2] - 2 * patch[1, 1] + patch[1, 0]],
        ]
    )
    step = np.zeros(2)
    if np.linalg.eigvalsh(bend)[0] > 0:
        step = np.clip(-np.linalg.solve(bend, slope), -1, 1)
    return fine[row] + step[0] * _SEARCH_STEP, fine[column] + step[1] * _SEARCH_STEP


def _solve(u: np.ndarray, v: np.ndarray, crossings: np.ndarray) -> np.ndarray:
    """Least squares for ``S (u - v) = b v - a u``, twice without what fits badly."""
    apart = u - v
    zero = np.zeros(len(u))
    system = np.stack(
        (
            np.stack((apart[:, 0], zero, apart[:, 1]), -1),
            np.stack((zero, apart[:, 1], apart[:, 0]), -1),
        ),
        1,
    )  # (pairs, 2, 3)
    target = crossings[:, 1:] * v - crossings[:, :1] * u
    good = np.ones(len(u), bool)
    for _ in range(3):
        rows = system[good].reshape(-1, 3)
        values = np.linalg.svd(rows, compute_uv=False)
        if len(rows) < 3 or values[-1] <= 0.05 * values[0]:
            raise BadInput(
                "The spokes cross in too few directions to find gradient delays.",
                "Leave their correction out.",
            )
        found = np.linalg.lstsq(rows, target[good].ravel(), rcond=None)[0]
        away = np.linalg.norm(system @ found - target, axis=-1)
        good = away <= 3 * max(float(np.median(away)), 1e-6)
    return delays_matrix(found[0], found[1], found[2])
