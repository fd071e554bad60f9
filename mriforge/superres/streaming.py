"""A whole U-Net pass that holds only a few planes of every layer.

Planes are pushed through the network along the first axis; every convolution keeps the two planes
it still needs, every skip connection waits for the deeper levels. The arithmetic is that of one
whole-volume pass (no margin is computed twice), the result is the same to rounding, and memory
does not depend on the length of that axis. Feature maps are small enough to stay in the cache
and are channels-last, which oneDNN convolves fastest; buffers are kept from image to image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mriforge.networks.unet3d import UNet3d
from mriforge.superres.planes import convolve, oriented

_MORE = 2
"""A layer computes at most this many planes more at once than are pushed."""
_SPARE = 2 * _MORE + 4
"""Room of a buffer besides the planes that are pushed: what the level below gave too much, the
two planes that are still needed, padding."""
_SLAB_BYTES = 16 * 2**20
"""Feature map of the first level that is aimed at: it stays in the cache, and the allocators of all
systems hand it out again without asking for fresh pages."""
_TRANSIENTS = 3
"""Feature maps that are alive at once besides the buffers, of the widest layer."""


Pieces = Iterator[tuple[Tensor, bool]]
"""Planes ``(1, c, n, h, w)``, and whether they are the last ones."""


class _Planes:
    """First in, first out; planes ``(height, width, channels)`` in one block of memory."""

    def __init__(self, capacity: int, height: int, width: int, channels: int, like: Tensor) -> None:
        self._store = like.new_empty((1, capacity, height, width, channels))
        self._first = self._last = 0

    def __len__(self) -> int:
        return self._last - self._first

    def clear(self) -> None:
        self._first = self._last = 0

    def room(self, count: int) -> Tensor:
        """The next ``count`` planes, to be written, ``(1, count, height, width, channels)``."""
        if self._last + count > self._store.shape[1]:
            self._move_to_front(count)
        self._last += count
        return self._store[:, self._last - count : self._last]

    def _move_to_front(self, count: int) -> None:
        kept = self._store[:, self._first : self._last]
        if len(self) + count > self._store.shape[1]:
            shape = list(self._store.shape)
            shape[1] = len(self) + count + _SPARE
            self._store = self._store.new_empty(shape)
        elif len(self) > self._first:  # the two places overlap
            kept = kept.clone()
        length = len(self)
        self._store[:, :length].copy_(kept)
        self._first, self._last = 0, length

    def push(self, planes: Tensor) -> None:
        """Append ``(1, c, n, h, w)``."""
        self.room(planes.shape[2]).copy_(planes.permute(0, 2, 3, 4, 1))

    def head(self, count: int) -> Tensor:
        """The oldest planes, ``(1, c, n, h, w)``, channels-last; a view."""
        return self._store[:, self._first : self._first + count].permute(0, 4, 1, 2, 3)

    def tail(self, count: int, planes: int) -> Tensor:
        """``planes`` planes from the ``count``-th youngest on, ``(1, n, h, w, c)``; a view."""
        start = self._last - count
        return self._store[:, start : start + planes]

    def drop(self, count: int) -> None:
        """Forget the oldest planes."""
        self._first += count


class _Convolution:
    """3x3x3 convolution and ReLU; zero padding in front of the first and behind the last plane."""

    def __init__(self, conv: nn.Conv3d, size: _Size, order: tuple[int, ...]) -> None:
        self._weight, self._bias = oriented(conv, order, size.dtype)
        self._most = size.planes + _MORE
        self._input = _Planes(
            size.planes + _SPARE, size.height, size.width, conv.in_channels, self._weight
        )

    def start(self) -> None:
        self._input.clear()
        self._input.room(1).zero_()

    def room(self, count: int) -> Tensor:
        """Where the next ``count`` planes of the input are to be written."""
        return self._input.room(count)

    def push(self, planes: Tensor) -> None:
        """The next planes of the input."""
        self._input.push(planes)

    def run(self, last: bool) -> Pieces:
        """What can be known by now, a few planes at a time."""
        if last:
            self._input.room(1).zero_()
        while len(self._input) > 2:
            count = min(len(self._input) - 2, self._most)
            yield self._step(count), last and len(self._input) == 2

    def _step(self, count: int) -> Tensor:
        result = convolve(self._input.head(count + 2), self._weight, self._bias)
        self._input.drop(count)
        return result.relu_()


def _run_both(first: _Convolution, second: _Convolution, last: bool) -> Pieces:
    for planes, end in first.run(last):
        second.push(planes)
        del planes
        yield from second.run(end)


class _Size:
    """Cross-section of one level and the planes that it gets at once."""

    def __init__(self, planes: int, height: int, width: int, dtype: torch.dtype) -> None:
        self.planes, self.height, self.width, self.dtype = planes, height, width, dtype

    def half(self) -> _Size:
        return _Size(max(1, self.planes // 2), self.height // 2, self.width // 2, self.dtype)


class _Level:
    """One level of the U-Net and, inside it, all deeper ones."""

    def __init__(self, net: UNet3d, number: int, size: _Size, order: tuple[int, ...]) -> None:
        self._down = [_Convolution(c, size, order) for c in _convolutions(net.down[number])]
        self._deeper: _Level | None = None
        if number == len(net.down) - 1:
            return
        place = len(net.up) - 1 - number
        self._up = [_Convolution(c, size, order) for c in _convolutions(net.up[place])]
        self._lift = _Lift(net.lift[place], order, size.dtype)
        held = waiting_planes(size.planes, number, len(net.down)) + _SPARE
        channels = net.down[number][0].out_channels
        self._bridge = _Planes(held, size.height, size.width, channels, self._lift.weight)
        self._unpooled = 0
        self._deeper = _Level(net, number + 1, size.half(), order)

    def start(self) -> None:
        for convolution in self._down:
            convolution.start()
        if self._deeper is not None:
            for convolution in self._up:
                convolution.start()
            self._bridge.clear()
            self._unpooled = 0
            self._deeper.start()

    def push(self, planes: Tensor, last: bool) -> Pieces:
        """Planes in, those that can be known by then out."""
        self._down[0].push(planes)
        del planes
        for features, end in _run_both(*self._down, last):
            if self._deeper is None:
                yield features, end
                continue
            self._bridge.push(features)
            self._unpooled += features.shape[2]
            del features
            pairs = self._unpooled // 2
            if pairs:
                pooled = _pool(self._bridge.tail(self._unpooled, 2 * pairs))
                self._unpooled -= 2 * pairs
                yield from self._below(pooled, end)

    def _below(self, pooled: Tensor, last: bool) -> Pieces:
        for deep, end in self._deeper.push(pooled, last):
            count = 2 * deep.shape[2]
            target = self._up[0].room(count)
            self._lift(deep, target)
            del deep
            bridge = self._bridge.head(count).permute(0, 2, 3, 4, 1)
            target[..., -bridge.shape[-1] :].copy_(bridge)
            self._bridge.drop(count)
            yield from _run_both(*self._up, end)


class _Lift:
    """2x2x2 transposed convolution of stride 2: one matrix product, put in place."""

    def __init__(
        self, conv: nn.ConvTranspose3d, order: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        weight, bias = oriented(conv, order, dtype)
        self.weight = weight.permute(0, 2, 3, 4, 1).reshape(len(weight), -1).contiguous()
        self._bias = bias.repeat(8)

    def __call__(self, planes: Tensor, target: Tensor) -> None:
        """``(1, c, n, h, w)`` into the first channels of ``(1, 2n, 2h, 2w, ...)``."""
        _, channels, n, h, w = planes.shape
        rows = planes.permute(0, 2, 3, 4, 1).reshape(-1, channels)
        fine = torch.addmm(self._bias, rows, self.weight).reshape(n, h, w, 2, 2, 2, -1)
        place = target[0, ..., : fine.shape[-1]]
        place = place.unflatten(2, (w, 2)).unflatten(1, (h, 2)).unflatten(0, (n, 2))
        place.copy_(fine.permute(0, 3, 1, 4, 2, 5, 6))


def _convolutions(block: nn.Sequential) -> list[nn.Conv3d]:
    return [layer for layer in block if isinstance(layer, nn.Conv3d)]


def _pool(planes: Tensor) -> Tensor:
    """2x2x2 mean of ``(1, n, h, w, c)``; as ``(1, c, n/2, h/2, w/2)``, channels-last.

    Plain additions: average pooling of channels-last volumes is several times slower.
    """
    total = planes[:, 0::2] + planes[:, 1::2]
    total = total[:, :, 0::2] + total[:, :, 1::2]
    total = total[:, :, :, 0::2] + total[:, :, :, 1::2]
    return total.mul_(0.125).permute(0, 4, 1, 2, 3)


def _known(planes: int, level: int, depth: int) -> int:
    """Planes that ``level`` has given when it got ``planes`` and no end is in sight."""
    after = max(0, planes - 1 - 1)
    if level == depth - 1:
        return after
    return max(0, 2 * _known(after // 2, level + 1, depth) - 2)


def waiting_planes(planes: int, level: int, depth: int) -> int:
    """Most planes that the skip connection of ``level`` holds when it gets ``planes`` at a time."""
    held = 0
    for step in range(1, 64):
        given = max(0, step * planes - 2)
        before = max(0, (step - 1) * planes - 2) // 2
        held = max(held, given - 2 * _known(before, level + 1, depth))
        if (step - 1) * planes > 16 * 2 ** (depth - level):
            break
    return held + 2  # the end of the image brings the two planes of padding


class StreamedUNet:
    """A :class:`UNet3d` ready to be run plane by plane on images of one cross-section.

    Args:
        net: the network, with transposed convolutions; its weights are copied.
        height, width: cross-section, multiples of ``net.multiple``.
        planes: how many planes are pushed at once, a multiple of ``net.multiple``.
        order: which axis of the weights (0, 1, 2 = d, h, w) each axis of the image is.
        dtype: of weights and feature maps.
    """

    def __init__(
        self,
        net: UNet3d,
        height: int,
        width: int,
        planes: int,
        order: tuple[int, int, int] = (0, 1, 2),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.planes = planes
        self._residual = net.residual
        self._dtype = dtype
        self._top = _Level(net, 0, _Size(planes, height, width, dtype), order)
        self._head = net.head.weight.detach().reshape(-1).to(dtype), net.head.bias.detach()

    @torch.inference_mode()
    def __call__(self, image: Tensor, after: Callable[[int], None] | None = None) -> Tensor:
        """Run ``image`` ``(d, h, w)``, float32 on the CPU; ``after`` hears of finished planes."""
        length = image.shape[0]
        output = torch.empty_like(image)
        self._top.start()
        weight, bias = self._head
        done = 0
        for start in range(0, length, self.planes):
            chunk = image[start : start + self.planes].to(self._dtype)[None, None]
            for features, _ in self._top.push(chunk, start + self.planes >= length):
                planes = torch.mv(features.permute(0, 2, 3, 4, 1).reshape(-1, len(weight)), weight)
                shape = features.shape[2:]
                output[done : done + shape[0]] = planes.reshape(shape).float().add_(bias)
                done += shape[0]
                del features, planes
            if after is not None:
                after(done)
        return output.add_(image) if self._residual else output


def footprint(
    net: UNet3d, height: int, width: int, planes: int, dtype: torch.dtype = torch.float32
) -> int:
    """Bytes that a :class:`StreamedUNet` holds at its peak, weights included."""
    depth, base = len(net.down), net.down[0][0].out_channels
    values = 0
    for level in range(depth):
        area = (height >> level) * (width >> level)
        slab = max(1, planes >> level) + _SPARE
        channels = base << level
        before = 1 if level == 0 else channels // 2
        values += area * slab * (before + channels)
        if level < depth - 1:
            values += area * slab * (2 * channels + channels)
            values += (
                area * channels * (waiting_planes(max(1, planes >> level), level, depth) + _SPARE)
            )
    values += _TRANSIENTS * height * width * (planes + 2) * base
    values += 2 * sum(p.numel() for p in net.parameters())
    return values * torch.empty((), dtype=dtype).element_size()


class UNetStreaming:
    """How a 3-D U-Net is run plane by plane; see :class:`~mriforge.superres.streams.Streaming`."""

    def __init__(self, net: UNet3d) -> None:
        self._net = net

    @staticmethod
    def takes(net: nn.Module) -> bool:
        """Whether the network can be run so."""
        return type(net) is UNet3d and net.up_mode == "transposed" and len(net.down) > 1

    def wanted(self, height: int, width: int) -> int:
        """Planes that are fastest where memory is no matter."""
        base, multiple = self._net.down[0][0].out_channels, self._net.multiple
        return max(multiple, _SLAB_BYTES // (4 * base * height * width) // multiple * multiple)

    def footprint(
        self, height: int, width: int, planes: int, dtype: torch.dtype = torch.float32
    ) -> int:
        """Bytes that are held at the peak, weights included."""
        return footprint(self._net, height, width, planes, dtype)

    def ready(
        self,
        height: int,
        width: int,
        planes: int,
        order: tuple[int, int, int],
        dtype: torch.dtype,
    ) -> StreamedUNet:
        """To be run on images of one cross-section."""
        return StreamedUNet(self._net, height, width, planes, order, dtype)
