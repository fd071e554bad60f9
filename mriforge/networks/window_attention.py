"""Attention of every point of a plane to a window of cells around it, without gathering.

A gathered window holds 98 feature vectors per point, 25 kB at 64 channels; a step of training
would need gigabytes. Here the window is walked cell by cell over views of the padded features,
forwards and backwards, so that memory is that of the features and of one weight per cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Window = tuple[int, int, int]

_AT_ONCE = 2**18
"""Numbers of a group of planes that is worked on at once: as many as a processor's cache holds."""


def reach(size: int) -> tuple[int, int]:
    """Cells before and after the base cell along an axis of a window of ``size``.

    Odd sizes lie about the base cell; of even ones the larger part comes after it, so that two
    cells are the two slices on either side of a point.
    """
    before = (size - 1) // 2
    return before, size - 1 - before


def padded(features: Tensor, window: Window, dilation: int) -> Tensor:
    """``(b, c, d, h, w)`` with its border repeated as far as windows reach beyond it."""
    (z0, z1), *plane = (reach(size) for size in window)
    (y0, y1), (x0, x1) = ((dilation * a, dilation * b) for a, b in plane)
    return functional.pad(features, (x0, x1, y0, y1, z0, z1), mode="replicate")


def cells(window: Window, dilation: int) -> list[Window]:
    """Where the cells of a window are in the padded features, relative to the base cell."""
    steps = (1, dilation, dilation)
    axes = [[step * k for k in range(size)] for size, step in zip(window, steps, strict=True)]
    return list(itertools.product(*axes))


def scores(queries: Tensor, keys: Tensor, bases: Sequence[int], offsets: list[Window]) -> Tensor:
    """Dot products of queries with their windows, ``(b, n, m, h, w)``.

    Args:
        queries: ``(b, n, c, h, w)``, one plane of points for each of n positions.
        keys: padded, ``(b, c, d, h, w)``.
        bases: base cells of the n planes along depth.
        offsets: of the m cells, see :func:`cells`.
    """
    return _Scores.apply(queries, keys, tuple(bases), offsets)


def attended(
    weights: Tensor, values: Tensor, bases: Sequence[int], offsets: list[Window]
) -> Tensor:
    """Weighted sums of windows: weights ``(b, n, m, h, w)`` to ``(b, n, c, h, w)``."""
    return _Attended.apply(weights, values, tuple(bases), offsets)


def _groups(items: int, planes: int, numbers: int) -> Iterator[tuple[int, slice]]:
    """Items and neighbouring planes that are worked on at once."""
    step = max(1, _AT_ONCE // numbers)
    for item, start in itertools.product(range(items), range(0, planes, step)):
        yield item, slice(start, min(start + step, planes))


def _layers(offsets: list[Window]) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """The cells of one depth after the other: ``(dz, [(number, dy, dx), ...])``."""
    numbered = [(dz, (m, dy, dx)) for m, (dz, dy, dx) in enumerate(offsets)]
    for dz, run in itertools.groupby(numbered, key=lambda pair: pair[0]):
        yield dz, [cell for _, cell in run]


def _around(image: Tensor, bases: Sequence[int], dz: int) -> Tensor:
    """Padded planes ``dz`` above the base cells: ``(c, d, h, w)`` to ``(g, c, h, w)``."""
    index = torch.tensor([base + dz for base in bases], device=image.device)
    return image.transpose(0, 1).index_select(0, index)


def _give_back(image: Tensor, planes: Tensor, bases: Sequence[int], dz: int) -> None:
    """The adjoint of :func:`_around`, added to ``image``."""
    index = torch.tensor([base + dz for base in bases], device=image.device)
    image.transpose(0, 1).index_add_(0, index, planes)


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, bases: tuple[int, ...], offsets: list[Window]
    ) -> Tensor:
        ctx.save_for_backward(queries, keys)
        ctx.place = bases, offsets
        b, n, _, h, w = queries.shape
        result = queries.new_empty(b, n, len(offsets), h, w)
        for item, planes in _groups(b, n, queries[0, 0].numel()):
            query, found = queries[item, planes], result[item, planes]
            for dz, places in _layers(offsets):
                near = _around(keys[item], bases[planes], dz)
                for m, dy, dx in places:
                    torch.sum(query * near[..., dy : dy + h, dx : dx + w], 1, out=found[:, m])
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        queries, keys = ctx.saved_tensors
        bases, offsets = ctx.place
        to_queries, to_keys = torch.zeros_like(queries), torch.zeros_like(keys)
        b, n, _, h, w = queries.shape
        for item, planes in _groups(b, n, queries[0, 0].numel()):
            query, towards = queries[item, planes], to_queries[item, planes]
            for dz, places in _layers(offsets):
                near = _around(keys[item], bases[planes], dz)
                onto = torch.zeros_like(near)
                for m, dy, dx in places:
                    weight = gradient[item, planes, m, None]
                    towards.addcmul_(near[..., dy : dy + h, dx : dx + w], weight)
                    onto[..., dy : dy + h, dx : dx + w].addcmul_(query, weight)
                _give_back(to_keys[item], onto, bases[planes], dz)
        return to_queries, to_keys, None, None


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, values: Tensor, bases: tuple[int, ...], offsets: list[Window]
    ) -> Tensor:
        ctx.save_for_backward(weights, values)
        ctx.place = bases, offsets
        b, n, _, h, w = weights.shape
        result = values.new_zeros(b, n, values.shape[1], h, w)
        for item, planes in _groups(b, n, result[0, 0].numel()):
            total = result[item, planes]
            for dz, places in _layers(offsets):
                near = _around(values[item], bases[planes], dz)
                for m, dy, dx in places:
                    weight = weights[item, planes, m, None]
                    total.addcmul_(near[..., dy : dy + h, dx : dx + w], weight)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        weights, values = ctx.saved_tensors
        bases, offsets = ctx.place
        to_weights, to_values = torch.empty_like(weights), torch.zeros_like(values)
        b, n, _, h, w = weights.shape
        for item, planes in _groups(b, n, gradient[0, 0].numel()):
            given, found = gradient[item, planes], to_weights[item, planes]
            for dz, places in _layers(offsets):
                near = _around(values[item], bases[planes], dz)
                onto = torch.zeros_like(near)
                for m, dy, dx in places:
                    torch.sum(given * near[..., dy : dy + h, dx : dx + w], 1, out=found[:, m])
                    weight = weights[item, planes, m, None]
                    onto[..., dy : dy + h, dx : dx + w].addcmul_(given, weight)
                _give_back(to_values[item], onto, bases[planes], dz)
        return to_weights, to_values, None, None
