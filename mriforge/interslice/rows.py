"""One line across the slices: where its fine samples are, what the slices saw of them.

Everything that this room does happens along lines. A line of the real stack and a line of pixels
made thick for training are described by the same few matrices, so that a network cannot tell them
apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mriforge.physics.interpolation import cubic_matrix, linear_matrix
from mriforge.physics.profiles import Profile, profile_matrix


@dataclass(frozen=True)
class Rows:
    """Geometry of a line of ``high`` fine samples and ``low`` thick slices.

    Attributes:
        centres: of the slices, in fine samples, ascending, ``ratio`` apart.
        high: number of fine samples.
        profile: slice profile with the fine sample as unit of length (instead of mm).
    """

    centres: np.ndarray
    high: int
    profile: Profile

    @property
    def low(self) -> int:
        """Number of slices."""
        return len(self.centres)

    @property
    def ratio(self) -> float:
        """Fine samples between two slices; need not be whole."""
        return float(self.centres[-1] - self.centres[0]) / (self.low - 1)

    @property
    def positions(self) -> np.ndarray:
        """Every fine sample in slice coordinates: 0 is the middle of the first slice."""
        return (np.arange(self.high) - self.centres[0]) / self.ratio

    def acquire(self) -> Tensor:
        """``(low, high)``: what the slices see of the fine samples."""
        return profile_matrix(self.profile, self.centres, self.high, 1.0)

    def cubic(self) -> Tensor:
        """``(high, low)``: interpolating cubic B-spline at the true positions."""
        return cubic_matrix(self.positions, self.low)

    def linear(self) -> Tensor:
        """``(high, low)``: linear interpolation at the true positions."""
        return linear_matrix(self.positions, self.low)

    def made_thick(self, size: int, offset: float | None = None) -> Rows:
        """As these, for a line of ``size`` fine samples: pixels that are to be made thick.

        Args:
            offset: of the first slice from the fine sample below it, in [0, 1); default: as here.
        """
        shift = self.centres[0] % 1.0 if offset is None else offset
        count = int(np.floor((size - 1 - shift) / self.ratio + 1e-9)) + 1
        # As many slices on either side of the middle: the rest is shared by both ends.
        rest = size - 1 - shift - (count - 1) * self.ratio
        first = shift + np.floor(rest / 2)
        return Rows(first + np.arange(count) * self.ratio, size, self.profile)


def in_samples(profile: Profile, sample_mm: float) -> Profile:
    """A profile in mm with the fine sample as its unit of length."""
    return Profile(profile.name, profile.position / sample_mm, profile.cumulative)


def along_first(matrix: Tensor, tensor: Tensor) -> Tensor:
    """``matrix`` ``(m, n)`` times ``tensor`` ``(n, ...)`` along its first axis."""
    flat = matrix.to(tensor) @ tensor.reshape(tensor.shape[0], -1)
    return flat.reshape(matrix.shape[0], *tensor.shape[1:])


def sub_slice_matrix(rows: Rows, pieces: int) -> Tensor:
    """``(high, low * pieces)``: fine samples from ``pieces`` values per slice, cubic.

    Where every fine sample falls onto a piece it is a selection.
    """
    fine = (rows.positions + 0.5) * pieces - 0.5
    near = np.round(fine)
    if np.all(np.abs(fine - near) < 1e-6) and near.min() >= 0 and near.max() < rows.low * pieces:
        return torch.eye(rows.low * pieces, dtype=torch.float64)[torch.from_numpy(near).long()]
    return cubic_matrix(fine, rows.low * pieces)
