"""Which grid a user means by a factor, a voxel size, another image, or a sharper prior.

Arithmetic on grids alone, without torch: the panels use it to say what will come out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mriforge.errors import BadInput
from mriforge.volume import Grid

_SAME_GRID_TOLERANCE = 0.05
"""Fraction of a target voxel by which a reference grid may differ from the k-space grid."""

_DEFAULT_FACTOR = 2.0
_MAX_VOXELS = 1_000_000_000


@dataclass(frozen=True)
class Target:
    """What was wished for.

    Attributes:
        stored_shape: matrix ``(i, j, k)`` that the network works on.
        working: its grid: finer than the input's, k-space centres aligned.
        final: grid to resample to afterwards; None when ``working`` already is the wanted grid.
    """

    stored_shape: tuple[int, int, int]
    working: Grid
    final: Grid | None = None

    @property
    def grid(self) -> Grid:
        """Grid of the result."""
        return self.working if self.final is None else self.final

    def kspace_fraction(self, low: Grid) -> float:
        """Share of the target's k-space that ``low`` holds."""
        return float(np.prod(low.shape) / np.prod(self.working.shape))


def closest_axes(low: Grid, other: Grid) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Which stored axis of ``other`` runs along each stored axis of ``low``, and its sign.

    Returns:
        ``(axes, signs)``; each axis of ``other`` is used once.
    """
    cosine = low.direction_matrix.T @ other.direction_matrix
    free = {0, 1, 2}
    axes, signs = [0, 0, 0], [1, 1, 1]
    for row in np.argsort(-np.abs(cosine).max(axis=1)):
        column = max(free, key=lambda c: abs(cosine[row, c]))
        free.remove(column)
        axes[row] = column
        signs[row] = 1 if cosine[row, column] >= 0 else -1
    return tuple(axes), tuple(signs)


def _check_axes(low: Grid, axes: tuple[int, ...]) -> None:
    if not axes or len(set(axes)) != len(axes) or any(a not in (0, 1, 2) for a in axes):
        raise BadInput(
            f"The axes {axes} are not some of 0, 1, 2 (i, j, k as stored).",
            "For example 0,1 for the in-plane axes.",
        )


def _from_factor(low: Grid, factor: float, axes: tuple[int, ...]) -> list[int]:
    if not np.isfinite(factor) or factor <= 1:
        raise BadInput(f"The scale is a factor above 1, not {factor:g}.")
    return [round(n * factor) if a in axes and n > 1 else n for a, n in enumerate(low.stored_shape)]


def _from_spacing(low: Grid, spacing: tuple[float, ...]) -> list[int]:
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise BadInput(f"The spacing needs three positive numbers in mm (x, y, z), not {spacing}.")
    shape = [
        round(n * have / want)
        for n, have, want in zip(low.stored_shape, low.spacing, spacing, strict=True)
    ]
    for axis, (n, size) in enumerate(zip(low.stored_shape, shape, strict=True)):
        if size < n:
            raise BadInput(
                f"The target spacing {spacing[axis]:g} mm is coarser than the image's "
                f"{low.spacing[axis]:g} mm along axis {axis}.",
                "Give a spacing that is at most the image's.",
            )
    return [n if n == 1 else size for n, size in zip(low.stored_shape, shape, strict=True)]


def _from_prior(low: Grid, prior: Grid, axes: tuple[int, ...]) -> list[int]:
    along, _ = closest_axes(low, prior)
    shape = list(low.stored_shape)
    for a in axes:
        shape[a] = max(shape[a], round(shape[a] * low.spacing[a] / prior.spacing[along[a]]))
    return shape


def _from_like(low: Grid, like: Grid) -> list[int] | None:
    """Size of the k-space grid that ``like`` lies on, or None where it lies on none."""
    axes, signs = closest_axes(low, like)
    if axes != (0, 1, 2) or signs != (1, 1, 1):
        return None
    if any(size < n for n, size in zip(low.stored_shape, like.stored_shape, strict=True)):
        return None
    finer = low.kspace_refined(like.stored_shape)
    tolerance = _SAME_GRID_TOLERANCE * min(like.spacing)
    return list(like.stored_shape) if finer.matches(like, tolerance) else None


def plan_target(
    low: Grid,
    *,
    scale: float | None = None,
    spacing: tuple[float, float, float] | None = None,
    like: Grid | None = None,
    prior: Grid | None = None,
    axes: tuple[int, ...] = (0, 1),
) -> Target:
    """The grid that is wanted for an image on ``low``.

    At most one of ``scale`` (factor along ``axes``), ``spacing`` (mm, x, y, z) and ``like``
    (a grid) is given; without them the in-plane spacing of ``prior`` is taken, without a prior a
    factor of 2.

    Raises:
        BadInput: contradictory or impossible wishes.
    """
    _check_axes(low, axes)
    if sum(wish is not None for wish in (scale, spacing, like)) > 1:
        raise BadInput(
            "The target is given more than once.",
            "Choose one of the factor, the spacing and the grid to be like.",
        )
    final, exact = None, False
    if like is not None:
        shape = _from_like(low, like)
        exact = shape is not None
        if shape is None:
            final = like
            along, _ = closest_axes(low, like)
            shape = _from_spacing(
                low,
                tuple(
                    min(like.spacing[along[a]], low.spacing[a]) if a in axes else low.spacing[a]
                    for a in range(3)
                ),
            )
    elif spacing is not None:
        shape = _from_spacing(low, spacing)
    elif scale is not None or prior is None:
        shape = _from_factor(low, _DEFAULT_FACTOR if scale is None else scale, axes)
    else:
        shape = _from_prior(low, prior, axes)
    if np.prod(np.asarray(shape, dtype=float)) > _MAX_VOXELS:
        raise BadInput(
            f"The result would have {'x'.join(map(str, shape))} voxels.",
            "Ask for a smaller factor or a coarser spacing.",
        )
    if list(shape) == list(low.stored_shape):
        raise BadInput(
            "The target grid is no finer than the image.",
            "Give a scale above 1, a smaller spacing, or a sharper prior.",
        )
    # The reference's own header is kept to the last digit: users compare the two images.
    working = like if exact and like is not None else low.kspace_refined(tuple(shape))
    return Target(tuple(shape), working, final)
