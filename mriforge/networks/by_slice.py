"""2-D networks on volumes: every slice alone."""

from __future__ import annotations

from torch import Tensor


def to_slices(volume: Tensor) -> Tensor:
    """``(b, c, d, h, w)`` to ``(b * d, c, h, w)``."""
    return volume.transpose(1, 2).flatten(0, 1)


def to_volume(slices: Tensor, depth: int) -> Tensor:
    """The inverse of :func:`to_slices` for volumes of ``depth`` slices."""
    return slices.unflatten(0, (-1, depth)).transpose(1, 2)
