"""Networks that take low-resolution slices as they are and double rows and columns.

They are trained on pairs whose low-resolution sample ``j`` lies on sharp pixel ``2 j``. Truncated
k-space, whose geometry the target grid has, puts it there when the number of samples is even, and
on ``2 j + 1`` when it is odd: then a line is put before the first and taken away again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mriforge.device import is_out_of_memory, release
from mriforge.errors import BadInput, OutOfMemory
from mriforge.models.card import ModelCard
from mriforge.physics.downsampling import WELL_MEASURED, KernelDownsampling
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.operator import LinearOperator
from mriforge.recipes import recipe_from
from mriforge.training.enlarge import FACTOR, halving


class Enlarger:
    """A network ready to be applied to whole volumes, slice by slice, on whatever device works.

    Args:
        model: ``(n, 1, 1, h, w)`` to ``(n, 1, 1, 2 h, 2 w)``; it is copied.
        device: to begin on; when its memory runs out fewer slices are computed at once, then the
            CPU is used.
        cancel: raises when the job has to stop; asked between slices.
        log: hears what went wrong.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        *,
        cancel: Callable[[], object],
        log: Callable[[str], None],
        at_once: int = 4,
    ) -> None:
        self._model = copy.deepcopy(model).eval().requires_grad_(False).to(device)
        self._device, self._cancel, self._log, self._count = device, cancel, log, at_once

    @torch.inference_mode()
    def __call__(self, low: Tensor) -> Tensor:
        """``(1, 1, d, h, w)`` to ``(1, 1, d, 2 h, 2 w)``, both on the CPU, float32.

        Raises:
            OutOfMemory: not even one slice fits.
        """
        slices = low[0].float().permute(1, 0, 2, 3)
        odd = [n % 2 for n in slices.shape[-2:]]
        slices = F.pad(slices, (odd[1], 0, odd[0], 0), mode="replicate")
        parts, start = [], 0
        while start < len(slices):
            self._cancel()
            piece = slices[start : start + self._count]
            found = self._some(piece)
            if found is not None:
                parts.append(found)
                start += len(piece)
        result = torch.cat(parts)[..., odd[0] :, odd[1] :]
        height, width = (FACTOR * n for n in low.shape[-2:])
        return result[..., :height, :width].permute(1, 0, 2, 3)[None].contiguous()

    def _some(self, slices: Tensor) -> Tensor | None:
        """A few slices; None when they were too many and fewer are to be tried."""
        try:
            return self._model(slices[:, :, None].to(self._device))[:, :, 0].float().cpu()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        release(self._device)
        if self._count > 1:
            self._count = 1
        elif self._device.type != "cpu":
            self._log(f"Memory ran out on {self._device}; using the CPU.")
            self._device = torch.device("cpu")
            self._model.to(self._device)
        else:
            raise OutOfMemory(
                "Memory ran out with a single slice.", "Close other programs, or use a computer "
                "with more memory.",
            )  # fmt: skip
        return None


def check_doubling(name: str, operator: KspaceCrop) -> None:
    """Refuses targets that are not twice the rows and columns.

    Raises:
        BadInput: another factor or other axes.
    """
    depth, height, width = operator.low.shape
    if operator.high.shape != (depth, FACTOR * height, FACTOR * width):
        raise BadInput(
            f"The model '{name}' doubles rows and columns, and something else is wanted.",
            f"Ask for --scale {FACTOR} along the axes 0,1.",
        )


def acquisition_of(card: ModelCard, target: KspaceCrop) -> LinearOperator | None:
    """The acquisition that a network of this kind was made for, between the target's grids.

    Frequencies that the kernel hardly lets through are left alone: they would bring back noise.

    Returns:
        None where the training images were made by a network, which cannot be undone.
    """
    recipe = recipe_from(card.settings, card.name)
    operator = halving(recipe.degradation, target.high)
    if isinstance(operator, KernelDownsampling):
        return KernelDownsampling(target.high, operator.kernel, condition=WELL_MEASURED)
    return operator
