"""Pairs of low-resolution and sharp patches, made on the fly.

k-space truncation acts on whole slices, so whole slices are degraded and patches are cut from
the result. A batch is a function of its number alone (and of the seed and the rank): this is what
makes resuming exact without storing the position of a sampler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.physics.kspace import KspaceCrop, kept_matrix
from mriforge.recipes.schema import AugmentationSpec, DegradationSpec, InputSpec, PatchSpec
from mriforge.training.augment import intensity, reflect, slice_indices, spatial, uniform
from mriforge.training.data import TrainingVolume
from mriforge.volume import Grid


@dataclass(frozen=True)
class Batch:
    """Network tensors ``(batch, 1, depth, height, width)`` on one device."""

    input: Tensor
    target: Tensor


def upsampled(low: Tensor, crop: KspaceCrop, method: str) -> Tensor:
    """A truncated image back on the sharp grid by one of the named interpolations."""
    if method == "sinc":
        return crop.zero_fill(low)
    from mriforge.physics.interpolation import BASELINES

    return BASELINES[method](low, crop)


def degrade_slices(
    sharp: Tensor,
    low_shape: tuple[int, int],
    degradation: DegradationSpec,
    upsample: str,
    *,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """What the network gets for slices ``(depth, height, width)``, on the same grid.

    Args:
        low_shape: ``(height, width)`` of the truncated slices.
        noise: standard deviation of complex noise in the truncated image.
    """
    depth, height, width = sharp.shape
    crop = KspaceCrop(Grid((depth, height, width)), (low_shape[1], low_shape[0], depth))
    low = crop.A_complex(sharp)
    if noise > 0 and rng is not None:
        parts = rng.standard_normal((2, *low.shape), dtype=np.float32) * np.float32(noise)
        low = low + torch.complex(*torch.from_numpy(parts).to(sharp.device))
    low = low.abs() if degradation.magnitude else low.real
    return upsampled(low, crop, upsample)


def low_matrix(shape: tuple[int, int], keep: float) -> tuple[int, int]:
    """Matrix ``(height, width)`` left of slices of ``shape`` when ``keep`` of k-space is kept.

    The published rule starts from the first stored axis, which is the width here. Slices that
    are too small for it lose lines in proportion.
    """
    try:
        width, height = kept_matrix((shape[1], shape[0]), keep)
    except BadInput:
        width, height = (round(n * math.sqrt(keep)) for n in (shape[1], shape[0]))
    return max(1, height), max(1, width)


class SlabSampler:
    """Patches from randomly chosen, augmented and degraded slabs of whole slices.

    Args:
        volumes: what to draw from, uniformly; then a frame and a pair of in-plane axes.
        seed: together with ``rank`` and the number of the batch it decides everything.
        device: where slabs are degraded and batches end up.
    """

    epoch_steps: int | None = None

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        patches: PatchSpec,
        degradation: DegradationSpec,
        input_spec: InputSpec,
        augmentation: AugmentationSpec | None = None,
        *,
        seed: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.volumes = list(volumes)
        self.patches, self.degradation, self.input = patches, degradation, input_spec
        self.augmentation = augmentation or AugmentationSpec()
        self.seed, self.rank, self.device = seed, rank, torch.device(device)

    def batch(self, step: int) -> Batch:
        """Batch number ``step``."""
        rng = np.random.default_rng([self.seed, self.rank, step])
        wanted, pairs = self.patches.batch, []
        while len(pairs) < wanted:
            low, sharp = self.slab(rng)
            for _ in range(min(self.patches.per_slab, wanted - len(pairs))):
                pairs.append(cut(rng, low, sharp, self.patches))
        low, sharp = (torch.stack(part)[:, None] for part in zip(*pairs, strict=True))
        return Batch(low, sharp)

    def slab(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One degraded slab and its sharp original, both ``(depth, height, width)``."""
        sharp = self.sharp_slab(rng)
        spec = self.degradation
        low_shape = self._low_shape(rng, tuple(sharp.shape[1:]))
        noise = 0.0
        if rng.random() < spec.noise_probability:
            noise = uniform(rng, spec.noise)
        low = degrade_slices(sharp, low_shape, spec, self.input.upsample, noise=noise, rng=rng)
        gain = scale_gain(low, self.input)
        return (low, sharp) if gain == 1.0 else (low * gain, sharp * gain)

    def sharp_slab(self, rng: np.random.Generator) -> Tensor:
        """One augmented slab of sharp slices."""
        volume = self.volumes[int(rng.integers(len(self.volumes)))]
        axes = volume.axes[int(rng.integers(len(volume.axes)))]
        view = volume.view(int(rng.integers(volume.array.shape[0])), axes)
        tissue, spec = volume.slice_tissue(axes), self.augmentation
        chosen = slice_indices(rng, tissue, self.patches.size[0], spec, self.patches.foreground)
        slices = np.asarray(view[chosen.ravel()], dtype=np.float32)
        slices = slices.reshape(*chosen.shape, *view.shape[1:])
        slab = torch.from_numpy(slices).to(self.device).mean(dim=1)
        slab = spatial(rng, slab, spec)
        return intensity(rng, slab, spec).contiguous()

    def _low_shape(self, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[int, int]:
        spec = self.degradation
        keep = spec.keep[int(rng.integers(len(spec.keep)))]
        if rng.random() < spec.keep_range_probability:
            keep = uniform(rng, spec.keep_range)
        height, width = low_matrix(shape, keep)
        if rng.random() < spec.aspect_jitter_probability:
            ratio = math.exp(uniform(rng, (-spec.aspect_jitter, spec.aspect_jitter)))
            height = min(shape[0], max(1, round(height * ratio)))
            width = min(shape[1], max(1, round(width / ratio)))
        return height, width


def cut(
    rng: np.random.Generator, low: Tensor, sharp: Tensor, patches: PatchSpec
) -> tuple[Tensor, Tensor]:
    """One pair of patches from a slab, where there is tissue rather than air.

    A slab smaller than a patch is reflected at its ends.
    """
    size = patches.size
    starts = np.stack(
        [rng.integers(0, max(1, n - p + 1), 4) for n, p in zip(sharp.shape, size, strict=True)], 1
    )
    pick = 0
    if rng.random() < patches.foreground:
        heat = [float(_window(sharp, s, size)[::4, ::4, ::4].abs().mean()) for s in starts]
        weight = np.asarray(heat) + 1e-4
        pick = int(rng.choice(4, p=weight / weight.sum()))
    start = starts[pick]
    return tuple(fitted(_window(image, start, size), size) for image in (low, sharp))


def _window(image: Tensor, start: np.ndarray, size: tuple[int, int, int]) -> Tensor:
    return image[tuple(slice(int(s), int(s) + p) for s, p in zip(start, size, strict=True))]


def fitted(patch: Tensor, size: tuple[int, int, int]) -> Tensor:
    """``patch`` reflected at its ends to at least ``size``."""
    for axis, wanted in enumerate(size):
        have = patch.shape[axis]
        if have < wanted:
            index = reflect(np.arange(wanted), have)
            patch = patch.index_select(axis, torch.from_numpy(index).to(patch.device))
    return patch


class GridSampler:
    """Every patch of a regular grid over every volume and keep level, once per epoch (published).

    Low-resolution partners of whole volumes are made once. The order is drawn anew each epoch.

    Attributes:
        epoch_steps: number of batches of one epoch.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        patches: PatchSpec,
        degradation: DegradationSpec,
        input_spec: InputSpec,
        augmentation: AugmentationSpec | None = None,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.patches, self.degradation, self.input = patches, degradation, input_spec
        self.augmentation = augmentation or AugmentationSpec()
        self.seed, self.rank, self.world, self.device = seed, rank, world, torch.device(device)
        self._sources = [
            (volume.view(frame, axes), keep)
            for volume in volumes
            for axes in volume.axes[:1]
            for frame in range(volume.array.shape[0])
            for keep in degradation.keep
        ]
        if not self._sources:
            raise BadInput("There is no volume to take patches from.")
        self._low: dict[int, tuple[Tensor, float]] = {}
        self._grids = [grid_starts(v.shape, patches.size, patches.stride) for v, _ in self._sources]
        counts = [math.prod(len(axis) for axis in grid) for grid in self._grids]
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self.epoch_steps = max(1, math.ceil(self._first[-1] / (patches.batch * world)))
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, dtype=np.int64))

    def batch(self, step: int) -> Batch:
        """Batch number ``step``; epochs follow each other."""
        epoch, place = divmod(step, self.epoch_steps)
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self._order = (epoch, rng.permutation(self._first[-1]))
        begin = (place * self.world + self.rank) * self.patches.batch
        numbers = self._order[1].take(range(begin, begin + self.patches.batch), mode="wrap")
        rng = np.random.default_rng([self.seed, self.rank, step, 1])
        pairs = [self._pair(int(number), rng) for number in numbers]
        low, sharp = (torch.stack(part)[:, None] for part in zip(*pairs, strict=True))
        return Batch(low, sharp)

    def _pair(self, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        source = int(np.searchsorted(self._first, number, side="right")) - 1
        grid = self._grids[source]
        place = np.unravel_index(number - self._first[source], [len(axis) for axis in grid])
        start = np.array([axis[p] for axis, p in zip(grid, place, strict=True)])
        view = self._sources[source][0]
        size = self.patches.size
        window = tuple(slice(int(s), int(s) + p) for s, p in zip(start, size, strict=True))
        sharp = torch.from_numpy(np.array(view[window], dtype=np.float32)).to(self.device)
        low, gain = self._low_volume(source)
        low = _window(low, start, size).to(self.device).float()
        pair = torch.stack([fitted(low, size), fitted(sharp * gain, size)])
        if self.augmentation.flip:
            axes = [axis + 1 for axis in range(3) if rng.random() < 0.5]
            pair = pair.flip(axes) if axes else pair
        return pair[0], pair[1]

    def _low_volume(self, source: int) -> tuple[Tensor, float]:
        """Low-resolution partner of a whole volume, and the factor of its sharp original."""
        if source not in self._low:
            view, keep = self._sources[source]
            sharp = torch.from_numpy(np.array(view, dtype=np.float32))
            shape = low_matrix(tuple(sharp.shape[1:]), keep)
            low = degrade_slices(sharp, shape, self.degradation, self.input.upsample)
            gain = scale_gain(low, self.input)
            # Half precision when there are many: 0.05 % of the local intensity.
            low = low * gain
            self._low[source] = (low.half() if len(self._sources) > 8 else low, gain)
        return self._low[source]


def scale_gain(low: Tensor, spec: InputSpec) -> float:
    """What both images are multiplied by, from the low-resolution one: 1 unless by maximum.

    Volumes come already divided by a percentile, which hardly changes with resolution.
    """
    if spec.scale != "maximum":
        return 1.0
    return 1.0 / max(float(low.max()), 1e-6)


def grid_starts(
    shape: Sequence[int], size: Sequence[int], stride: Sequence[int]
) -> list[np.ndarray]:
    """First voxels of patches along each axis; the last one touches the end."""
    starts = []
    for n, p, s in zip(shape, size, stride, strict=True):
        last = max(0, n - p)
        positions = list(range(0, last + 1, max(1, s)))
        starts.append(np.array(positions if positions[-1] == last else [*positions, last]))
    return starts


def make_sampler(
    volumes: Sequence[TrainingVolume],
    patches: PatchSpec,
    degradation: DegradationSpec,
    input_spec: InputSpec,
    augmentation: AugmentationSpec | None = None,
    *,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
) -> SlabSampler | GridSampler:
    """The sampler that ``patches.mode`` names."""
    common = (volumes, patches, degradation, input_spec, augmentation)
    if patches.mode == "grid":
        return GridSampler(*common, seed=seed, rank=rank, world=world, device=device)
    return SlabSampler(*common, seed=seed, rank=rank, device=device)
