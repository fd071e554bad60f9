"""By which acquisition the input came from the grid that is wanted."""

from __future__ import annotations

from mriforge.physics.kspace import KspaceCrop
from mriforge.superres.wish import plan_target
from mriforge.volume import Grid


def plan_acquisition(
    low: Grid,
    *,
    scale: float | None = None,
    spacing: tuple[float, float, float] | None = None,
    like: Grid | None = None,
    prior: Grid | None = None,
    axes: tuple[int, ...] = (0, 1),
) -> tuple[KspaceCrop, Grid | None]:
    """The acquisition that turns the wanted grid into ``low``.

    The wishes are those of :func:`mriforge.superres.wish.plan_target`.

    Returns:
        the operator, whose ``high`` is the grid that the network works on, and the grid to
        resample to afterwards (None when ``high`` already is the wanted grid).

    Raises:
        BadInput: contradictory or impossible wishes.
    """
    target = plan_target(low, scale=scale, spacing=spacing, like=like, prior=prior, axes=axes)
    operator = KspaceCrop.towards(low, target.stored_shape)
    operator.high = target.working
    return operator, target.final
