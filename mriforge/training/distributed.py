"""One process or several: what ``torchrun`` started, or just this one.

For example ``torchrun --nproc-per-node 2 -m mriforge train unet3d --data LIST --out FOLDER``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """Where this process stands among all of a run."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """``model`` with gradients averaged over the processes."""
        if self.world == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def agree(self, stop: bool, device: torch.device) -> bool:
        """True on every process as soon as one of them says so."""
        if self.world == 1:
            return stop
        flag = torch.tensor([float(stop)], device=device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag.item())

    def share(self, value: float, device: torch.device) -> float:
        """The first process's ``value`` on every process."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(tensor, src=0)
        return float(tensor.item())

    def mean(self, value: Tensor) -> Tensor:
        """Average of ``value`` over the processes."""
        if self.world == 1:
            return value
        value = value.detach().clone()
        distributed.all_reduce(value)
        return value / self.world


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Joins the group that ``torchrun`` prepared in the environment; alone without one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world <= 1 or "RANK" not in os.environ:
        yield Processes()
        return
    backend = "nccl" if device.type == "cuda" and distributed.is_nccl_available() else "gloo"
    started = not distributed.is_initialized()
    if started:
        distributed.init_process_group(backend)
    try:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local)
    finally:
        if started:
            distributed.destroy_process_group()
