"""How one image is computed within a memory limit: at once, plane by plane, or in tiles."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from mriforge.device import GIB
from mriforge.errors import BadInput, OutOfMemory
from mriforge.superres.cost import Cost
from mriforge.superres.streams import streaming_of
from mriforge.superres.tiling import (
    Shape,
    Tile,
    choose_core,
    largest_read,
    padded_shape,
    tiles,
    volume,
    voxels_read,
)

_SCRATCH = {"cpu": 1.5, "cuda": 1.5, "mps": 1.5}
"""Memory over feature maps alone: reordered copies and workspaces of the convolutions."""
BLEND_OVERLAP = 0.25
_SMALLEST_BLEND = 8


@dataclass(frozen=True)
class Plan:
    """One way to compute an image.

    Attributes:
        shape: of the image on the pooling grid, axes in the order they are computed in.
        order: image axis that each computed axis is.
        core: part of the image that one tile gives.
        halo: margin that is read around it.
        blend: tiles overlap and are averaged, because the network does not say how far it sees.
        planes: planes pushed at once when streaming; 0 when a tile is computed at once.
        memory_bytes: estimated peak, output and network included, input not.
        block_bytes: the part of it that one block takes; smaller blocks take less.
        dtype: of the feature maps.
    """

    shape: Shape
    order: tuple[int, int, int]
    core: Shape
    halo: int
    blend: bool
    planes: int
    memory_bytes: int
    block_bytes: int
    dtype: torch.dtype = field(default=torch.float32)

    @property
    def tiles(self) -> list[Tile]:
        """All blocks, in the order they are computed in."""
        return list(tiles(self.shape, self.core, self.halo))

    @property
    def redundancy(self) -> float:
        """Voxels computed, in whole-volume passes."""
        return voxels_read(self.shape, self.core, self.halo) / volume(self.shape)

    def describe(self) -> str:
        """One line for the log."""
        count = len(self.tiles)
        way = "plane by plane" if self.planes else "at once"
        what = "the whole volume" if count == 1 else f"{count} tiles"
        if self.blend and count > 1:
            what += " (blended)"
        size = "x".join(map(str, self.shape))
        return (
            f"{size}: {what} {way}, {self.redundancy:.2f} x the arithmetic of one pass, "
            f"about {self.memory_bytes / GIB:.2f} GiB"
        )


class Planner:
    """Finds the cheapest plan of one network for a memory limit.

    Args:
        model: the network; ``multiple`` and ``halo`` are read from it if it has them.
        device: where it runs.
        dtype: of the feature maps.
        stream: allow streaming (on the CPU, networks that :func:`streaming_of` knows).
        margin: voxels read around a tile whatever the network sees; None: as far as it sees.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        stream: bool = True,
        margin: int | None = None,
    ) -> None:
        self.model = model
        self.device = device
        self.dtype = dtype
        self.multiple = int(getattr(model, "multiple", 1))
        halo = getattr(model, "halo", None) if margin is None else margin
        self.halo = None if halo is None else -(-int(halo) // self.multiple) * self.multiple
        allowed = stream and margin is None and device.type == "cpu"
        self.streaming = streaming_of(model) if allowed else None
        self.cost = Cost(model)
        self._weights = sum(p.numel() * p.element_size() for p in model.parameters())
        self._per_voxel: float | None = None

    def block_bytes(self, block: Shape) -> int:
        """Estimated peak of one block that is computed at once, without the weights."""
        if self._per_voxel is None:
            probe = tuple(max(16, 4 * self.multiple) for _ in range(3))
            probe = padded_shape(probe, self.multiple)
            self._per_voxel = self.cost.peak_bytes(probe) / volume(probe)
        itemsize = torch.empty((), dtype=self.dtype).element_size() / 4
        return int(self._per_voxel * itemsize * volume(block) * _SCRATCH[self.device.type])

    def slab(self, block: Shape, limit: int) -> int:
        """Planes to push at once through a block within ``limit`` bytes; 0 if none fit."""
        m = self.multiple
        planes = min(self.streaming.wanted(*block[1:]), block[0])
        while planes >= m:
            if self.stream_bytes(block, planes) <= limit:
                return planes
            planes = (planes - 1) // m * m
        return 0

    def stream_bytes(self, block: Shape, planes: int) -> int:
        """Estimated peak of one streamed block, weights included."""
        return self.streaming.footprint(*block[1:], planes, self.dtype)

    def plan(
        self,
        shape: Shape,
        limit: int,
        tile: Shape | None = None,
        overlap: float | None = None,
        block_limit: int | None = None,
    ) -> Plan:
        """The cheapest plan for an image ``(d, h, w)``.

        Args:
            shape: of the image.
            limit: bytes that may be taken.
            tile: longest block to compute at once, per axis; None: what fits.
            overlap: blend tiles that share this fraction instead of computing exact ones.
            block_limit: bytes that one block may take; None: what ``limit`` leaves.

        Raises:
            BadInput: ``tile`` is no larger than the margins.
            OutOfMemory: not even the smallest block fits.
        """
        exact = self.halo is not None and overlap is None
        streams = self.streaming is not None and exact
        order = _longest_first(shape) if streams else (0, 1, 2)
        padded = padded_shape([shape[a] for a in order], self.multiple)
        tile = None if tile is None else tuple(tile[a] for a in order)
        # The image on the pooling grid, the output there, and the result.
        room = limit - 12 * volume(padded) - (0 if streams else self._weights)
        if not exact:
            room -= 8 * volume(padded)  # sum of the weights, and the weighted result of a tile
        fixed = limit - room
        room = room if block_limit is None else min(room, block_limit)
        halo = self.halo if exact else self._blend_margin(padded, room, tile, overlap)

        def fits(block: Shape) -> bool:
            if tile is not None and any(b > t for b, t in zip(block, tile, strict=True)):
                return False
            return self.slab(block, room) > 0 if streams else self.block_bytes(block) <= room

        # Streaming holds a few planes whatever the length: the first axis is never cut for memory.
        cut = (1, 2) if streams and (tile is None or tile[0] >= padded[0]) else (0, 1, 2)
        core = choose_core(padded, halo, self.multiple, fits, cut)
        if core is None:
            self._refuse(padded, halo, limit, tile, fixed)
        block = largest_read(padded, core, halo)
        planes = self.slab(block, room) if streams else 0
        taken = self.stream_bytes(block, planes) if streams else self.block_bytes(block)
        return Plan(padded, order, core, halo, not exact, planes, taken + fixed, taken, self.dtype)

    def _blend_margin(
        self, shape: Shape, room: int, tile: Shape | None, overlap: float | None
    ) -> int:
        """Margin on each side of a core so that blocks share a fraction ``overlap``."""
        fraction = BLEND_OVERLAP if overlap is None else float(overlap)
        if not 0.0 <= fraction < 1.0:
            raise BadInput(f"The overlap of tiles is between 0 and 1, not {fraction:g}.")
        edge = max(shape) if tile is None else min(tile)
        while tile is None and edge > _SMALLEST_BLEND:
            block = tuple(min(edge, n) for n in shape)
            if self.block_bytes(block) <= room:
                break
            edge //= 2
        margin = int(edge * fraction / 2) // self.multiple * self.multiple
        return max(margin, self.multiple if fraction > 0 else 0)

    def _refuse(self, shape: Shape, halo: int, limit: int, tile: Shape | None, fixed: int) -> None:
        m = self.multiple
        smallest = largest_read(shape, (m, m, m), halo)
        if tile is not None and any(b > t for b, t in zip(smallest, tile, strict=True)):
            raise BadInput(
                f"A tile of {'x'.join(map(str, tile))} voxels leaves nothing within its margins.",
                f"Use tiles of at least {2 * halo + m} voxels.",
            )
        need = self.block_bytes(smallest)
        if self.streaming is not None:
            block = (shape[0], *smallest[1:])
            need = min(need, self.stream_bytes(block, m))
        raise OutOfMemory(
            f"A memory limit of {limit / GIB:.2f} GiB is not enough for this image.",
            f"Allow at least {(need + fixed) / GIB:.2f} GiB.",
        )


def _longest_first(shape: Shape) -> tuple[int, int, int]:
    first = max(range(3), key=lambda a: shape[a])
    return (first, *(a for a in range(3) if a != first))
