"""A whole pass of a densely connected network that holds only a few planes of every layer.

In step ``t`` a layer gives the planes ``t P`` to ``(t + 1) P`` of the image, less its lag: one
plane for every 3x3x3 convolution up to it, which has to see a plane ahead. So layers never give
more than ``P`` planes, and none is computed twice. The result is that of one whole pass to
rounding; memory does not depend on the length of the first axis. Normalisation by statistics of
the image cannot be computed so.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mriforge.networks.dcsrn import Dcsrn
from mriforge.networks.dense_inference import LOG2_E
from mriforge.networks.mdcsrn import Mdcsrn
from mriforge.networks.normalisation import sees_a_whole_image
from mriforge.networks.srdensenet3d import SrDensenet3d
from mriforge.networks.two_stage import TwoStageMdcsrn
from mriforge.superres.dense_layers import Line, affine_of, copied, handed, into

_SLAB_VOXELS = 2**15
"""That are aimed at: there is enough to do between waking threads and waiting for them."""
_FEWEST = 4
"""Planes below which moving the two that are kept takes noticeable time."""
_EXTRA_BYTES = 32 * 2**20
"""Whatever the cross-section: part of the activation, and what the libraries keep."""


def _mdcsrn(line: Line, net: Mdcsrn, lag: int, stage: int = 0) -> int:
    """Adds the layers of an mDCSRN; gives the lag of its output."""
    blocks = net.blocks
    width, wait = blocks[0].channels, [len(block.units) for block in blocks]
    readers = [*net.compressors, net.head]
    sums = line.sums(readers, sum(wait[1:]))
    bias = torch.cat([reader.bias for reader in readers])
    maps = line.ring(blocks[0].width, wait[0])
    lag = line.convolution(net.stem, lag, line.read(stage), into(maps, slice(width)))
    for number, block in enumerate(blocks):
        if number:
            maps = line.ring(block.width, wait[number])
            place = slice((number - 1) * width, number * width)
            line.add(lag, handed(sums, place, into(maps, slice(width))))
        lag = line.block(block, maps, lag)
        weight = torch.cat([net.share(reader, number) for reader in readers[number:]])
        line.mix(lag, sums, number * width, weight, maps, None if number else bias)
    start = len(net.compressors) * width
    found, write = slice(start, start + net.head.out_channels), line.write(stage, net.residual)
    if not len(net.tail):
        return line.add(lag, handed(sums, found, write))
    affine = affine_of(net.normalisation, net.tail[0], net.head.out_channels)
    source = line.activated(sums, found, affine)
    return line.convolution(net.tail[-1], lag, source, write, LOG2_E)


def _two_stage(line: Line, net: TwoStageMdcsrn) -> int:
    return _mdcsrn(line, net.second, _mdcsrn(line, net.first, 0), stage=1)


def _dcsrn(line: Line, net: Dcsrn) -> int:
    block, every = net.block, slice(None)
    maps = line.ring(block.width, len(block.units))
    lag = line.convolution(net.stem, 0, line.read(0), into(maps, slice(block.channels)))
    lag = line.block(block, maps, lag)
    write = line.write(0, net.residual)
    if net.head.kernel_size[0] == 3:
        return line.convolution(net.head, lag, copied(maps, every), write)
    sums = line.sums([net.head], 0)
    line.mix(lag, sums, 0, net.head.weight.flatten(1), maps, net.head.bias)
    return line.add(lag, handed(sums, slice(1), write))


def _srdensenet(line: Line, net: SrDensenet3d) -> int:
    """Here maps are stored activated: nothing normalises them."""
    fuse, every = net.bottleneck, slice(None)
    levels = [net.stem, *net.blocks]
    sums = line.sums([fuse], sum(len(block.units) for block in net.blocks))
    weight, taken = fuse.weight.flatten(1) / LOG2_E, 0
    maps, lag = None, 0
    for number, level in enumerate(levels):
        if number == 0:
            maps = line.ring(level.out_channels, 0)
            lag = line.convolution(level, lag, line.read(0), line.activated_into(maps, every))
        else:
            maps, lag = line.closed_block(level, maps, lag)
        part = weight[:, taken : taken + maps.channels]
        taken += maps.channels
        line.mix(lag, sums, 0, part, maps, None if number else fuse.bias)
    affine = affine_of(net.normalisation, net.norm, fuse.out_channels)
    source = line.activated(sums, slice(fuse.out_channels), affine)
    return line.convolution(net.head, lag, source, line.write(0, net.residual), LOG2_E)


_LAYERS = {
    Mdcsrn: lambda line, net: _mdcsrn(line, net, 0),
    TwoStageMdcsrn: _two_stage,
    Dcsrn: _dcsrn,
    SrDensenet3d: _srdensenet,
}


class StreamedDense:
    """A densely connected network ready to be run plane by plane on images of one cross-section.

    Args:
        net: one that :meth:`DenseStreaming.takes`; its weights are copied.
        height, width: cross-section.
        planes: how many planes are computed at once.
        order: which axis of the weights (0, 1, 2 = d, h, w) each axis of the image is.
        dtype: of what is convolved.
    """

    def __init__(
        self,
        net: nn.Module,
        height: int,
        width: int,
        planes: int,
        order: tuple[int, int, int] = (0, 1, 2),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        with torch.inference_mode():
            self._line = Line(planes, height, width, order, dtype)
            self._lag = _LAYERS[type(net)](self._line, net)
            self._line.ready()

    @property
    def held(self) -> tuple[int, int]:
        """Maps of one plane that are held in float32, and in the type of what is convolved."""
        return self._line.waiting, self._line.windows

    @torch.inference_mode()
    def __call__(self, image: Tensor, after: Callable[[int], None] | None = None) -> Tensor:
        """Run ``image`` ``(d, h, w)``, float32 on the CPU; ``after`` hears of finished planes.

        They are what the work done so far amounts to; the output lags behind.
        """
        line, length = self._line, image.shape[0]
        line.length, line.image, line.output = length, image, torch.empty_like(image)
        end = length + self._lag
        for start in range(0, end, line.planes):
            stop = start + line.planes
            for lag, run in line.steps:
                first, last = max(0, start - lag), min(length, stop - lag)
                if first < last:
                    run(first, last)
            if after is not None:
                after(min(length, length * stop // end))
        output = line.output
        line.image = line.output = torch.empty(0)
        return output


class DenseStreaming:
    """How one is run plane by plane; see :class:`~mriforge.superres.streams.Streaming`."""

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._held: dict[tuple[int, torch.dtype], tuple[int, int]] = {}

    @staticmethod
    def takes(net: nn.Module) -> bool:
        """Whether the network can be run so: nothing in it depends on the whole image."""
        if type(net) not in _LAYERS:
            return False
        part = net.first if isinstance(net, TwoStageMdcsrn) else net
        return not sees_a_whole_image(part.normalisation)

    def wanted(self, height: int, width: int) -> int:
        """Planes that are fastest where memory is no matter."""
        return max(_FEWEST, _SLAB_VOXELS // (height * width))

    def footprint(
        self, height: int, width: int, planes: int, dtype: torch.dtype = torch.float32
    ) -> int:
        """Bytes that are held at the peak, weights included."""
        key = planes, dtype
        if key not in self._held:
            self._held[key] = StreamedDense(self._net, 0, 0, planes, dtype=dtype).held
        waiting, windows = self._held[key]
        itemsize = torch.empty((), dtype=dtype).element_size()
        weights = 2 * sum(p.numel() * p.element_size() for p in self._net.parameters())
        return height * width * (4 * waiting + itemsize * windows) + weights + _EXTRA_BYTES

    def ready(
        self,
        height: int,
        width: int,
        planes: int,
        order: tuple[int, int, int],
        dtype: torch.dtype,
    ) -> StreamedDense:
        """To be run on images of one cross-section."""
        return StreamedDense(self._net, height, width, planes, order, dtype)
