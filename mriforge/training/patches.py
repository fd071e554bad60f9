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
    """Network tensors ``(batch, 1, depth, height, width)`` on one device.

    ``domain`` numbers the kind of image of each, ``(batch,)``, where a training distinguishes two.
    """

    input: Tensor
    target: Tensor
    domain: Tensor | None = None


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


def _window(image: Tensor | Sharp, start: np.ndarray, size: tuple[int, int, int]) -> Tensor:
    return image[tuple(slice(int(s), int(s) + p) for s, p in zip(start, size, strict=True))]


def fitted(patch: Tensor, size: tuple[int, int, int]) -> Tensor:
    """``patch`` reflected at its ends to at least ``size``."""
    for axis, wanted in enumerate(size):
        have = patch.shape[axis]
        if have < wanted:
            index = reflect(np.arange(wanted), have)
            patch = patch.index_select(axis, torch.from_numpy(index).to(patch.device))
    return patch


@dataclass(frozen=True)
class KnownPair:
    """A low-resolution image and its sharp original, ``(depth, height, width)``, in memory."""

    low: Tensor
    sharp: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of both."""
        return tuple(self.sharp.shape)

    def images(self) -> tuple[Tensor, Tensor]:
        """Low-resolution and sharp image."""
        return self.low, self.sharp


class LazyPair:
    """A view of a training volume and its low-resolution partner, made when first needed."""

    def __init__(
        self,
        view: np.ndarray,
        keep: float,
        degradation: DegradationSpec,
        input_spec: InputSpec,
        *,
        half: bool = False,
    ) -> None:
        self._view, self._keep, self._half = view, keep, half
        self._degradation, self._input = degradation, input_spec
        self._made: tuple[Tensor, float] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of both."""
        return self._view.shape

    def images(self) -> tuple[Tensor, Sharp]:
        """Low-resolution image, and the sharp one as something to cut from."""
        if self._made is None:
            sharp = torch.from_numpy(np.array(self._view, dtype=np.float32))
            shape = low_matrix(tuple(sharp.shape[1:]), self._keep)
            low = degrade_slices(sharp, shape, self._degradation, self._input.upsample)
            gain = scale_gain(low, self._input)
            low = low * gain
            self._made = (low.half() if self._half else low, gain)
        return self._made[0], Sharp(self._view, self._made[1])


@dataclass(frozen=True)
class Sharp:
    """Memory-mapped voxels that become a tensor where they are cut."""

    view: np.ndarray
    gain: float

    def __getitem__(self, window: tuple[slice, ...]) -> Tensor:
        return torch.from_numpy(np.array(self.view[window], dtype=np.float32)) * self.gain


class GridSampler:
    """Every patch of a regular grid over every pair of images, once per epoch (published).

    The order is drawn anew each epoch.

    Attributes:
        epoch_steps: number of batches of one epoch.
    """

    def __init__(
        self,
        pairs: Sequence[KnownPair | LazyPair],
        patches: PatchSpec,
        *,
        flip: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if not pairs:
            raise BadInput("There is no volume to take patches from.")
        self.pairs, self.patches, self.flip = list(pairs), patches, flip
        self.seed, self.rank, self.world, self.device = seed, rank, world, torch.device(device)
        self._grids = [grid_starts(p.shape, patches.size, patches.stride) for p in self.pairs]
        counts = [math.prod(len(axis) for axis in grid) for grid in self._grids]
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self.epoch_steps = max(1, math.ceil(self._first[-1] / (patches.batch * world)))
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        """Number of patches of one epoch."""
        return int(self._first[-1])

    def batch(self, step: int) -> Batch:
        """Batch number ``step``; epochs follow each other."""
        epoch, place = divmod(step, self.epoch_steps)
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self._order = (epoch, rng.permutation(self._first[-1]))
        begin = (place * self.world + self.rank) * self.patches.batch
        numbers = self._order[1].take(range(begin, begin + self.patches.batch), mode="wrap")
        rng = np.random.default_rng([self.seed, self.rank, step, 1])
        stacked = torch.stack([self._pair(int(number), rng) for number in numbers], dim=1)
        stacked = stacked[:, :, None].to(self.device)
        return Batch(stacked[0], stacked[1])

    def _pair(self, number: int, rng: np.random.Generator) -> Tensor:
        which = int(np.searchsorted(self._first, number, side="right")) - 1
        grid = self._grids[which]
        place = np.unravel_index(number - self._first[which], [len(axis) for axis in grid])
        start = np.array([axis[p] for axis, p in zip(grid, place, strict=True)])
        low, sharp = (_window(i, start, self.patches.size) for i in self.pairs[which].images())
        pair = torch.stack([fitted(i, self.patches.size) for i in (low.float(), sharp)])
        return flipped(pair, rng) if self.flip else pair


def flipped(pair: Tensor, rng: np.random.Generator) -> Tensor:
    """``(2, depth, height, width)`` mirrored along each axis with probability 1/2."""
    axes = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
    return pair.flip(axes) if axes else pair


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
    if patches.mode == "grid":
        views = [v.view(frame, v.axes[0]) for v in volumes for frame in range(v.array.shape[0])]
        # Half precision when there are many: 0.05 % of the local intensity.
        many = len(views) * len(degradation.keep) > 8
        pairs = [
            LazyPair(view, keep, degradation, input_spec, half=many)
            for view in views
            for keep in degradation.keep
        ]
        flip = augmentation is not None and augmentation.flip
        return GridSampler(
            pairs, patches, flip=flip, seed=seed, rank=rank, world=world, device=device
        )
    return SlabSampler(
        volumes, patches, degradation, input_spec, augmentation, seed=seed, rank=rank, device=device
    )
