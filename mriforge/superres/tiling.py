"""Where tiles lie: cores that partition the image, read with a margin, on the pooling grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """One block: what is read, what of the result is kept, where it goes.

    Attributes:
        read: slices of the image, core and margins, clipped to the image.
        keep: slices of the block's result.
        write: slices of the output; as large as ``keep``.
    """

    read: tuple[slice, slice, slice]
    keep: tuple[slice, slice, slice]
    write: tuple[slice, slice, slice]

    @property
    def shape(self) -> Shape:
        """Size of the block that is read."""
        return tuple(s.stop - s.start for s in self.read)

    @property
    def voxels(self) -> int:
        """Number of voxels that are read."""
        return volume(self.shape)


def volume(shape: Sequence[int]) -> int:
    """Product of the sizes."""
    total = 1
    for size in shape:
        total *= int(size)
    return total


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``size``, and at least one."""
    return max(multiple, -(-size // multiple) * multiple)


def padded_shape(shape: Sequence[int], multiple: int) -> Shape:
    """``shape`` with every size rounded up to the pooling grid."""
    return tuple(round_up(size, multiple) for size in shape)


def pad(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Repeat the last voxels of the last three axes until they have ``shape``.

    Also where an axis becomes several times as long, as a single slice does.
    """
    extra = [want - have for want, have in zip(shape, image.shape[-3:], strict=True)]
    if not any(extra):
        return image
    lead = image.shape[:-3]
    flat = image.reshape(1, -1, *image.shape[-3:])
    margins = [m for size in reversed(extra) for m in (0, size)]
    return functional.pad(flat, margins, mode="replicate").reshape(*lead, *shape)


def axis_reads(size: int, core: int, halo: int) -> list[tuple[int, int, int, int]]:
    """Along one axis: ``(read start, read stop, core start, core stop)`` of every tile."""
    spans = []
    for start in range(0, size, core):
        stop = min(size, start + core)
        spans.append((max(0, start - halo), min(size, stop + halo), start, stop))
    return spans


def tiles(shape: Shape, core: Shape, halo: int) -> Iterator[Tile]:
    """All tiles of an image; the cores partition it."""
    axes = [axis_reads(size, c, halo) for size, c in zip(shape, core, strict=True)]
    for spans in itertools.product(*axes):
        yield Tile(
            read=tuple(slice(r0, r1) for r0, r1, _, _ in spans),
            keep=tuple(slice(c0 - r0, c1 - r0) for r0, _, c0, c1 in spans),
            write=tuple(slice(c0, c1) for _, _, c0, c1 in spans),
        )


def largest_read(shape: Shape, core: Shape, halo: int) -> Shape:
    """Axis by axis the longest block that is read."""
    return tuple(
        max(r1 - r0 for r0, r1, _, _ in axis_reads(size, c, halo))
        for size, c in zip(shape, core, strict=True)
    )


def voxels_read(shape: Shape, core: Shape, halo: int) -> int:
    """Voxels of all tiles together: the arithmetic, in voxels of one whole-volume pass."""
    return volume(
        sum(r1 - r0 for r0, r1, _, _ in axis_reads(size, c, halo))
        for size, c in zip(shape, core, strict=True)
    )


def _cores(size: int, multiple: int) -> list[int]:
    """Every core length that cuts ``size`` into parts of about equal length."""
    units = size // multiple
    return sorted({-(-units // parts) * multiple for parts in range(1, units + 1)}, reverse=True)


def choose_core(
    shape: Shape,
    halo: int,
    multiple: int,
    fits: Callable[[Shape], bool],
    free_axes: Sequence[int] = (0, 1, 2),
) -> Shape | None:
    """The core that costs the least arithmetic among those whose blocks fit.

    Args:
        shape: of the image, on the pooling grid.
        halo: margin that is read around a core.
        multiple: the pooling grid.
        fits: says whether a block of this shape may be computed at once.
        free_axes: axes that may be cut.

    Returns:
        The core, or None where not even the smallest block fits.
    """
    options = [_cores(n, multiple) if a in free_axes else [n] for a, n in enumerate(shape)]
    ranked = sorted(
        itertools.product(*options),
        key=lambda core: (voxels_read(shape, core, halo), -volume(core)),
    )
    return next((core for core in ranked if fits(largest_read(shape, core, halo))), None)


def starts(size: int, patch: int, stride: int) -> list[int]:
    """Where patches begin so that both borders are covered."""
    last = max(0, size - patch)
    regular = list(range(0, last + 1, stride))
    return regular if regular[-1] == last else [*regular, last]


def coverage(size: int, patch: int, stride: int) -> Tensor:
    """How many patches lie over every voxel of an axis, ``(size,)``."""
    count = torch.zeros(size)
    for start in starts(size, patch, stride):
        count[start : start + patch] += 1
    return count


def ramp(length: int, overlap: int) -> Tensor:
    """Weight of a blended tile along one axis: rises over ``overlap`` voxels at both ends."""
    position = torch.arange(length) + 0.5
    edge = torch.minimum(position, length - position)
    return (edge / max(overlap, 1)).clamp(max=1.0)
