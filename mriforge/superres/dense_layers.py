"""Layers of densely connected networks that give a few planes at a time.

A layer gives planes ``first`` to ``last`` of the image when those it reads are there. Each 3x3x3
convolution keeps its input, activated, since what is normalised by fixed numbers differs from
layer to layer; two planes of it serve the next slab too. In front of the first and behind the last
plane of the image it is zero, as in a whole pass. 1x1x1 convolutions over many blocks are sums that
wait for the next block.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.networks.dense3d import DenseBlock3d, DenseUnit3d
from mriforge.networks.dense_inference import LOG2_E, Moments, elu_of_powers, scale_and_shift
from mriforge.networks.srdensenet3d import ClosedDenseBlock
from mriforge.superres.planes import Ring, convolve, oriented

_LANES = 16
"""Matrix products are fastest for whole vectors."""
CHUNK = 2**20
"""Values that pass through the steps of ELU at once: they stay in the cache, and are so many that
waking a second thread for each step does not matter."""

Run = Callable[[int, int], None]
"""Gives planes ``first`` to ``last`` of the image."""
Source = Callable[[int, int, Tensor], None]
"""Writes planes ``first`` to ``last`` of a layer's input into ``(1, c, n, h, w)``."""
Sink = Callable[[int, int, Tensor], None]
"""Takes planes ``first`` to ``last`` of a layer's output, ``(1, c, n, h, w)``."""


class _Window:
    """A 3x3x3 convolution and the planes of its input that it still needs."""

    def __init__(self, line: Line, conv: nn.Conv3d, gain: float, source: Source, sink: Sink):
        self._line, self._source, self._sink = line, source, sink
        self._weight, self._bias = oriented(conv, line.order, line.dtype, gain)
        size = (1, line.planes + 2, line.height, line.width, conv.in_channels)
        self._store = torch.empty(size, dtype=line.dtype)
        self._count = 0

    def fill(self, first: int, last: int) -> None:
        """Takes planes ``first`` to ``last`` of the input."""
        if first == 0:
            self._zero(0)
        self._source(first, last, self._planes(self._count, self._count + last - first))
        self._count += last - first

    def run(self, first: int, last: int) -> None:
        """Gives planes ``first`` to ``last`` of the output."""
        if last == self._line.length:
            self._zero(self._count)
        given = last - first
        self._sink(first, last, convolve(self._planes(0, given + 2), self._weight, self._bias))
        kept = self._store[:, given : self._count]
        self._count -= given
        self._store[:, : self._count] = kept.clone() if given < self._count else kept

    def _zero(self, place: int) -> None:
        self._store[:, place] = 0.0
        self._count = place + 1

    def _planes(self, first: int, last: int) -> Tensor:
        return self._store[:, first:last].permute(0, 4, 1, 2, 3)


