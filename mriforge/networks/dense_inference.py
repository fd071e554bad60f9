"""Dense blocks without gradients: maps written once, normalisation and ELU into one workspace.

Written plainly, a densely connected unit copies all maps before it (concatenation), writes them
again (normalisation) and again (activation). Here the maps of a block lie in one buffer, from
where scale, shift and ELU go straight into a workspace that all units share; 1x1x1 convolutions
are matrix products added to running sums, so that nothing is concatenated for them either.

On the CPU maps are stored voxel by voxel (channels last), for which oneDNN convolves faster, and
ELU is formed of powers of two, ``max(x, 2**(min(x, 0) log2 e) - 1)``, which takes half of the time
of torch's ``elu``. Its factor ``log2 e`` stays in the maps (:attr:`Workspace.gain`) and is taken
out of the weights that read them. Elsewhere maps are stored map by map and torch's ``elu`` is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LOG2_E = 1.0 / math.log(2.0)
_CHUNK = 2**19  # values that pass through the steps of ELU at once; they stay in the cache
_LANES = 16  # matrix products are fastest for whole vectors

Moments = tuple[Tensor, Tensor]
"""Mean and variance of maps, ``(1 or b, n)``."""


def joined(first: Moments | None, second: Moments | None) -> Moments | None:
    """Moments of maps beside others."""
    if first is None or second is None:
        return None
    return torch.cat([first[0], second[0]], dim=1), torch.cat([first[1], second[1]], dim=1)


def scale_and_shift(kind: str, norm: nn.Module, known: Moments | None, maps: Tensor) -> Moments:
    """What a normalisation in evaluation mode does to maps, as a factor and a summand of each."""
    if kind == "none":
        one = maps.new_ones((1, maps.shape[1]))
        return one, torch.zeros_like(one)
    if kind == "batch":
        mean, variance = norm.running_mean[None], norm.running_var[None]
    else:
        mean, variance = known
    if kind == "layer":  # of all maps together: mean variance, and variance of the means
        spread = mean.var(dim=1, correction=0, keepdim=True)
        variance = variance.mean(dim=1, keepdim=True) + spread
        mean = mean.mean(dim=1, keepdim=True)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - mean * scale


def elu_of_powers(maps: Tensor, scale: Tensor, shift: Tensor, out: Tensor, spare: Tensor) -> None:
    """``log2 e`` times ELU, on the CPU.

    Args:
        maps: ``(..., n)``.
        scale, shift: ``(n,)``; ELU is of ``(scale * maps + shift) / log2 e``.
        out: where to, as ``maps``.
        spare: memory of at least as many values.
    """
    torch.addcmul(shift, maps, scale, out=out)
    below = spare[: out.numel()].view(out.shape)
    torch.clamp_max(out, 0.0, out=below).exp2_()
    torch.add(maps.new_full((), -LOG2_E), below, alpha=LOG2_E, out=below)
    torch.maximum(out, below, out=out)


def _rows(maps: Tensor) -> Tensor:
    """``(b, n, d, h, w)``, channels last, as a matrix ``(b * d * h * w, n)``; a view."""
    return maps.permute(0, 2, 3, 4, 1).flatten(0, 3)


class Workspace:
    """Memory and layout of one forward pass.

    Args:
        image: ``(b, 1, d, h, w)``: batch, size, device and type of all maps.
        widest: most maps that are activated at once.

    Attributes:
        gain: what activated maps are multiplied by.
    """

    def __init__(self, image: Tensor, widest: int) -> None:
        self.batch, self.size = image.shape[0], tuple(image.shape[2:])
        self.last = image.device.type in ("cpu", "meta")  # plans are made on "meta"
        self.gain = LOG2_E if self.last else 1.0
        self._like = image
        self._flat = image.new_empty(self.batch * widest * math.prod(self.size))
        self._spare = image.new_empty(_CHUNK if self.last else 0)

    def _shaped(self, flat: Tensor, channels: int) -> Tensor:
        if not self.last:
            return flat.view(self.batch, channels, *self.size)
        return flat.view(self.batch, *self.size, channels).permute(0, 4, 1, 2, 3)

    def maps(self, channels: int) -> Tensor:
        """New maps ``(b, channels, d, h, w)``, not filled."""
        count = self.batch * channels * math.prod(self.size)
        return self._shaped(self._like.new_empty(count), channels)

    def sums(self, biases: Tensor) -> Tensor:
        """New maps that start at ``biases``; some are added, to a whole number of vectors."""
        channels = -(-len(biases) // _LANES) * _LANES
        found = self.maps(channels)
        return found.copy_(functional.pad(biases, (0, channels - len(biases)))[:, None, None, None])

    def activated(self, maps: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None) -> Tensor:
        """``gain * ELU(scale * maps + shift)``.

        Args:
            maps: ``(b, n, d, h, w)``.
            scale, shift: ``(1 or b, n)``.
            out: where to; None: the workspace, until the next call.
        """
        if out is None:
            channels = maps.shape[1]
            count = self.batch * channels * math.prod(self.size)
            out = self._shaped(self._flat[:count], channels)
        if not self.last:
            ends = (..., None, None, None)
            return functional.elu_(torch.addcmul(shift[ends], maps, scale[ends], out=out))
        scale, shift = scale * self.gain, shift * self.gain
        for sample in range(self.batch):
            row = min(sample, len(scale) - 1)
            self._elu(
                _rows(maps[sample : sample + 1]),
                scale[row],
                shift[row],
                _rows(out[sample : sample + 1]),
            )
        return out

    def _elu(self, rows: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
        step = max(1, _CHUNK // rows.shape[1])
        for start in range(0, len(rows), step):
            stop = start + step
            elu_of_powers(rows[start:stop], scale, shift, out[start:stop], self._spare)
            if rows.is_meta:  # a plan: the other parts would add nothing but minutes
                return

    def moments(self, kind: str, maps: Tensor) -> Moments | None:
        """What a normalisation of this kind has to know of maps; None: nothing."""
        if kind in ("none", "batch"):
            return None
        if not self.last:
            axes = (0, 2, 3, 4) if kind == "batch_train" else (2, 3, 4)
            variance, mean = torch.var_mean(maps, dim=axes, correction=0)
            return mean.reshape(-1, maps.shape[1]), variance.reshape(-1, maps.shape[1])
        parts = [maps] if kind == "batch_train" else maps.split(1)
        found = [self._moments_of_rows(_rows(part)) for part in parts]
        means, variances = zip(*found, strict=True)
        return torch.stack(means), torch.stack(variances)

    def _moments_of_rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """In two passes of sums: ten times as fast as torch's ``var_mean`` along columns."""
        mean = rows.mean(dim=0)
        power = torch.zeros_like(mean)
        for part in rows.split(max(1, _CHUNK // rows.shape[1])):
            away = torch.sub(part, mean, out=self._spare[: part.numel()].view_as(part))
            power += away.square_().sum(dim=0)
            if rows.is_meta:  # as in :meth:`_elu`
                break
        return mean, power / len(rows)

    def mix(self, sums: Tensor, weight: Tensor, maps: Tensor) -> Tensor:
        """Adds a 1x1x1 convolution of maps to ``sums``, in place.

        Args:
            sums: ``(b, m or more, d, h, w)``.
            weight: ``(m, n)``.
            maps: ``(b, n, d, h, w)``.
        """
        spare = sums.shape[1] - len(weight)
        weight = functional.pad(weight, (0, 0, 0, spare)) if spare else weight
        if self.last:
            rows = _rows(sums)
            torch.addmm(rows, _rows(maps), weight.t(), out=rows)
        else:
            flat = sums.flatten(2)
            weights = weight.expand(self.batch, *weight.shape)
            torch.baddbmm(flat, weights, maps.flatten(2), out=flat)
        return sums
