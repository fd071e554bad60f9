"""Planes of feature maps on their way through a network: convolved in slabs, kept in rings."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

LAST = torch.channels_last_3d


def oriented(
    conv: nn.Conv3d | nn.ConvTranspose3d,
    order: tuple[int, ...],
    dtype: torch.dtype,
    gain: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Weight for axes in another order and maps multiplied by ``gain``, and bias, detached."""
    weight = conv.weight.detach().permute(0, 1, *(2 + a for a in order))
    weight = weight if gain == 1.0 else weight / gain
    return weight.to(dtype).contiguous(memory_format=LAST), conv.bias.detach().to(dtype)


def convolve(planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3x3, padded within the planes only.

    With one thread torch sends volumes of a few planes to a kernel that is three times slower
    than oneDNN's; it has to be named.
    """
    if planes.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return torch.mkldnn_convolution(planes, weight, bias, (0, 1, 1), (1, 1, 1), (1, 1, 1), 1)
    return functional.conv3d(planes, weight, bias, padding=(0, 1, 1))


class Ring:
    """The youngest planes of some maps, channels last; the oldest are written over.

    Args:
        channels: maps.
        capacity: planes that are kept.
        height, width: of a plane.
    """

    def __init__(self, channels: int, capacity: int, height: int, width: int) -> None:
        self.channels, self.capacity = channels, capacity
        self._store = torch.empty((1, capacity, height, width, channels))

    def pieces(self, first: int, last: int) -> Iterator[tuple[slice, Tensor]]:
        """Planes ``first`` to ``last`` of the image, as one or two views.

        Yields:
            Which of the planes asked for, counted from ``first``, and they, ``(1, c, n, h, w)``.
        """
        done = first
        while done < last:
            place = done % self.capacity
            count = min(last - done, self.capacity - place)
            part = self._store[:, place : place + count].permute(0, 4, 1, 2, 3)
            yield slice(done - first, done - first + count), part
            done += count
