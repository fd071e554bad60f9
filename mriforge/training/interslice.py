"""Thick and thin slices for networks that answer at any position between slices.

Published (Wang et al. 2024): first frames of video, of which every r-th is kept and those between
are to be found; then thin slices of MR volumes, blurred across and sampled. Both are one thing
here: a fine stack in, a few of its planes given, positions and planes between them wanted. A batch
is a function of its number alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.physics.blur import SYNTHSR_TRUNCATE
from mriforge.physics.interpolation import cubic_matrix
from mriforge.physics.profiles import gaussian, profile_matrix
from mriforge.recipes.schema import AugmentationSpec, Recipe, StackSpec
from mriforge.training.augment import intensity, uniform
from mriforge.training.data import TrainingVolume
from mriforge.training.patches import Batch, fitted

_CANDIDATES = 4
_GIVEN = 1e-6


class StackInput(NamedTuple):
    """What the network is given: ``(b, 1, slices, h, w)`` and positions in slices, ``(n,)``."""

    stack: Tensor
    positions: Tensor


@dataclass(frozen=True)
class Thickening:
    """How the thin slices of a window become thick ones.

    Attributes:
        centres: of the thick slices, in thin slices of the window.
        size: thin slices of the window.
        inner: the thin slices that are wanted: those between the first and the last centre.
        positions: of these, in thick slices.
    """

    centres: np.ndarray
    size: int
    inner: np.ndarray
    positions: np.ndarray

    def low(self, fine: Tensor, spec: StackSpec, ratio: float) -> Tensor:
        """``(size, h, w)`` to ``(slices, h, w)``."""
        if spec.take == "frames":
            return fine[torch.from_numpy(self.centres.round().astype(int))]
        profile = gaussian(spec.sigma * ratio, SYNTHSR_TRUNCATE)
        matrix = profile_matrix(profile, self.centres, self.size, 1.0).to(fine)
        return (matrix @ fine.flatten(1)).reshape(-1, *fine.shape[1:])


def thickening(
    spec: StackSpec, ratio: float, offset: float, slices: int, before: int, after: int
) -> Thickening:
    """Of a window that reaches ``before`` and ``after`` thin slices beyond the thick ones."""
    centres = before + offset + np.arange(slices) * ratio
    last = math.ceil(centres[-1] - _GIVEN)
    inner = np.arange(math.ceil(centres[0] - _GIVEN), math.floor(centres[-1] + _GIVEN) + 1)
    positions = (inner - centres[0]) / ratio
    if spec.take == "frames":  # those that are given need not be found
        between = np.abs(positions - positions.round()) > _GIVEN
        inner, positions = inner[between], positions[between]
    return Thickening(centres, last + 1 + after, inner, positions)


class StackSampler:
    """Random crops of fine stacks and what is left of them.

    An epoch has one crop of every volume, as published.

    Args:
        volumes: thin slices, time series or videos (one volume of frames).
        recipe: ``stack``, ``patches`` (its size is that of the thick crop) and ``augmentation``.

    Raises:
        BadInput: a volume has too few slices or frames, or nothing to take them from.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        recipe: Recipe,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.volumes, self.spec, self.patches = list(volumes), recipe.stack, recipe.patches
        self.augmentation, self.seed = recipe.augmentation, recipe.seed
        self.rank, self.world, self.device = rank, world, torch.device(device)
        if not self.volumes:
            raise BadInput("There is no volume to take slices from.")
        if self.spec.ratio[0] <= 1 or self.spec.ratio[0] > self.spec.ratio[1]:
            raise BadInput(
                f"The ratio {list(self.spec.ratio)} in the recipe is not a range above 1.",
                "Give the smallest and the largest one, e.g. [2, 6].",
            )
        for volume in self.volumes:
            self._check(volume)
        self.epoch_steps = max(1, math.ceil(len(self.volumes) / (self.patches.batch * world)))

    def batch(self, step: int) -> Batch:
        """Batch number ``step``: thick crops with positions, and the planes at these positions."""
        rng = np.random.default_rng([self.seed, self.rank, step])
        views = [self._view(volume, rng) for volume in self._chosen(step)]
        ratio = uniform(rng, self.spec.ratio)
        ratio = float(round(ratio)) if self.spec.whole or self.spec.take == "frames" else ratio
        offset = rng.random() if self.spec.anywhere and self.spec.take == "slices" else 0.0
        fewest = min(view.shape[0] for view in views)
        fitting = math.floor((fewest - 1 - offset) / ratio + _GIVEN) + 1
        slices = min(self.patches.size[0], fitting)
        crops = [self._crop(view, ratio, offset, slices, rng) for view in views]
        low, fine, positions = (list(part) for part in zip(*crops, strict=True))
        given = StackInput(torch.stack(low)[:, None], positions[0])
        return some_planes(Batch(given, torch.stack(fine)[:, None]), self.spec.planes, rng)

    def _check(self, volume: TrainingVolume) -> None:
        needed = math.ceil(self.spec.ratio[1]) + 2
        for axes in volume.axes:
            count = self._planes(volume, axes)
            if count < needed:
                raise BadInput(
                    f"{volume.name} has {count} slices or frames; the recipe needs {needed}.",
                    "Leave it out of the manifest, or lower the ratio in the recipe.",
                )

    def _planes(self, volume: TrainingVolume, axes: tuple[int, int]) -> int:
        if self._in_time(volume):
            return volume.array.shape[0]
        return volume.view(0, axes).shape[0]

    def _in_time(self, volume: TrainingVolume) -> bool:
        return self.spec.take == "frames" and volume.array.shape[0] > 1

    def _chosen(self, step: int) -> list[TrainingVolume]:
        """Every volume once per epoch, in an order drawn anew."""
        count = self.patches.batch * self.world
        epoch, place = divmod(step, self.epoch_steps)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.volumes))
        begin = place * count + self.rank * self.patches.batch
        picked = order.take(range(begin, begin + self.patches.batch), mode="wrap")
        return [self.volumes[int(number)] for number in picked]

    def _view(self, volume: TrainingVolume, rng: np.random.Generator) -> np.ndarray:
        """Fine planes ``(n, h, w)``: slices of one frame, or frames of one slice."""
        if self._in_time(volume):
            tissue = volume.tissue[0] + 1e-3
            place = int(rng.choice(len(tissue), p=tissue / tissue.sum()))
            return volume.array[:, place]
        axes = volume.axes[int(rng.integers(len(volume.axes)))]
        return volume.view(int(rng.integers(volume.array.shape[0])), axes)

    def _crop(
        self, view: np.ndarray, ratio: float, offset: float, slices: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Thick crop, the planes that are wanted, their positions."""
        span = math.ceil(offset + (slices - 1) * ratio - _GIVEN) + 1
        start, (y, x) = self._place(view, span, rng)
        blurred = self.spec.take == "slices"
        margin = math.ceil(self.spec.sigma * ratio * SYNTHSR_TRUNCATE) if blurred else 0
        before, after = min(margin, start), min(margin, view.shape[0] - start - span)
        _, height, width = self.patches.size
        window = view[start - before : start + span + after, y : y + height, x : x + width]
        fine = torch.from_numpy(np.array(window, dtype=np.float32)).to(self.device)
        fine = intensity(rng, self._mirrored(fine, rng), self.augmentation)
        fine = fitted(fine, (fine.shape[0], height, width))
        made = thickening(self.spec, ratio, offset, slices, before, after)
        low = made.low(fine, self.spec, ratio)
        wanted = fine[torch.from_numpy(made.inner).to(self.device)]
        return low, wanted, torch.from_numpy(made.positions).float().to(self.device)

    def _mirrored(self, fine: Tensor, rng: np.random.Generator) -> Tensor:
        # Not across the slices: the window is longer on one side, and the offset has a sign.
        if not self.augmentation.flip:
            return fine
        axes = [axis for axis in (1, 2) if rng.random() < 0.5]
        return fine.flip(axes) if axes else fine

    def _place(
        self, view: np.ndarray, span: int, rng: np.random.Generator
    ) -> tuple[int, tuple[int, int]]:
        """First thin slice and corner of a crop, where there is tissue rather than air."""
        _, height, width = self.patches.size
        room = [max(0, n - p) for n, p in zip(view.shape, (span, height, width), strict=True)]
        starts = np.stack([rng.integers(0, r + 1, _CANDIDATES) for r in room], axis=1)
        pick = 0
        if rng.random() < self.patches.foreground:
            heat = [
                float(np.abs(view[s, y : y + height : 4, x : x + width : 4]).mean()) + 1e-4
                for s, y, x in starts + np.array([span // 2, 0, 0])
            ]
            pick = int(rng.choice(_CANDIDATES, p=np.asarray(heat) / np.sum(heat)))
        start, y, x = (int(v) for v in starts[pick])
        return start, (y, x)


def some_planes(batch: Batch, count: int, rng: np.random.Generator) -> Batch:
    """The batch with ``count`` of its planes, drawn at random; with 0 as it is."""
    stack, positions = batch.input
    if not 0 < count < len(positions):
        return batch
    chosen = torch.from_numpy(np.sort(rng.choice(len(positions), count, replace=False)))
    chosen = chosen.to(positions.device)
    return Batch(StackInput(stack, positions[chosen]), batch.target[:, :, chosen])


class HeldOutStacks:
    """PSNR of a network over cubic interpolation, on fixed crops of held-out subjects."""

    def __init__(self, sampler: StackSampler, count: int) -> None:
        self.batches = [sampler.batch(step) for step in range(count)]

    @classmethod
    def of_recipe(
        cls, recipe: Recipe, volumes: Sequence[TrainingVolume], device: torch.device | str
    ) -> HeldOutStacks | None:
        """As the recipe says; None when there is nothing to validate on."""
        if not volumes or recipe.validation.patches < 1:
            return None
        size = tuple(
            wanted or usual
            for wanted, usual in zip(recipe.validation.size, recipe.patches.size, strict=True)
        )
        patches = dataclasses.replace(recipe.patches, size=size, batch=1, foreground=1.0)
        recipe = dataclasses.replace(
            recipe,
            patches=patches,
            augmentation=AugmentationSpec(),
            stack=dataclasses.replace(recipe.stack, planes=0),
        )
        return cls(StackSampler(volumes, recipe, device=device), recipe.validation.patches)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``gain_db`` over cubic interpolation and ``psnr``, dB, means over crops."""
        gains, psnrs = [], []
        for batch in self.batches:
            stack, positions = batch.input
            matrix = cubic_matrix(positions.cpu().numpy(), stack.shape[2]).to(stack)
            cubic = (matrix @ stack[0, 0].flatten(1)).reshape(batch.target.shape)
            psnrs.append(_psnr(model(batch.input), batch.target))
            gains.append(psnrs[-1] - _psnr(cubic, batch.target))
        return {"gain_db": math.fsum(gains) / len(gains), "psnr": math.fsum(psnrs) / len(psnrs)}


class GateLoss(nn.Module):
    """A loss and what the public code of SA-INR adds for the gate.

    The choice is drawn towards the places of steepest intensity (the upper fifth), both voxel by
    voxel and in their share: ``weight * |choice - edges| + (mean choice - mean edges)^2``.

    Args:
        model: its ``chosen`` is that of the last call.
        weight: of the first term. In the public code it is 1 and halved every 50 epochs.
    """

    def __init__(self, loss: nn.Module, model: nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        self.loss, self.weight = loss, weight
        self._model = [model]  # not a part of the loss

    def forward(self, output: Tensor, target: Tensor, given: StackInput | None = None) -> Tensor:
        total = self.loss(output, target)
        chosen = self._model[0].chosen
        if chosen is None:
            return total
        edges, chosen = steepest(target), chosen.transpose(1, 2).float()
        apart = (chosen - edges).abs().mean()
        return total + self.weight * apart + (chosen.mean() - edges.mean()).square()


def steepest(image: Tensor, part: float = 0.2) -> Tensor:
    """1 where the gradient of ``(b, 1, n, h, w)`` is among the largest, 0 elsewhere."""
    axes = [axis for axis in (2, 3, 4) if image.shape[axis] > 1]
    slopes = torch.gradient(image, dim=axes)
    size = torch.stack([slope.square() for slope in slopes]).sum(0)
    # Not torch.quantile, which refuses large tensors.
    place = max(1, int((1 - part) * size.numel()))
    return (size > size.flatten().kthvalue(place).values).to(image.dtype)


def _psnr(image: Tensor, reference: Tensor) -> float:
    """PSNR in dB, range 1."""
    error = float((image - reference).cpu().double().square().mean())
    return -10.0 * math.log10(max(error, 1e-12))


def check_recipe(recipe: Recipe, model: nn.Module) -> None:
    """Refuses what cannot be trained on a manifest.

    Raises:
        BadInput: a network that learns from the scan itself, or a loss that needs its input.
    """
    if not hasattr(model, "encode"):
        raise BadInput(
            f"The recipe '{recipe.name}' learns from the scan itself, not from a manifest.",
            "Use it with the command that makes thick slices fine.",
        )
    if recipe.loss.balance:
        raise BadInput(
            f"The recipe '{recipe.name}' balances its loss, which needs images of one size.",
            "Set loss.balance to false.",
        )
