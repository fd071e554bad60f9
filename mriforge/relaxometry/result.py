"""T1Map: relaxation times, how sure they are, and why there is none where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np


class Flag(IntEnum):
    """What became of a voxel."""

    FITTED = 0
    OUTSIDE = 1
    """Not in the mask."""
    NO_SIGNAL = 2
    """Nothing, or nothing that changes from image to image."""
    BAD_INPUT = 3
    """Not a finite number; or negative where magnitudes are expected."""
    AT_BOUND = 4
    """The best T1 is at an end of the range that was searched, or outside of it."""
    UNPHYSICAL = 5
    """The best curve is not a recovery: its end is not above its beginning."""


@dataclass(frozen=True)
class T1Map:
    """Result of a fit; every array has the shape of the images.

    Attributes:
        t1_ms: float32, 0 where ``flags`` is not :attr:`Flag.FITTED`.
        r_squared: explained share of the variance over the images, 0 to 1; 0 where not fitted.
        error_ms: standard error of T1 from the Jacobian and the residual; 0 where not fitted.
            Not a number where there are as many images as parameters.
        amplitude: signal of the relaxed (or steady) state, as the model has it; 0 if not fitted.
        inversion: starting magnetisation relative to that state, -1 perfect; 0 if not fitted, and
            1 for a model without an inversion.
        flags: uint8, of :class:`Flag`.
        info: model and settings, JSON types.
    """

    t1_ms: np.ndarray
    r_squared: np.ndarray
    error_ms: np.ndarray
    amplitude: np.ndarray
    inversion: np.ndarray
    flags: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def fitted(self) -> np.ndarray:
        """Where there is a T1."""
        return self.flags == Flag.FITTED

    def quality(self) -> np.ndarray:
        """One map for a file: R squared where fitted, minus the flag elsewhere; float32."""
        return np.where(self.fitted, self.r_squared, -self.flags.astype(np.float32)).astype(
            np.float32
        )

    def counts(self) -> dict[str, int]:
        """How many voxels became what, by the flag's name in small letters."""
        number = np.bincount(self.flags.ravel(), minlength=len(Flag))
        return {flag.name.lower(): int(number[flag]) for flag in Flag}
