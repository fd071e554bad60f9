"""RawData: what the scanner measured along radial spokes, with everything that places it.

Numpy only. Axes: readout ``s``, coil ``c``, sample ``n``. Positions in k-space are in cycles per
pixel of the reconstructed grid, ``[-0.5, 0.5)``, last axis ``(kx, ky)``; the pixel ``x`` has the
coordinate ``x - nx // 2``. A stack of stars has a partition number for each readout, whose
k-space coordinate is ``(partition - partitions // 2) / partitions``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.volume import Grid

_OUTERMOST = 0.55
"""Cycles per pixel: half a cycle, and what gradient delays may add."""
_LONGEST_TR_S = 3600.0


@dataclass(frozen=True)
class RawData:
    """Radial raw data of one slice, or of one stack of stars.

    Attributes:
        kspace: ``(s, c, n)`` complex64, arbitrary units.
        trajectory: ``(s, n, 2)`` float32, cycles per pixel of ``grid``.
        navigator: ``(s,)`` bool; readouts along one repeated direction.
        since_inversion: ``(s,)`` int32; RF pulses since the last inversion, 0 for the first.
        time_s: ``(s,)`` float64; when it was measured, ascending.
        grid: the image that is to be reconstructed ``(z, y, x)``.
        repetition_s: between RF pulses, in seconds.
        flip_deg: nominal flip angle in degrees.
        partition: ``(s,)`` int32; zeros for one slice.
        noise: ``(c, m)`` complex64 samples of noise alone, or None.
        physiology: for instance ``{"cardiac_trigger_s": ...}``, in seconds.
        header: what else the file said (field strength, patient position, protocol...).

    Raises:
        BadInput: lengths do not fit, values are not finite, times run backwards.
    """

    kspace: np.ndarray
    trajectory: np.ndarray
    navigator: np.ndarray
    since_inversion: np.ndarray
    time_s: np.ndarray
    grid: Grid
    repetition_s: float
    flip_deg: float
    partition: np.ndarray | None = None
    noise: np.ndarray | None = None
    physiology: Mapping[str, np.ndarray] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kspace.ndim != 3 or 0 in self.kspace.shape:
            raise BadInput(f"Raw data are (readout, coil, sample), not {self.kspace.shape}.")
        readouts, coils, samples = self.kspace.shape
        if self.partition is None:
            object.__setattr__(self, "partition", np.zeros(readouts, np.int32))
        if self.trajectory.shape != (readouts, samples, 2):
            raise BadInput(
                f"The trajectory has shape {self.trajectory.shape}, "
                f"not {(readouts, samples, 2)} as the raw data ask for."
            )
        for name in ("navigator", "since_inversion", "time_s", "partition"):
            if getattr(self, name).shape != (readouts,):
                raise BadInput(f"'{name}' of the raw data does not have {readouts} entries.")
        if self.noise is not None and (self.noise.ndim != 2 or self.noise.shape[0] != coils):
            raise BadInput(f"The noise measurement does not have {coils} coils.")
        if not np.isfinite(self.kspace.view(np.float32)).all():
            raise BadInput("The raw data hold values that are not finite.")
        if not np.isfinite(self.trajectory).all() or np.abs(self.trajectory).max() > _OUTERMOST:
            raise BadInput(
                "The trajectory is not within [-0.5, 0.5] cycles per pixel.",
                "Give it relative to the reconstructed matrix.",
            )
        self._check_times()

    def _check_times(self) -> None:
        if not np.isfinite(self.time_s).all() or (np.diff(self.time_s) < 0).any():
            raise BadInput("The times of the readouts run backwards, or are not numbers.")
        if not (0 < self.repetition_s < _LONGEST_TR_S and math.isfinite(self.flip_deg)):
            raise BadInput(
                f"The repetition time of {self.repetition_s} s or the flip angle of "
                f"{self.flip_deg} degrees cannot be."
            )
        if self.since_inversion.min() < 0:
            raise BadInput("A readout has a negative number of RF pulses since the inversion.")

    @property
    def coils(self) -> int:
        """Number of receiver channels."""
        return self.kspace.shape[1]

    @property
    def imaging(self) -> np.ndarray:
        """``(s,)`` bool: the readouts that are not navigators."""
        return ~self.navigator

    def take(self, readouts: np.ndarray) -> RawData:
        """Some of the readouts, by a mask or by ascending indices."""
        return replace(
            self,
            kspace=self.kspace[readouts],
            trajectory=self.trajectory[readouts],
            navigator=self.navigator[readouts],
            since_inversion=self.since_inversion[readouts],
            time_s=self.time_s[readouts],
            partition=self.partition[readouts],
        )
