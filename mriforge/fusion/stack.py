"""One stack on its way into the fused volume."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mriforge.fusion.geometry import centre_of
from mriforge.physics.moved_stack import MovedStack, slice_axis_of
from mriforge.physics.profiles import FWHM_PER_SIGMA, Profile, box, gaussian, read_profile
from mriforge.volume import Grid, Volume

_TRUNCATE = 2.5
"""Standard deviations at which the Gaussian profile ends: 98.8 % of its weight. [?]"""
_NOISE_MASK = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6
_FOREGROUND = 0.08


@dataclass(frozen=True)
class Stack:
    """Voxels, where they are, and how they were made.

    Attributes:
        data: ``(z, y, x)``, float32, scaled so that bright tissue is about 1.
        grid: as the header says.
        axis: stored axis across the slices.
        profile: across the slices, mm.
        transforms: ``(slices, 4, 4)``, see :mod:`mriforge.fusion.geometry`.
        noise: standard deviation of the noise in units of ``data``.
    """

    data: Tensor
    grid: Grid
    axis: int
    profile: Profile
    transforms: np.ndarray
    noise: float

    @classmethod
    def of(cls, volume: Volume, scale: float, thickness: float | None, profile: str) -> Stack:
        """A stack as it was read.

        Args:
            scale: value that becomes 1.
            thickness: of the slices in mm; default their spacing.
            profile: ``"gaussian"``, ``"box"`` or a file, see
                :func:`mriforge.physics.profiles.read_profile`.
        """
        axis = slice_axis_of(volume.grid)
        width = thickness or volume.grid.spacing[axis]
        if profile == "gaussian":
            shape = gaussian(width / FWHM_PER_SIGMA, _TRUNCATE)
        elif profile == "box":
            shape = box(width)
        else:
            shape = read_profile(profile, min(volume.grid.spacing))
        data = torch.from_numpy(volume.array.astype(np.float32) / np.float32(scale))
        still = np.tile(np.eye(4), (volume.grid.stored_shape[axis], 1, 1))
        return cls(data, volume.grid, axis, shape, still, noise_of(data, axis))

    @property
    def transform(self) -> np.ndarray:
        """The motion of its middle slice, 4x4."""
        return self.transforms[len(self.transforms) // 2]

    @property
    def normal(self) -> np.ndarray:
        """LPS unit vector across the slices, in the common world."""
        return self.transform[:3, :3] @ self.grid.direction_matrix[:, self.axis]

    @property
    def centre(self) -> np.ndarray:
        """Middle of the stack as the header says, LPS mm."""
        return centre_of(self.grid)

    def moved(self, motion: np.ndarray) -> Stack:
        """After a further motion of the whole stack or, ``(slices, 4, 4)``, of its slices."""
        return replace(self, transforms=motion @ self.transforms)

    def divided(self, field: Tensor | float) -> Stack:
        """With other intensities."""
        middle = float(field.median()) if isinstance(field, Tensor) else field
        return replace(self, data=self.data / field, noise=self.noise / middle)

    def binned(self, pixel_mm: float) -> Stack:
        """With pixels of at most about ``pixel_mm``: means of whole blocks within the slices."""
        factors = [
            1 if a == self.axis else max(1, round(pixel_mm / s))
            for a, s in enumerate(self.grid.spacing)
        ]
        blocks = tuple(f for f in reversed(factors))
        data = torch.nn.functional.avg_pool3d(self.data[None], blocks)[0]
        grid = self.grid.resampled(
            tuple(data.shape)[::-1],
            tuple(s * f for s, f in zip(self.grid.spacing, factors, strict=True)),
            tuple((f - 1) / 2 for f in factors),
        )
        return replace(self, data=data, grid=grid)

    def operator(self, high: Grid) -> MovedStack:
        """What this stack sees of an image on ``high``."""
        return MovedStack(high, self.grid, self.profile, self.transforms, self.axis)

    @property
    def foreground(self) -> Tensor:
        """Voxels with signal, bool."""
        return self.data > _FOREGROUND


def noise_of(data: Tensor, axis: int) -> float:
    """Standard deviation of the noise within slices.

    The difference of two Laplacians of Immerkaer 1996 ("Fast noise variance estimation"), which
    is blind to planes and edges along the axes; the median keeps other edges out. Fine structure
    is counted as noise: an upper bound for sharp, clean images.
    """
    slices = np.moveaxis(data.numpy(), 2 - axis, 0)
    bright = slices > _FOREGROUND
    if not bright.any():
        bright = np.ones_like(bright)
    found = [
        np.abs(ndimage.convolve(image, _NOISE_MASK, mode="nearest"))[mask]
        for image, mask in zip(slices, bright, strict=True)
        if mask.any()
    ]
    return float(1.4826 * np.median(np.concatenate(found)))
