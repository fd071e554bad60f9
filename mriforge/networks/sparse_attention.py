"""Non-local sparse attention of Mei et al. 2021 (CVPR), an option at the end of SA-INR's encoder.

Features are hashed by random rotations (spherical locality-sensitive hashing), sorted by their
hash and cut into chunks; within a chunk and its two neighbours every feature attends to every
other. Several rounds of hashing are averaged by how much they found.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_MOST_BUCKETS = 128
_SEED = 1


class SparseAttention(nn.Module):
    """Attention of voxels to similar voxels anywhere in the volume, added to the input.

    Args:
        width: channels.
        rounds, reduction, chunk: hashing rounds, reduction of the channels that are matched, and
            voxels of a chunk, as in the public code of SA-INR.

    Shapes: ``(b, width, d, h, w)``, output the same. The hashing is random while training and
    always the same in evaluation mode.
    """

    def __init__(self, width: int, rounds: int = 4, reduction: int = 4, chunk: int = 544) -> None:
        super().__init__()
        self.rounds, self.chunk = rounds, chunk
        self.match = nn.Conv3d(width, max(1, width // reduction), 3, padding=1)
        self.assemble = nn.Conv3d(width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        match = self.match(features).flatten(2).transpose(1, 2)
        assembled = self.assemble(features).flatten(2).transpose(1, 2)
        length = match.shape[1]
        order = self._hash(match).argsort(dim=-1, stable=True)
        # A last, incomplete chunk is filled up with its own last voxels.
        chunk = min(self.chunk, length)
        extra = -length % chunk
        filled = torch.cat([order, order[..., length - extra :]], dim=-1)
        shape = (*filled.shape[:2], -1, chunk)
        keys, values = (_picked(tensor, filled, shape) for tensor in (match, assembled))
        near = _with_neighbours(functional.normalize(keys, dim=-1, eps=5e-5))
        logits = keys @ near.transpose(-1, -2)
        found = logits.logsumexp(dim=-1).flatten(2)[..., :length]
        mixed = (logits.softmax(dim=-1) @ _with_neighbours(values)).flatten(2, 3)[:, :, :length]
        back = order.argsort(dim=-1)
        mixed = mixed.gather(2, back[..., None].expand_as(mixed))
        share = found.gather(2, back).softmax(dim=1)
        total = (mixed * share[..., None]).sum(dim=1)
        return features + total.transpose(1, 2).reshape(features.shape)

    @torch.no_grad()
    def _hash(self, match: Tensor) -> Tensor:
        """Bucket of every voxel, ``(b, rounds, length)``."""
        whole = match.shape[1] // self.chunk
        buckets = min(max(2, whole + whole % 2), _MOST_BUCKETS)
        generator = None if self.training else torch.Generator().manual_seed(_SEED)
        size = (self.rounds, match.shape[-1], buckets // 2)
        rotation = torch.randn(size, generator=generator).to(match)
        turned = match[:, None] @ rotation
        return torch.cat([turned, -turned], dim=-1).argmax(dim=-1)


class SparseAttentionLayer(nn.Module):
    """The attention, then a residual 3x3x3 convolution of its rectified result."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = SparseAttention(width)
        self.conv = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        features = self.attention(features)
        return features + self.conv(functional.relu(features))


def _picked(tensor: Tensor, order: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``(b, length, c)`` in each round's order, cut into chunks ``(b, rounds, n, chunk, c)``."""
    b, rounds, count = order.shape
    flat = order.reshape(b, -1, 1).expand(-1, -1, tensor.shape[-1])
    return tensor.gather(1, flat).reshape(b, rounds, count // shape[-1], shape[-1], -1)


def _with_neighbours(chunks: Tensor) -> Tensor:
    return torch.cat([chunks, chunks.roll(1, dims=2), chunks.roll(-1, dims=2)], dim=3)
