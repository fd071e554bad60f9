"""A method ready to be applied: network on its device, gate, acquired data put back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.operator import LinearOperator
from mriforge.superres.consistency import make_consistent, relative_residual
from mriforge.superres.enlarge import acquisition_of
from mriforge.superres.method import Method


@dataclass(frozen=True)
class Sharpener:
    """Makes scaled frames sharp.

    Attributes:
        method: what proposes.
        network: the method's network, applicable to ``(1, 1, z, y, x)``; None: an interpolation.
        consistency: put the acquired data back into what a network proposes.
    """

    method: Method
    network: Callable[[Tensor], Tensor] | None
    consistency: bool = True

    @property
    def restores(self) -> bool:
        """Whether the acquired data is put back."""
        return self.consistency and self.method.model is not None

    def acquisition(self, target: KspaceCrop) -> LinearOperator | None:
        """How images between the grids of ``target`` came about; None: by no known operator."""
        return acquisition_of(self.method.card, target) if self.method.enlarges else target

    def __call__(
        self, low: Tensor, target: KspaceCrop, acquired: LinearOperator | None
    ) -> tuple[Tensor, float, float]:
        """One frame on the grid of ``target.high``.

        Args:
            low: ``(z, y, x)``, scaled as the method expects.
            target: the grids.
            acquired: see :meth:`acquisition`.

        Returns:
            the image, and the relative residual against ``low`` before and after restoring it (not
            a number without a known operator).
        """
        image = self._propose(low, target)
        if acquired is None:
            return image, math.nan, math.nan
        if self.restores:
            # Magnitudes are not negative; the restored data has the last word.
            return make_consistent(acquired, image.clamp(min=0), low)
        residual = relative_residual(acquired, image, low)
        return image, residual, residual

    def _propose(self, low: Tensor, target: KspaceCrop) -> Tensor:
        """Network output, moved towards zero-filling as far as the gate says."""
        method, network = self.method, self.network
        if method.enlarges:
            return network(low[None, None])[0, 0]
        interpolated = method.interpolate(low, target)
        if network is None:
            return interpolated
        step = 1.0 if method.gate is None else method.gate.step
        zero_filled = interpolated if method.upsample == "sinc" else target.zero_fill(low)
        if step == 0.0:
            return zero_filled
        proposal = network(interpolated[None, None])[0, 0]
        return zero_filled + step * (proposal - zero_filled) if step < 1.0 else proposal
