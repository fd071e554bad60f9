"""What can be said of a kernel: how wide it is, and what an image looks like behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from mriforge.physics.downsampling import DownsamplingKernel, KernelDownsampling
from mriforge.physics.profiles import FWHM_PER_SIGMA
from mriforge.volume import Grid


def widths(taps: np.ndarray) -> list[float]:
    """Full width at half maximum of the Gaussian with the variance of the taps, x first; pixels.

    Negative lobes take from the variance; where nothing is left of it the width is 0.
    """
    found = []
    for axis in reversed(range(taps.ndim)):
        line = taps.sum(tuple(a for a in range(taps.ndim) if a != axis))
        at = np.arange(len(line))
        mean = float(line @ at) / float(line.sum())
        variance = float(line @ (at - mean) ** 2) / float(line.sum())
        found.append(FWHM_PER_SIGMA * math.sqrt(max(0.0, variance)))
    return found


def example(
    kernel: DownsamplingKernel, low: Sequence[np.ndarray], high: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """A real low-resolution slice, and what the kernel makes of a sharp one: from the middles."""
    real, sharp = low[len(low) // 2], high[len(high) // 2]
    if sharp.ndim == 2:
        sharp, real = sharp[None], real[None]
    operator = KernelDownsampling(Grid(sharp.shape), kernel)
    made = operator.A(torch.from_numpy(np.ascontiguousarray(sharp))).numpy()
    return real[len(real) // 2], made[len(made) // 2]
