"""What a network costs, without running it: arithmetic and peak memory, on shapes alone."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class _LiveBytes(TorchDispatchMode):
    """Follows the bytes of all tensors that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, list[int]] = {}
        self.now = self.peak = 0

    def _forget(self, key: int) -> None:
        entry = self._alive[key]
        entry[1] -= 1
        if entry[1] == 0:
            self.now -= entry[0]
            del self._alive[key]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            entry = self._alive.setdefault(storage._cdata, [storage.nbytes(), 0])
            if entry[1] == 0:
                self.now += entry[0]
            entry[1] += 1
            weakref.finalize(tensor, self._forget, storage._cdata)
        self.peak = max(self.peak, self.now)
        return result


class Cost:
    """Arithmetic and memory of one forward pass of ``model``, by shape.

    Args:
        model: maps ``(1, 1, d, h, w)`` to the same size.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = copy.deepcopy(model).to("meta").eval()
        self._macs: dict[tuple[int, ...], int] = {}
        self._bytes: dict[tuple[int, ...], int] = {}

    @torch.no_grad()
    def macs(self, shape: Sequence[int]) -> int:
        """Multiply-adds of convolutions and matrix products for an image ``(d, h, w)``."""
        shape = tuple(shape)
        if shape not in self._macs:
            counter = FlopCounterMode(display=False)
            with counter:
                self._model(torch.empty((1, 1, *shape), device="meta"))
            self._macs[shape] = counter.get_total_flops() // 2
        return self._macs[shape]

    @torch.no_grad()
    def peak_bytes(self, shape: Sequence[int]) -> int:
        """Most bytes of feature maps that are alive at once for an image ``(d, h, w)``."""
        shape = tuple(shape)
        if shape not in self._bytes:
            live = _LiveBytes()
            with live:
                self._model(torch.empty((1, 1, *shape), device="meta"))
            self._bytes[shape] = live.peak
        return self._bytes[shape]
