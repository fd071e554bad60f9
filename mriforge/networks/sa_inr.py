"""SA-INR of Wang et al. 2022 (arXiv:2205.11346), the network of Wang et al. 2024.

"Inter-slice Super-resolution of Magnetic Resonance Images by Pre-training and Self-supervised
Fine-tuning" adopts it with 2.1 M parameters. The layers are those of the authors' public code: a
3-D EDSR encoder without its tail (convolution, 8 residual blocks of two 3x3x3 convolutions, one
more convolution, long skip); features interpolated linearly to the wanted point; local attention
to a window of 7 x 7 pixels, every second one, in the two slices on either side of the point
(``softmax(q.k)`` without a factor, borders repeated), added to the features; a perceptron
64-256-256-256-256-1; the linearly interpolated intensity is added. 2,109,697 parameters.

Points are wanted where the pixels are, at any position across the slices: the published use. A
stack is ``(batch, 1, slices, height, width)``; positions are in slices, 0 the first one, and the
base cell of a point is the slice below it. In the published coordinates from -1 to 1 the first and
the last slice lie at the ends, which is position / (slices - 1) * 2 - 1.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.networks.sparse_attention import SparseAttentionLayer
from mriforge.networks.spline import cubic_weights
from mriforge.networks.window_attention import attended, cells, padded, reach, scores

POINTS = 2**16
"""Points that are evaluated at once outside of training: about 70 MB of the perceptron's."""

_ON_A_SLICE = 1e-5


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(functional.relu(self.first(features)))


