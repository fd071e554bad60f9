"""Crops of images that do not belong together, drawn where there is something to see.

Huang et al. 2021: the probability of a crop follows the magnitude of the gradient, because regions
of varying intensity show best what low-pass filtering does; low- and high-resolution crops are
drawn independently. The map is averaged over 5 pixels and limited to its 97th percentile (as in
the public code of KernelGAN), so that no single edge is all that is seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.training.patches import Batch

_EVERYWHERE = 1e-6


def gradient_weights(image: np.ndarray, window: int = 5, clip: float = 97.0) -> np.ndarray:
    """How likely a crop about each pixel is, up to a factor; of the shape of ``image``."""
    array = np.asarray(image, dtype=np.float32)
    slopes = np.gradient(array) if array.ndim > 1 else [np.gradient(array)]
    size = np.sqrt(np.sum([slope**2 for slope in slopes], axis=0))
    smooth = ndimage.uniform_filter(size, window, mode="nearest")
    return np.minimum(smooth, np.percentile(smooth, clip))


class CropSource:
    """Crops of one size from several images.

    Args:
        images: arrays of one number of axes.
        size: of the crops, per axis.
        what: their role, for messages.

    Raises:
        BadInput: no image is as large as a crop.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        size: Sequence[int],
        *,
        what: str,
        window: int = 5,
        clip: float = 97.0,
    ) -> None:
        self.size = tuple(size)
        self.images, totals, self._places = [], [], []
        for image in images:
            if any(n < s for n, s in zip(image.shape, self.size, strict=True)):
                continue
            weights = gradient_weights(image, window, clip)
            # Centres of crops that lie inside.
            inside = tuple(
                slice(s // 2, s // 2 + n - s + 1)
                for n, s in zip(image.shape, self.size, strict=True)
            )
            likely = weights[inside].astype(np.float64)
            totals.append(float(likely.sum()))
            flat = np.cumsum(likely.ravel() + _EVERYWHERE * max(likely.max(), _EVERYWHERE))
            self._places.append((flat / flat[-1], likely.shape))
            self.images.append(np.ascontiguousarray(image, dtype=np.float32))
        if not self.images:
            wanted = "x".join(map(str, self.size))
            raise BadInput(
                f"No {what} is as large as the crops of {wanted} pixels.",
                "Use larger images, or smaller crops in the recipe.",
            )
        if sum(totals) <= 0:
            raise BadInput(f"The {what} is the same everywhere.", "There is nothing to learn from.")
        self._images = np.cumsum(totals) / np.sum(totals)

    def draw(self, rng: np.random.Generator) -> Tensor:
        """One crop, ``(*size)``."""
        which = int(np.searchsorted(self._images, rng.random(), side="right"))
        which = min(which, len(self.images) - 1)
        flat, shape = self._places[which]
        place = min(int(np.searchsorted(flat, rng.random(), side="right")), len(flat) - 1)
        start = np.unravel_index(place, shape)
        window = tuple(slice(int(s), int(s) + n) for s, n in zip(start, self.size, strict=True))
        return torch.from_numpy(self.images[which][window])


class CropSampler:
    """Batches of sharp crops (``input``) and of real low-resolution ones (``target``).

    A batch is a function of its number, the seed and nothing else.
    """

    epoch_steps: int | None = None

    def __init__(
        self,
        high: CropSource,
        low: CropSource,
        batch: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.high, self.low, self.count = high, low, batch
        self.seed, self.device = seed, torch.device(device)

    def batch(self, step: int) -> Batch:
        """Batch number ``step``, each ``(batch, 1, *size)``."""
        rng = np.random.default_rng([self.seed, step])
        parts = [
            torch.stack([source.draw(rng) for _ in range(self.count)])[:, None].to(self.device)
            for source in (self.high, self.low)
        ]
        return Batch(*parts)
