"""One image to sharpen, with all that is known of it: what measured it, and what sharpens it.

The image that a user gives is one; the same scan made coarser once more, or a sharp scan made
coarse, are others whose answer is known. What is said about a result is measured on those.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from mriforge.physics.operator import LinearOperator
from mriforge.volume import Grid, Series, Volume

Sharpen = Callable[[Tensor], Tensor]
"""A scaled image on ``operator.low`` to one on ``operator.high``, both ``(z, y, x)``."""
Box = tuple[slice, slice, slice]
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Symmetry:
    """A way to turn an image over that its acquisition does not notice.

    Attributes:
        plain: tensor axes that are reversed.
        centred: tensor axes that are reversed about the k-space centre, sample ``N // 2``: only
            that commutes with a truncation of k-space.
        swap: two tensor axes that are exchanged afterwards.
    """

    plain: tuple[int, ...] = ()
    centred: tuple[int, ...] = ()
    swap: tuple[int, int] | None = None

    def apply(self, image: Tensor) -> Tensor:
        """``image`` turned over."""
        image = self._flipped(image)
        return image if self.swap is None else image.transpose(*self.swap).contiguous()

    def undo(self, image: Tensor) -> Tensor:
        """The inverse of :meth:`apply`, on either grid."""
        return self._flipped(image if self.swap is None else image.transpose(*self.swap))

    def _flipped(self, image: Tensor) -> Tensor:
        if self.plain:
            image = image.flip(self.plain)
        for axis in self.centred:
            image = image.flip(axis)
            if image.shape[axis] % 2 == 0:
                image = image.roll(1, axis)
        return image


def symmetries_of(
    operator: LinearOperator, slices: int = -3, *, across: bool = True
) -> tuple[Symmetry, ...]:
    """All ways to turn over images that ``operator`` maps to each other; the first does nothing.

    In plane reversed and, where both axes have the same size and voxels, exchanged. (The unpaired
    line of an even number of k-space samples is noticed; it is hardly anything of an image.)

    Args:
        operator: truncates k-space in plane, or makes slices thick.
        slices: tensor axis across the slices.
        across: also reverse the slices' order, where it is no axis that was made coarse.
    """
    rows, columns = (axis for axis in (-3, -2, -1) if axis != slices)
    low, high = operator.low, operator.high
    coarse = {axis for axis in (-3, -2, -1) if low.shape[axis] != high.shape[axis]}
    swaps: list[tuple[int, int] | None] = [None]
    if _alike(operator, rows, columns):
        swaps.append((rows, columns))
    depths: list[tuple[int, ...]] = [()]
    if across and slices not in coarse and high.shape[slices] > 1:
        depths.append((slices,))
    found = []
    for depth, swap in itertools.product(depths, swaps):
        for flips in ((), (columns,), (rows,), (rows, columns)):
            axes = (*flips, *depth)
            found.append(
                Symmetry(
                    tuple(a for a in axes if a not in coarse),
                    tuple(a for a in axes if a in coarse),
                    swap,
                )
            )
    return tuple(found)


def _alike(operator: LinearOperator, first: int, second: int) -> bool:
    for grid in (operator.low, operator.high):
        a, b = (grid.spacing[-1 - axis] for axis in (first, second))
        if grid.shape[first] != grid.shape[second] or abs(a / b - 1) > 1e-3:
            return False
    return True


@dataclass(frozen=True)
class Problem:
    """An image to sharpen.

    Attributes:
        low: the image, ``(z, y, x)`` on ``operator.low``; bright tissue is about 1.
        operator: the acquisition.
        sharpeners: the method, and others that may be asked as well.
        symmetries: see :func:`symmetries_of`.
        baselines: interpolations to compare with, by title.
        truth: what should come out, ``(z, y, x)`` on ``operator.high``; None: nobody knows.
        inside: the part of ``operator.high`` that the method never learned from.
    """

    low: Tensor
    operator: LinearOperator
    sharpeners: tuple[Sharpen, ...]
    symmetries: tuple[Symmetry, ...] = (Symmetry(),)
    baselines: Mapping[str, Sharpen] = field(default_factory=dict)
    truth: Tensor | None = None
    inside: Box = EVERYWHERE

    def solved(self) -> Tensor:
        """The method's answer."""
        return self.sharpeners[0](self.low)


class Trials(Protocol):
    """How a result was made, so that the same can be done to images whose truth is known.

    Attributes:
        series: the input.
        scale: what stored values are divided by.
        final: the grid that the result is resampled to; None: it stays on ``operator.high``.
        frames: how many frames there are.
        same_scale: whether :meth:`own` tests at the voxel size of the result.
    """

    series: Series
    scale: float
    final: Grid | None
    same_scale: bool

    @property
    def frames(self) -> int: ...

    def problem(self, frame: int) -> Problem:
        """Frame ``frame`` of the input; its truth is not known."""

    def own(self, frame: int) -> Iterator[Problem]:
        """The scan itself as the truth of a coarser one.

        Raises:
            BadInput: it is too small for that, or the acquisition cannot be repeated.
        """

    def prior(self) -> Iterator[Problem]:
        """The subject's sharp scan as the truth, where there is one; otherwise nothing."""

    def sharp(self, volume: Volume) -> Iterator[Problem]:
        """A sharp scan of anybody as the truth.

        Raises:
            BadInput: it is too coarse or too small.
        """
