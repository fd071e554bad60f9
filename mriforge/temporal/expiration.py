"""Which end of a respiratory signal is expiration: organs go to the feet when breathing in.

Numpy only. Spokes that run about from head to feet give, by a Fourier transform, profiles along
that direction. Their shift between the two ends of the signal tells the ends apart, where the slice
has such a direction at all.
"""

from __future__ import annotations

import numpy as np

from mriforge.rawdata import RawData

WITHIN_DEG = 25.0
LEAST_SLOPE = 0.5
"""How much of the way to the feet has to lie within the slice."""
FEWEST = 20


def inspiration_sign(raw: RawData, signal: np.ndarray) -> int:
    """1 if the signal rises when breathing in, -1 if it falls, 0 if the spokes do not tell.

    Args:
        raw: raw data.
        signal: ``(s,)`` respiratory signal at every readout.
    """
    feet = -raw.grid.direction_matrix[2, :2]
    if np.linalg.norm(feet) < LEAST_SLOPE:
        return 0
    feet = feet / np.linalg.norm(feet)
    path = raw.trajectory[:, -1] - raw.trajectory[:, 0]
    length = np.linalg.norm(path, axis=1)
    along = path @ feet / np.maximum(length, 1e-12)
    # Recovered tissue is what shows motion with one sign.
    late = raw.since_inversion > 0.5 * raw.since_inversion.max()
    own = np.flatnonzero((np.abs(along) > np.cos(np.deg2rad(WITHIN_DEG))) & late)
    low, high = np.quantile(signal, (0.3, 0.7))
    ends = [own[signal[own] <= low], own[signal[own] >= high]]
    if min(len(end) for end in ends) < FEWEST:
        return 0
    before, after = (_profile(raw, end, along[end] < 0) for end in ends)
    slope = np.gradient(before + after)
    shift = -float(slope @ (after - before))
    return int(np.sign(shift))


def _profile(raw: RawData, readouts: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Mean magnitude along the direction, ``(n,)``; ``turned`` spokes run the other way."""
    image = np.abs(np.fft.ifft(np.fft.ifftshift(raw.kspace[readouts], axes=-1), axis=-1))
    image = np.fft.fftshift(np.sqrt(np.square(image).sum(1)), axes=-1)
    size = image.shape[1]
    mirrored = image[:, (size // 2 * 2 - np.arange(size)) % size]
    return np.where(turned[:, None], mirrored, image).mean(0)
