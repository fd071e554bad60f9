"""How much memory a network's feature maps take, found without computing them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_SLACK = 1.2
"""Work space of convolutions, weights in other layouts."""


def network_bytes(model: nn.Module, shape: Sequence[int]) -> int | None:
    """Bytes that a forward pass holds at its peak, in single precision, input included.

    The pass runs on tensors without memory; what is alive after each operation is added up. None
    for networks that cannot run so (that look at values).

    Args:
        model: in evaluation mode; not changed, its weights are not counted.
        shape: of the input.
    """
    names = [*model.named_parameters(), *model.named_buffers()]
    hollow = {name: torch.empty_like(tensor, device="meta") for name, tensor in names}
    try:
        with torch.no_grad(), _Peak() as peak:
            image = torch.empty(tuple(shape), device="meta")
            answer = torch.func.functional_call(model, hollow, (image,))
        del answer
    except (RuntimeError, NotImplementedError):
        return None
    return int(_SLACK * peak.most)


class _Peak(TorchDispatchMode):
    """Adds up what is alive after every operation.

    Attributes:
        most: bytes at the peak.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        given = function(*arguments, **(options or {}))
        for leaf in tree_leaves(given):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._alive = {key: one for key, one in self._alive.items() if not one[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return given
