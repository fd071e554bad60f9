"""What the time constant of a recovery says about T1: plain, Look-Locker, under a pulse train."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mriforge.errors import BadInput
from mriforge.relaxometry.result import T1Map
from mriforge.relaxometry.varpro import Estimate

BOUNDS_S = (0.05, 5.0)
"""Where T1 is searched when nothing else is said: fat at low field to pure water."""
KINDS = ("ir", "looklocker", "irflash")
_STRONGEST_READOUT = 6.0
"""T1 / T1* of a Look-Locker readout up to which is searched."""


@dataclass(frozen=True)
class RecoveryModel:
    """A recovery after an inversion.

    Attributes:
        kind: ``ir``: ``A - B exp(-t / T1)``; ``looklocker``: the same with an apparent T1*, and
            ``T1 = T1* (B / A - 1)`` (Look and Locker 1970; Deichmann and Haase 1992; Messroghli
            2004 for MOLLI); ``irflash``: ``p0 + p1 q^n`` with ``T1 = -TR / ln(q / cos a)``,
            ``t = n TR``.
        bounds_s: range of T1 that is searched, in seconds.
        inversion: starting magnetisation relative to the end, where it is known; else fitted.
        repetition_s: between pulses; of ``irflash``.
        flip_deg: flip angle; of ``irflash``.

    Raises:
        BadInput: settings that no sequence has.
    """

    kind: str = "ir"
    bounds_s: tuple[float, float] = BOUNDS_S
    inversion: float | None = None
    repetition_s: float = 0.0
    flip_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is not one of {KINDS}")
        low, high = self.bounds_s
        if not 0 < low < high < math.inf:
            raise BadInput(f"T1 cannot be searched between {low:g} and {high:g} s.")
        if self.kind == "looklocker" and self.inversion is not None:
            raise BadInput(
                "The Look-Locker correction is made of the fitted inversion.",
                "Leave the inversion out.",
            )
        if self.inversion is not None and not -1.5 <= self.inversion < 1:
            raise BadInput(f"An inversion does not start at {self.inversion:g} of its end.")
        if self.kind == "irflash":
            if not self.repetition_s > 0:
                raise BadInput("The time between pulses (TR) must be positive.")
            if not 0 < self.flip_deg < 90:
                raise BadInput(
                    f"The flip angle is between 0 and 90 degrees, not {self.flip_deg:g}."
                )

    @property
    def parameters(self) -> int:
        """How many are fitted."""
        return 3 if self.inversion is None else 2

    @property
    def saturation(self) -> float:
        """How much faster than 1 / T1 the recovery is, per second."""
        if self.kind != "irflash":
            return 0.0
        return -math.log(math.cos(math.radians(self.flip_deg))) / self.repetition_s

    @property
    def apparent_bounds_s(self) -> tuple[float, float]:
        """Range of the time constant of the curve."""
        low, high = self.bounds_s
        if self.kind == "looklocker":
            return low / _STRONGEST_READOUT, high
        return 1 / (1 / low + self.saturation), 1 / (1 / high + self.saturation)

    def curve(self, found: T1Map, times_s: np.ndarray) -> np.ndarray:
        """The images that a map describes: ``(T, ...)`` float32, zero where nothing was fitted."""
        inverse = np.divide(
            1000.0, found.t1_ms, out=np.zeros(found.t1_ms.shape), where=found.fitted
        )
        if self.kind == "looklocker":
            inverse *= -found.inversion
        rate = (inverse + self.saturation).astype(np.float32)
        change = found.inversion - 1
        wide = (slice(None), *(None,) * rate.ndim)
        decay = np.exp(-np.asarray(times_s, np.float32)[wide] * rate)
        return found.amplitude * (1 + change * decay)

    def t1(self, found: Estimate) -> tuple[torch.Tensor, torch.Tensor]:
        """T1 in seconds, and its standard error for noise of standard deviation one.

        The parameters (level, amplitude of the unit curve, logarithm of the time constant) have
        orthogonal Jacobian columns of length 1, 1 and ``|q y| |q'|``: the covariance is diagonal.
        """
        apparent = found.log_time.exp()
        spread = 1 / (found.unit_amplitude.abs() * found.unit_slope)
        if self.kind != "looklocker":
            t1 = apparent / (1 - self.saturation * apparent)
            return t1, t1.square() / apparent * spread
        ratio = -found.change / found.end
        t1 = apparent * (ratio - 1)
        (size, growth), (offset, drift) = found.size.unbind(1), found.offset.unbind(1)
        length = found.length
        # p1 = c / size, p0 = (level - p1 offset) / length, d ratio = ratio (dp1 / p1 - dp0 / p0)
        by_level = -ratio / (length * found.end)
        by_amplitude = ratio * (1 / found.unit_amplitude + offset / (size * length * found.end))
        change_by_log = -found.change * growth / size
        end_by_log = -(change_by_log * offset + found.change * drift) / length
        by_log = ratio * (change_by_log / found.change - end_by_log / found.end)
        variance = (apparent * by_level).square() + (apparent * by_amplitude).square()
        variance = variance + ((t1 + apparent * by_log) * spread).square()
        return t1, variance.sqrt()