class Encoder(nn.Module):
    """EDSR without its tail: ``(b, 1, d, h, w)`` to ``(b, width, d, h, w)``."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.head = nn.Conv3d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.last = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        head = self.head(image)
        features = head
        for block in self.blocks:
            features = block(features)
        return head + self.last(features)


class LocalAttention(nn.Module):
    """What the window around a point adds to its features.

    Args:
        kind: ``features``: keys are features ("FBLA"); ``position``: weights depend on where the
            cells are relative to the point alone ("PBLA"), in the published coordinates.
    """

    def __init__(self, width: int, window: tuple[int, int, int], dilation: int, kind: str) -> None:
        super().__init__()
        self.window, self.dilation = window, dilation
        self.offsets = cells(window, dilation)
        if kind == "position":
            # Nothing but these two layers in the public code: no activation between them.
            self.place = nn.Sequential(nn.Linear(3, 256), nn.Linear(256, 1))
        else:
            self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def prepare(self, features: Tensor) -> tuple[Tensor | None, Tensor]:
        """Padded keys and values of all cells; a layer on each cell may come before gathering."""
        key = None if hasattr(self, "place") else self._wide(self.key, features)
        return key, self._wide(self.value, features)

    def _wide(self, layer: nn.Linear, features: Tensor) -> Tensor:
        wide = _pointwise(layer, features, 1).float().contiguous()
        return padded(wide, self.window, self.dilation)

    def forward(
        self, point: Tensor, prepared: tuple[Tensor | None, Tensor], positions: Tensor, base: Tensor
    ) -> Tensor:
        """``(b, n, c, h, w)`` for the features of the points, of the same shape."""
        key, value = prepared
        if key is None:
            logits = self._from_places(positions, base, value)
        else:
            query = _pointwise(self.query, point, 2).float().contiguous()
            logits = scores(query, key, base.tolist(), self.offsets)
        weights = logits.softmax(dim=2).contiguous()
        return attended(weights, value, base.tolist(), self.offsets).to(point.dtype)

    def _from_places(self, positions: Tensor, base: Tensor, value: Tensor) -> Tensor:
        """``(b, n, m, h, w)``; two linear layers in a row are one, so 3 numbers per cell do."""
        sizes = [
            full - step * (size - 1)
            for full, size, step in zip(
                value.shape[2:], self.window, (1, self.dilation, self.dilation), strict=True
            )
        ]
        first, second = self.place
        weight = (second.weight @ first.weight)[0]
        constant = (second.weight @ first.bias + second.bias)[0]
        parts = []
        for dz, dy, dx in self.offsets:
            across = (base + dz - reach(self.window[0])[0]).clamp(0, sizes[0] - 1) - positions
            rows = _relative(dy - self.dilation * reach(self.window[1])[0], sizes[1], value)
            columns = _relative(dx - self.dilation * reach(self.window[2])[0], sizes[2], value)
            unit = [2.0 / max(1, size - 1) for size in sizes]
            # The public code orders coordinates height, width, depth.
            part = weight[0] * unit[1] * rows[:, None] + weight[1] * unit[2] * columns[None, :]
            parts.append(part + (weight[2] * unit[0] * across)[:, None, None])
        logits = torch.stack(parts, dim=1) + constant
        return logits.expand(len(value), *logits.shape)


class SAINR(nn.Module):
    """Values between thick slices, at any position.

    Args:
        width, blocks: channels and residual blocks of the encoder (published: 64, 8).
        hidden: widths of the perceptron (published: four times 256).
        window: cells of the attention: slices, height, width (published: 2, 7, 7).
        dilation: distance of the cells in plane (published: 2).
        attention: ``features`` (published) or ``position``, see :class:`LocalAttention`.
        gate: choose at every point whether attention is worth while (an option of the public
            code); the choice of the last call in training is kept in ``chosen``.
        sparse_attention: non-local attention at the end of the encoder (an option of the code).
        residual: what is added to the output: ``linear`` (published) or ``cubic``, the intensity
            interpolated across the slices, or ``none``.
        zero_start: the last layer starts at zero, so that an untrained network interpolates.

    Raises:
        ValueError: unknown kind of attention or of residual.
    """

    multiple = 1

    def __init__(
        self,
        width: int = 64,
        blocks: int = 8,
        hidden: tuple[int, ...] = (256, 256, 256, 256),
        window: tuple[int, int, int] = (2, 7, 7),
        dilation: int = 2,
        attention: str = "features",
        gate: bool = False,
        sparse_attention: bool = False,
        residual: str = "linear",
        zero_start: bool = False,
    ) -> None:
        super().__init__()
        if attention not in ("features", "position"):
            raise ValueError(f"attention is 'features' or 'position', not {attention!r}")
        if residual not in ("linear", "cubic", "none"):
            raise ValueError(f"residual is 'linear', 'cubic' or 'none', not {residual!r}")
        self.residual, self.chosen = residual, None
        self.encoder = Encoder(width, blocks)
        self.sparse = SparseAttentionLayer(width) if sparse_attention else None
        self.gate = nn.Linear(width, 2) if gate else None
        self.attention = LocalAttention(width, tuple(window), dilation, attention)
        widths = [width, *hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.decoder = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        if zero_start:
            nn.init.zeros_(self.decoder[-1].weight)
            nn.init.zeros_(self.decoder[-1].bias)

    @property
    def halo(self) -> int:
        """Pixels around a point that its value depends on, in plane (without sparse attention)."""
        around = self.attention.dilation * max(reach(size)[1] for size in self.attention.window[1:])
        return 2 * len(self.encoder.blocks) + 2 + around

    def forward(
        self, stack: Tensor | tuple[Tensor, Tensor], positions: Tensor | None = None
    ) -> Tensor:
        """``(b, 1, n, h, w)`` at ``positions``.

        Args:
            stack: ``(b, 1, slices, h, w)``; or the pair ``(stack, positions)``, as the training
                loop gives it.
            positions: in slices, ``(n,)``, for all stacks of the batch; those outside of a stack
                count as on its first or last slice.
        """
        if positions is None:
            stack, positions = stack
        features = self.encode(stack)
        prepared = self.attention.prepare(features)
        positions = self._cleaned(positions, stack)
        if self.training or torch.is_grad_enabled():
            return self._values(stack, features, prepared, positions)
        step = max(1, POINTS // (stack.shape[0] * stack.shape[-1] * stack.shape[-2]))
        parts = [self._values(stack, features, prepared, p) for p in positions.split(step)]
        return torch.cat(parts, dim=2)

    def encode(self, stack: Tensor) -> Tensor:
        """Features of the slices, ``(b, width, slices, h, w)``."""
        features = self.encoder(stack)
        return features if self.sparse is None else self.sparse(features)

    def _cleaned(self, positions: Tensor, stack: Tensor) -> Tensor:
        """``(n,)`` within the stack; rounding must not move a point on a slice below it."""
        positions = positions.to(stack.device)
        near = positions.round()
        positions = torch.where((positions - near).abs() < _ON_A_SLICE, near, positions)
        return positions.clamp(0, stack.shape[2] - 1).float()

    def _values(
        self, stack: Tensor, features: Tensor, prepared: tuple, positions: Tensor
    ) -> Tensor:
        base = positions.floor()
        share = (positions - base)[:, None, None, None]
        base = base.long()
        point = _between(features, base, share)
        attention = self.attention(point, prepared, positions, base)
        if self.gate is not None:
            attention = attention * self._choice(point)
        values = _pointwise(self.decoder, point + attention, 2).transpose(1, 2)
        if self.residual == "linear":
            return values + _between(stack, base, share).transpose(1, 2)
        if self.residual == "cubic":
            weights = cubic_weights(positions, stack.shape[2]).to(stack.dtype)
            return values + torch.einsum("nd,bcdhw->bcnhw", weights, stack)
        return values

    def _choice(self, point: Tensor) -> Tensor:
        """1 where attention counts, ``(b, n, 1, h, w)``; random and differentiable in training."""
        logits = _pointwise(self.gate, point, 2)
        if not self.training:
            return (logits[:, :, 1:] >= logits[:, :, :1]).to(point.dtype)
        chosen = functional.gumbel_softmax(logits, tau=1.0, hard=True, dim=2)[:, :, 1:]
        self.chosen = chosen
        return chosen


def _pointwise(layer: nn.Module, tensor: Tensor, axis: int) -> Tensor:
    """A layer on the vectors along ``axis``."""
    return layer(tensor.movedim(axis, -1)).movedim(-1, axis)


def _between(image: Tensor, base: Tensor, share: Tensor) -> Tensor:
    """Linear interpolation along depth: ``(b, c, d, h, w)`` to ``(b, n, c, h, w)``."""
    planes = image.transpose(1, 2)
    lower, upper = planes[:, base], planes[:, (base + 1).clamp(max=planes.shape[1] - 1)]
    return torch.lerp(lower, upper, share.to(lower.dtype).expand_as(lower))


def _relative(offset: int, size: int, like: Tensor) -> Tensor:
    """How far the cell at ``offset`` is from every pixel of an axis, borders repeated."""
    pixel = torch.arange(size, device=like.device)
    return ((pixel + offset).clamp(0, size - 1) - pixel).to(like.dtype)
