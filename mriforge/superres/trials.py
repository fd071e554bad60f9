"""Sharpening in plane, done again: to the scan made coarser once more, and to sharp scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.physics.interpolation import BASELINES
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.operator import LinearOperator
from mriforge.superres.finetune import degrade_prior, split_boxes
from mriforge.superres.intensity import intensity_scale
from mriforge.superres.prior import match_prior
from mriforge.superres.problem import EVERYWHERE, Box, Problem, Sharpen, symmetries_of
from mriforge.superres.sharpener import Sharpener
from mriforge.volume import Grid, Series, Volume

_COMPARED = {
    "zero-filled (sinc)": "sinc",
    "linear": "linear_aligned",
    "cubic B-spline": "cubic_bspline",
}
SMALLEST = 16
"""Rows and columns below which a scan made coarser once more says nothing."""


@dataclass(frozen=True)
class InPlaneTrials:
    """See :class:`mriforge.superres.problem.Trials`.

    Attributes:
        sharpener: what made the result.
        others: further methods whose answers are compared.
        target: the grids; ``acquired``: how frames came from ``target.high``.
        series: the input.
        sharp_prior: the prior; None: there is none.
        tuned: whether the method learned from the prior (but for its held-out part).
    """

    sharpener: Sharpener
    others: tuple[Sharpener, ...]
    target: KspaceCrop
    acquired: LinearOperator | None
    series: Series
    scale: float
    final: Grid | None = None
    sharp_prior: Volume | None = None
    tuned: bool = False

    same_scale = False

    @property
    def frames(self) -> int:
        """How many frames the input has."""
        return len(self.series)

    def frame(self, number: int) -> Tensor:
        """Frame ``number`` of the input, ``(z, y, x)``, scaled."""
        return torch.from_numpy(self.series.array[number].astype(np.float32)) / self.scale

    def problem(self, frame: int) -> Problem:
        """Frame ``frame`` of the input."""
        return self._problem(self.frame(frame), self.target, self._known(self.acquired))

    def own(self, frame: int) -> Iterator[Problem]:
        """The frame, coarser once more by the same factors, with itself as the truth."""
        low = self.series.grid
        array = np.maximum(self.series.array[frame].astype(np.float32), 0)
        yield self._degraded(Volume(array, low), "The image")

    def prior(self) -> Iterator[Problem]:
        """The prior made coarse; only its held-out part, where the method learned from the rest."""
        if self.sharp_prior is None:
            return
        prior = match_prior(self.sharp_prior, self.target.high)
        inside = split_boxes(prior.grid.shape)[1] if self.tuned else EVERYWHERE
        yield self._degraded(prior, "The prior", inside)

    def sharp(self, volume: Volume) -> Iterator[Problem]:
        """Anybody's sharp scan, brought to the voxels of the target and made coarse."""
        yield self._degraded(match_prior(volume, self.target.high), "The sharp scan")

    def _degraded(self, truth: Volume, what: str, inside: Box = EVERYWHERE) -> Problem:
        if any(truth.grid.shape[axis] < SMALLEST for axis in self.target.axes):
            raise BadInput(
                f"{what} of {truth.grid.stored_shape} voxels is too small to be made coarser and "
                "sharpened again.",
                "Leave out what needs that (--uncertainty), or give a larger image.",
            )
        method = self.sharpener.method
        if method.enlarges:
            return self._halved(truth, inside)
        pair = degrade_prior(truth, self.target, method.upsample, method.percentile)
        return self._problem(
            pair.acquired, pair.operator, pair.operator, truth=pair.sharp, inside=inside
        )

    def _halved(self, truth: Volume, inside: Box) -> Problem:
        """For networks that double rows and columns: those have to be even, before and after."""
        _, height, width = truth.grid.shape
        array = truth.array[:, : height - height % 4, : width - width % 4]
        grid = Grid(array.shape, truth.grid.spacing, truth.grid.origin, truth.grid.direction)
        nx, ny, nz = grid.stored_shape
        target = KspaceCrop(grid, (nx // 2, ny // 2, nz))
        acquired = self._known(self.sharpener.acquisition(target))
        sharp = torch.from_numpy(np.ascontiguousarray(array, np.float32))
        low = acquired.A(sharp).clamp(min=0)
        scale = intensity_scale(low.numpy(), self.sharpener.method.percentile)
        return self._problem(low / scale, target, acquired, truth=sharp / scale, inside=inside)

    @staticmethod
    def _known(acquired: LinearOperator | None) -> LinearOperator:
        if acquired is None:
            raise BadInput(
                "The images that this model learned from were made coarse by a network, which "
                "cannot be repeated here: its uncertainty cannot be measured.",
                "Leave the uncertainty out, or choose another model.",
            )
        return acquired

    def _problem(
        self,
        low: Tensor,
        target: KspaceCrop,
        acquired: LinearOperator,
        truth: Tensor | None = None,
        inside: Box = EVERYWHERE,
    ) -> Problem:
        def applied(sharpener: Sharpener) -> Sharpen:
            percentile = sharpener.method.percentile
            if percentile == self.sharpener.method.percentile:
                return lambda image: sharpener(image, target, acquired)[0]

            def rescaled(image: Tensor) -> Tensor:
                scale = intensity_scale(image.numpy(), percentile)
                return sharpener(image / scale, target, acquired)[0] * scale

            return rescaled

        baselines: dict[str, Callable[[Tensor], Tensor]] = {
            title: partial(_interpolated, BASELINES[name], target)
            for title, name in _COMPARED.items()
        }
        return Problem(
            low,
            acquired,
            tuple(applied(one) for one in (self.sharpener, *self.others)),
            symmetries_of(target),
            baselines,
            truth,
            inside,
        )


def _interpolated(baseline: Callable, target: KspaceCrop, low: Tensor) -> Tensor:
    return baseline(low, target)
