"""RCAN of Zhang et al. 2018 (ECCV) as the newer code of SMORE's group uses it for thick slices.

Read in their public code (ssmore): 2 residual groups of 8 blocks, 64 channels, 3x3 convolutions,
channel attention with a reduction of 16, a long skip over all groups, sub-pixel convolution along
the slice axis only, and a 1x1 convolution to the image. There is no path from the interpolated
image to the output.

Parameters by hand: head 640; a block 2 * 36,928 + attention (64*4 + 4 + 4*64 + 64 = 580) = 74,436;
a group 8 * 74,436 + 36,928 = 632,416; two groups 1,264,832; the convolution that closes them
36,928; 36,928 for every piece per slice; tail 65. Sum 1,302,465 + 36,928 * pieces, with four
pieces 1,450,177.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


class ChannelAttention(nn.Module):
    """Every channel times a number in (0, 1) that is computed from the means of all channels."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, width // reduction, 1)
        self.excite = nn.Conv2d(width // reduction, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean(dim=(2, 3), keepdim=True)
        return features * torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))


class AttentionBlock(nn.Module):
    """Convolution, ReLU, convolution, channel attention, and the input added."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = _convolution(width, width)
        self.attention = ChannelAttention(width, reduction)

    def forward(self, features: Tensor) -> Tensor:
        found = self.second(torch.relu(self.first(features)))
        return features + self.attention(found)


class ResidualGroup(nn.Module):
    """Some blocks and a convolution, and the input added."""

    def __init__(self, width: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(AttentionBlock(width, reduction) for _ in range(blocks)))
        self.last = _convolution(width, width)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.last(self.blocks(features))


class SmoreRcan(nn.Module):
    """Thick rows in, fine rows out.

    Args:
        width: channels (in the public code: 64).
        groups: residual groups (2).
        blocks: blocks of a group (8).
        reduction: of the channel attention (16).
        pieces: values per slice, the distance of the slices in fine samples rounded up.
        residual: add the interpolated rows to the output (not in the public code). With it the
            tail starts at zero, so that an untrained network returns ``cubic``.

    Shapes:
        low ``(batch, 1, n, w)``: thick rows; cubic ``(batch, 1, N, w)``: the same interpolated to
        the fine rows, used where ``residual``; to_fine ``(N, n * pieces)``: brings the pieces to
        the fine rows, None where they are the fine rows. Output ``(batch, 1, N, w)``.

    The attention sees the whole of what it is given: cut into parts, an image comes out slightly
    different.
    """

    def __init__(
        self,
        width: int = 64,
        groups: int = 2,
        blocks: int = 8,
        reduction: int = 16,
        pieces: int = 4,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if pieces < 1:
            raise ValueError(f"pieces is at least 1, not {pieces}")
        self.pieces, self.residual = pieces, residual
        self.head = _convolution(1, width)
        self.body = nn.Sequential(
            *(ResidualGroup(width, blocks, reduction) for _ in range(groups)),
            _convolution(width, width),
        )
        self.up = _convolution(width, width * pieces)
        self.tail = nn.Conv2d(width, 1, 1)
        if residual:
            nn.init.zeros_(self.tail.weight)
            nn.init.zeros_(self.tail.bias)

    def forward(
        self, low: Tensor, cubic: Tensor | None = None, to_fine: Tensor | None = None
    ) -> Tensor:
        features = self.head(low)
        found = self.tail(self._shuffled(self.up(features + self.body(features))))
        if to_fine is not None:
            found = to_fine @ found
        return found + cubic if self.residual else found

    def _shuffled(self, features: Tensor) -> Tensor:
        """Channels become rows: ``(b, width * pieces, n, w)`` to ``(b, width, n * pieces, w)``."""
        batch, channels, rows, columns = features.shape
        width = channels // self.pieces
        split = features.reshape(batch, width, self.pieces, rows, columns)
        return split.transpose(2, 3).reshape(batch, width, rows * self.pieces, columns)