class Line:
    """The layers of a network, in the order they are run, and where their maps wait.

    Args:
        planes: that are given at once.
        height, width: of the image.
        order: which axis of the weights each axis of the image is.
        dtype: of what is convolved; everything else is float32.
    """

    def __init__(
        self, planes: int, height: int, width: int, order: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self.planes, self.height, self.width = planes, height, width
        self.order, self.dtype = order, dtype
        self.length = 0
        self.image = self.output = torch.empty(0)
        self._spare = torch.empty(CHUNK if height else 0)
        self.steps: list[tuple[int, Run]] = []
        self.waiting = 0
        """Maps of one plane that are held in float32."""
        self.windows = 0
        """Maps of one plane that are held in :attr:`dtype`."""
        self._widest = self._most = 0
        self._scratch = torch.empty(0)

    # --- memory -------------------------------------------------------------------------------

    def ring(self, channels: int, wait: int) -> Ring:
        """For maps that are read up to ``wait`` planes later than they are written."""
        self.waiting += channels * (self.planes + wait)
        return Ring(channels, self.planes + wait, self.height, self.width)

    def ready(self) -> None:
        """To be called when all layers are there."""
        self.waiting += self.planes * (self._widest + self._most)
        self._scratch = torch.empty(self._widest * self.planes * self.height * self.width)

    def scratch(self, before: int, channels: int, planes: int) -> Tensor:
        """Maps ``(1, channels, planes, h, w)`` until others are asked for.

        Args:
            before: maps of as many planes that are in use.
        """
        area = planes * self.height * self.width
        flat = self._scratch[before * area : (before + channels) * area]
        return flat.view(1, planes, self.height, self.width, channels).permute(0, 4, 1, 2, 3)

    # --- layers -------------------------------------------------------------------------------

    def add(self, lag: int, run: Run) -> int:
        """One more layer; gives ``lag``."""
        self.steps.append((lag, run))
        return lag

    def convolution(
        self, conv: nn.Conv3d, lag: int, source: Source, sink: Sink, gain: float = 1.0
    ) -> int:
        """3x3x3 convolution of what comes with ``lag``; gives the lag of its output."""
        self.windows += conv.in_channels * (self.planes + 2)
        self._most = max(self._most, conv.out_channels)
        window = _Window(self, conv, gain, source, sink)
        self.add(lag, window.fill)
        return self.add(lag + 1, window.run)

    def sums(self, readers: list[nn.Conv3d], wait: int) -> Ring:
        """For the outputs of 1x1x1 convolutions that are added up."""
        channels = sum(reader.out_channels for reader in readers)
        return self.ring(-(-channels // _LANES) * _LANES, wait)

    def mix(
        self, lag: int, sums: Ring, start: int, weight: Tensor, maps: Ring, bias: Tensor | None
    ) -> int:
        """Adds ``weight`` times ``maps`` to the sums from ``start`` on.

        Args:
            lag: of both.
            sums, maps: where they wait.
            start: first of the sums.
            weight: ``(m, n)``; of the first ``n`` maps.
            bias: what the sums begin with; None: they have begun.
        """
        spare = sums.channels - start - len(weight)
        weight = functional.pad(weight.detach(), (0, 0, 0, spare)).t().contiguous()
        bias = None if bias is None else functional.pad(bias.detach(), (0, spare))

        def run(first: int, last: int) -> None:
            for where, part in sums.pieces(first, last):
                begin, end = first + where.start, first + where.stop
                for inner, given in maps.pieces(begin, end):
                    total = rows_of(part[:, :, inner])
                    if bias is not None:
                        total.copy_(bias)
                    total = total[:, start:]
                    torch.addmm(total, rows_of(given)[:, : len(weight)], weight, out=total)

        return self.add(lag, run)

    def activated(self, maps: Ring, channels: slice, affine: Moments) -> Source:
        """Reads some of the maps, normalised and through ELU."""
        count = affine[0].shape[1]
        if self.dtype != torch.float32:
            self._widest = max(self._widest, count)

        def source(first: int, last: int, out: Tensor) -> None:
            for where, part in maps.pieces(first, last):
                self._activate(part[:, channels], affine, out[:, :, where], 0)

        return source

    def _activate(self, maps: Tensor, affine: Moments, out: Tensor, before: int) -> None:
        """ELU in float32, into maps of any type; ``before`` maps of the scratch are in use."""
        scale, shift = (numbers[0] * LOG2_E for numbers in affine)
        direct = out.dtype == torch.float32
        active = rows_of(out if direct else self.scratch(before, *maps.shape[1:3]))
        rows = rows_of(maps)
        step = max(1, CHUNK // rows.shape[1])
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            elu_of_powers(rows[some], scale, shift, active[some], self._spare)
        if not direct:
            rows_of(out).copy_(active)

    def squeezed(self, maps: Ring, unit: DenseUnit3d) -> Source:
        """Reads the first maps, activated, through the bottleneck of a unit, activated again."""
        given, narrow = unit.squeeze.in_channels, unit.squeeze.out_channels
        weight = (unit.squeeze.weight.detach().flatten(1) / LOG2_E).t().contiguous()
        before = affine_of(unit.normalisation, unit.norm, given)
        scale, shift = affine_of(unit.normalisation, unit.squeezed_norm, narrow)
        after = scale, shift + scale * unit.squeeze.bias.detach()
        rooms = 1 if self.dtype == torch.float32 else 2
        self._widest = max(self._widest, given + rooms * narrow)

        def source(first: int, last: int, out: Tensor) -> None:
            for where, part in maps.pieces(first, last):
                active = self.scratch(0, given, part.shape[2])
                self._activate(part[:, :given], before, active, 0)
                mixed = self.scratch(given, narrow, part.shape[2])
                torch.mm(rows_of(active), weight, out=rows_of(mixed))
                self._activate(mixed, after, out[:, :, where], given + narrow)

        return source

    def block(self, block: DenseBlock3d, maps: Ring, lag: int) -> int:
        """Completes maps of which the first are the block's input; gives their lag."""
        filled = block.channels
        for unit in block.units:
            if unit.squeezes:
                source = self.squeezed(maps, unit)
            else:
                affine = affine_of(unit.normalisation, unit.norm, filled)
                source = self.activated(maps, slice(filled), affine)
            sink = into(maps, slice(filled, filled + block.growth))
            lag = self.convolution(unit.conv, lag, source, sink, LOG2_E)
            filled += block.growth
        return lag

    def activated_into(self, maps: Ring, channels: slice) -> Sink:
        """Takes some of the maps through ELU; they are multiplied by ``log2 e``."""

        def sink(first: int, last: int, found: Tensor) -> None:
            affine = torch.ones((1, found.shape[1])), torch.zeros((1, found.shape[1]))
            for where, part in maps.pieces(first, last):
                self._activate(found[:, :, where].float(), affine, part[:, channels], 0)

        return sink

    def closed_block(self, block: ClosedDenseBlock, given: Ring, lag: int) -> tuple[Ring, int]:
        """Activated maps of activated maps; gives them and their lag."""
        growth, filled = block.units[0].out_channels, 0
        maps = self.ring(growth * len(block.units), len(block.units) - 1)
        for unit in block.units:
            source = copied(maps, slice(filled)) if filled else copied(given, slice(None))
            sink = self.activated_into(maps, slice(filled, filled + growth))
            lag = self.convolution(unit, lag, source, sink, LOG2_E)
            filled += growth
        return maps, lag

    def given(self, stage: int, first: int, last: int) -> Tensor:
        """Planes of the image, or of what the stage before made of it."""
        return (self.output if stage else self.image)[first:last]

    def read(self, stage: int) -> Source:
        """Reads what a stage is given."""

        def source(first: int, last: int, out: Tensor) -> None:
            out[0, 0] = self.given(stage, first, last)

        return source

    def write(self, stage: int, residual: bool) -> Sink:
        """Takes what a stage gives; it lies where the stage before no longer needs the place."""

        def sink(first: int, last: int, found: Tensor) -> None:
            found = found[0, 0]
            found = found + self.given(stage, first, last) if residual else found
            self.output[first:last] = found

        return sink


def rows_of(maps: Tensor) -> Tensor:
    """``(1, n, d, h, w)``, channels last, as a matrix ``(d * h * w, n)``; a view."""
    return maps[0].permute(1, 2, 3, 0).flatten(0, 2)


def affine_of(kind: str, norm: nn.Module, channels: int) -> Moments:
    """Factor and summand of each map, ``(1, channels)``."""
    scale, shift = scale_and_shift(kind, norm, None, torch.empty((1, channels)))
    return scale.detach(), shift.detach()


def into(maps: Ring, channels: slice) -> Sink:
    """Takes some of the maps."""

    def sink(first: int, last: int, found: Tensor) -> None:
        for where, part in maps.pieces(first, last):
            part[:, channels] = found[:, :, where]

    return sink


def copied(maps: Ring, channels: slice) -> Source:
    """Reads some of the maps as they are."""

    def source(first: int, last: int, out: Tensor) -> None:
        for where, part in maps.pieces(first, last):
            out[:, :, where] = part[:, channels]

    return source


def handed(source: Ring, channels: slice, sink: Sink) -> Run:
    """Some of the maps to whoever takes them."""

    def run(first: int, last: int) -> None:
        for where, part in source.pieces(first, last):
            sink(first + where.start, first + where.stop, part[:, channels])

    return run
