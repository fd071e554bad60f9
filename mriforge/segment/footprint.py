"""How much memory a network's feature maps take."""

from __future__ import annotations

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_SIDE = 64
"""Pixels; large enough for any of the networks' levels."""
_SLACK = 1.25
"""Work space of convolutions, weights and maps in other layouts."""


@torch.inference_mode()
def bytes_per_pixel(model: nn.Module, slices: int, device: torch.device) -> float:
    """Bytes for each pixel of a slab that a forward pass holds at its peak, input included.

    Counted in a pass over a small slab: what is alive after each operation is added up. Feature
    maps grow with the pixels, and with the number of slabs.

    Args:
        model: ``(b, slices, h, w)`` to anything; its weights are not counted.
        device: of the model.
    """
    slab = torch.zeros((1, slices, _SIDE, _SIDE), device=device)
    slab = slab.contiguous(memory_format=torch.channels_last)
    with _Peak(model) as peak:
        answer = model(slab)
    del answer
    return _SLACK * (peak.most + slab.untyped_storage().nbytes()) / _SIDE**2


class _Peak(TorchFunctionMode):
    """Adds up what is alive after every operation.

    Attributes:
        most: bytes at the peak.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.most = 0
        self._own = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_function__(self, function, types, arguments=(), options=None):
        given = function(*arguments, **(options or {}))
        for leaf in tree_leaves(given):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self._own:
                    self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._alive = {key: one for key, one in self._alive.items() if not one[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return given
