"""How much made low-resolution images look like real ones to someone who is not in the game.

Power spectra of small windows, averaged over all that show some detail, in decibels. Only the shape
counts, not the level, and nothing needs to be aligned. No player is told, so it tells when the game
has gone past its best state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.blind.crops import gradient_weights

_WINDOW = 24
_MOST_IMAGES = 12
_DETAIL = 0.5
_ERROR = 1e-12


class Likeness:
    """``likeness``: minus the root mean square difference of the spectra in dB.

    Args:
        high, low: arrays of one number of axes; of either the ones with most detail are used.
        taps, ratio: of the generator, per axis.
        device: where the generator is.
    """

    def __init__(
        self,
        high: Sequence[np.ndarray],
        low: Sequence[np.ndarray],
        taps: int,
        ratio: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.high = [
            torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None].to(device)
            for image in richest(high)
        ]
        # Windows as large as every image allows, once the generator has taken its margins.
        real = [min(n) for n in zip(*(image.shape for image in low), strict=True)]
        made = [min(n) for n in zip(*(image.shape for image in high), strict=True)]
        made = [(n - taps) // r + 1 for n, r in zip(made, ratio, strict=True)]
        self.window = tuple(max(4, min(_WINDOW, a, b)) for a, b in zip(real, made, strict=True))
        self.real = self._spectrum(
            [torch.from_numpy(np.ascontiguousarray(image, np.float32)) for image in richest(low)]
        )

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        made = self._spectrum([model(image)[0, 0].cpu() for image in self.high])
        apart = made - self.real
        return {"likeness": -float((apart - apart.mean()).square().mean().sqrt())}

    def _spectrum(self, images: Sequence[Tensor]) -> Tensor:
        """Mean power of the windows with detail, dB; the lowest frequencies left out."""
        axes = tuple(range(-len(self.window), 0))
        taper = torch.ones([1] * len(self.window))
        for axis, n in enumerate(self.window):
            shape = [-1 if a == axis else 1 for a in range(len(self.window))]
            taper = taper * torch.hann_window(n + 2)[1:-1].reshape(shape)
        pieces = torch.cat([self._windows(image) for image in images])
        pieces = pieces - pieces.mean(axes, keepdim=True)
        energy = pieces.square().mean(axes)
        chosen = pieces[energy >= torch.quantile(energy, _DETAIL)]
        power = torch.fft.fftn(chosen * taper, dim=axes).abs().square().mean(0)
        lowest = torch.zeros(power.shape, dtype=torch.bool)
        ends = [torch.tensor([0, 1, n - 1]) for n in power.shape]
        lowest[torch.meshgrid(*ends, indexing="ij")] = True
        return 10 * torch.log10(power[~lowest] + _ERROR)

    def _windows(self, image: Tensor) -> Tensor:
        """Overlapping by half, ``(n, *window)``."""
        found = image
        for axis, n in enumerate(self.window):
            if found.shape[axis] < n:
                return image.new_zeros(0, *self.window)
            found = found.unfold(axis, n, max(1, n // 2))
        return found.reshape(-1, *self.window)


def richest(images: Sequence[np.ndarray], count: int = _MOST_IMAGES) -> list[np.ndarray]:
    """The images with most detail, in their order."""
    return [images[number] for number in richest_numbers(images, count)]


def richest_numbers(images: Sequence[np.ndarray], count: int) -> list[int]:
    """Which they are."""
    detail = [float(gradient_weights(image).sum()) for image in images]
    return sorted(int(number) for number in np.argsort(detail)[-count:])
