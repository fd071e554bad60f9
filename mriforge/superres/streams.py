"""Which networks can be run plane by plane, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from mriforge.superres.streaming import UNetStreaming
from mriforge.superres.streaming_dense import DenseStreaming


class Streamed(Protocol):
    """A network ready to be run on images of one cross-section; buffers are kept between them."""

    def __call__(self, image: Tensor, after: Callable[[int], None] | None = None) -> Tensor:
        """Run ``image`` ``(d, h, w)``, float32 on the CPU; ``after`` hears of finished planes."""


class Streaming(Protocol):
    """How one network is run plane by plane, along the first axis of an image."""

    def wanted(self, height: int, width: int) -> int:
        """Planes to compute at once that are fastest where memory is no matter."""

    def footprint(
        self, height: int, width: int, planes: int, dtype: torch.dtype = torch.float32
    ) -> int:
        """Bytes that are held at the peak, weights included, the image and the output not."""

    def ready(
        self,
        height: int,
        width: int,
        planes: int,
        order: tuple[int, int, int],
        dtype: torch.dtype,
    ) -> Streamed:
        """Prepare for images of one cross-section.

        Args:
            height, width: cross-section, multiples of what the network pools.
            planes: to compute at once, a multiple of it too.
            order: which axis of the weights (0, 1, 2 = d, h, w) each axis of the image is.
            dtype: of what is convolved.
        """


def streaming_of(model: nn.Module) -> Streaming | None:
    """How ``model`` is run plane by plane; None: it has to be computed at once."""
    for kind in (UNetStreaming, DenseStreaming):
        if kind.takes(model):
            return kind(model)
    return None
