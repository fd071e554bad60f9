"""Pairs for networks that double rows and columns: low-resolution slices, and sharp ones.

Slices are cut to multiples of four, so that low-resolution sample ``j`` lies on sharp pixel ``2 j``
(see :mod:`mriforge.physics.downsampling`); a patch of 48 x 48 pixels belongs to one of 96 x 96.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.physics.downsampling import (
    DownsamplingKernel,
    KernelDownsampling,
    gaussian_kernel,
)
from mriforge.physics.fermi import FermiCrop
from mriforge.physics.interpolation import cubic_matrix
from mriforge.physics.operator import LinearOperator
from mriforge.physics.separable import apply_all
from mriforge.recipes.schema import AugmentationSpec, DegradationSpec, PatchSpec, Recipe
from mriforge.training.augment import uniform
from mriforge.training.data import TrainingVolume
from mriforge.training.patches import Batch, SlabSampler
from mriforge.volume import Grid

FACTOR = 2
_TRIES = 4


def halving(degradation: DegradationSpec, grid: Grid) -> LinearOperator | None:
    """The operator of a recipe for sharp images on ``grid``; None where it is a network.

    Raises:
        BadInput: no kernel is given, or one of another ratio.
    """
    if degradation.operator == "fermi":
        n = grid.stored_shape
        return FermiCrop(grid, (n[0] // FACTOR, n[1] // FACTOR, n[2]))
    if degradation.operator == "gaussian":
        return KernelDownsampling(grid, gaussian_kernel(degradation.sigma))
    if degradation.operator == "kernel":
        return KernelDownsampling(grid, kernel_of(degradation))
    return None


def kernel_of(degradation: DegradationSpec) -> DownsamplingKernel:
    """The learned kernel of a recipe.

    Raises:
        BadInput: there is none, or it is one of another ratio.
    """
    if not degradation.kernel:
        raise BadInput(
            "The recipe learns from images made by a scanner's kernel, and none is given.",
            "Learn one with 'mriforge kernel' and give it with --kernel FILE.",
        )
    kernel = DownsamplingKernel.from_tree(degradation.kernel)
    if kernel.ratio != (FACTOR, FACTOR):
        raise BadInput(
            f"The kernel is one of the ratio {list(kernel.ratio)}, the network doubles rows and "
            "columns.",
            "Learn a kernel in plane.",
        )
    return kernel


class Halving:
    """Makes low-resolution slices as a recipe says; operators are kept for every size.

    Raises:
        BadInput: as :func:`halving`; no operator that halves.
    """

    def __init__(self, degradation: DegradationSpec, device: torch.device | str = "cpu") -> None:
        self.spec, self.device = degradation, torch.device(device)
        self._operators: dict[tuple[int, ...], LinearOperator] = {}
        self._network: nn.Module | None = None
        if degradation.operator == "network":
            self._network = self._load()
        elif halving(degradation, Grid((1, 64, 64))) is None:
            raise BadInput(
                f"The degradation '{degradation.operator}' does not halve rows and columns.",
                "Use kernel, gaussian, fermi or network.",
            )

    def _load(self) -> nn.Module:
        from mriforge.models.store import load_model

        if not self.spec.network:
            raise BadInput(
                "The recipe learns from images made by a downsampling network, and none is named.",
                "Give its folder as degradation.network.",
            )
        model, card = load_model(self.spec.network)
        if card.task != "downsampling":
            raise BadInput(f"The model '{self.spec.network}' makes no low-resolution images.")
        return model.eval().requires_grad_(False).to(self.device)

    def __call__(
        self, sharp: Tensor, noise: float = 0.0, rng: np.random.Generator | None = None
    ) -> Tensor:
        """``(d, 2 h, 2 w)`` to ``(d, h, w)``.

        Args:
            noise: standard deviation of complex noise in the low-resolution image.
        """
        if self._network is not None:
            with torch.no_grad():
                low = self._network(sharp[None, None])[0, 0]
        else:
            low = self._operator(tuple(sharp.shape)).A_complex(sharp)
        if noise > 0 and rng is not None:
            parts = rng.standard_normal((2, *low.shape), dtype=np.float32) * np.float32(noise)
            low = low + torch.complex(*torch.from_numpy(parts).to(low.device))
        if low.is_complex():
            low = low.abs() if self.spec.magnitude else low.real
        return low

    def _operator(self, shape: tuple[int, ...]) -> LinearOperator:
        # In-plane operators do not ask how many slices there are.
        key = shape[1:]
        if key not in self._operators:
            self._operators[key] = halving(self.spec, Grid(shape))
        return self._operators[key]


class PairSampler(SlabSampler):
    """Patches of low-resolution slices (``patches.size``) and twice as large sharp ones.

    Raises:
        BadInput: a volume is smaller than a patch, or the recipe's degradation does not halve.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        recipe: Recipe,
        *,
        patches: PatchSpec | None = None,
        augmentation: AugmentationSpec | None = None,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(
            volumes,
            patches or recipe.patches,
            recipe.degradation,
            recipe.input,
            augmentation or recipe.augmentation,
            seed=recipe.seed,
            rank=rank,
            device=device,
        )
        self.make = Halving(recipe.degradation, device)
        for volume in self.volumes:
            for axes in volume.axes:
                self._check(volume, volume.view(0, axes).shape)

    def _check(self, volume: TrainingVolume, shape: tuple[int, ...]) -> None:
        smallest = [n - n % (2 * FACTOR) for n in shape[1:]]
        # Turned by a quarter, rows are columns.
        if min(smallest) < FACTOR * max(self.patches.size[1:]):
            height, width = shape[1:]
            raise BadInput(
                f"Slices of {volume.name} have {width} x {height} pixels; the recipe needs at "
                f"least {FACTOR * max(self.patches.size[1:])} along each side.",
                "Leave it out of the manifest, or make patches.size smaller.",
            )

    def slab(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Low-resolution slices ``(d, h, w)`` and their sharp originals ``(d, 2 h, 2 w)``."""
        sharp = self.sharp_slab(rng)
        height, width = (n - n % (2 * FACTOR) for n in sharp.shape[1:])
        sharp = sharp[:, :height, :width].contiguous()
        noise = 0.0
        if rng.random() < self.degradation.noise_probability:
            noise = uniform(rng, self.degradation.noise)
        return self.make(sharp, noise, rng), sharp

    def batch(self, step: int) -> Batch:
        """Batch number ``step``: ``(b, 1, d, h, w)`` and ``(b, 1, d, 2 h, 2 w)``."""
        rng = np.random.default_rng([self.seed, self.rank, step])
        wanted, pairs = self.patches.batch, []
        while len(pairs) < wanted:
            low, sharp = self.slab(rng)
            for _ in range(min(self.patches.per_slab, wanted - len(pairs))):
                pairs.append(cut_pair(rng, low, sharp, self.patches))
        low, sharp = (torch.stack(part)[:, None] for part in zip(*pairs, strict=True))
        return Batch(low, sharp)


def cut_pair(
    rng: np.random.Generator, low: Tensor, sharp: Tensor, patches: PatchSpec
) -> tuple[Tensor, Tensor]:
    """A patch of ``low`` and what it is of ``sharp``, where there is tissue rather than air."""
    height, width = patches.size[1:]
    starts = np.stack(
        [rng.integers(0, n - p + 1, _TRIES) for n, p in zip(low.shape[1:], (height, width),
                                                           strict=True)], 1)  # fmt: skip
    pick = 0
    if rng.random() < patches.foreground:
        heat = [
            float(low[:, y : y + height : 4, x : x + width : 4].abs().mean()) for y, x in starts
        ]
        weight = np.asarray(heat) + 1e-4
        pick = int(rng.choice(_TRIES, p=weight / weight.sum()))
    y, x = (int(v) for v in starts[pick])
    twice = [slice(FACTOR * s, FACTOR * (s + n)) for s, n in ((y, height), (x, width))]
    return low[:, y : y + height, x : x + width], sharp[:, twice[0], twice[1]]


def cubic(low: Tensor) -> Tensor:
    """``(..., h, w)`` to ``(..., 2 h, 2 w)`` by cubic splines, samples where they lie.

    ``h`` and ``w`` are those of whole slices of even size, or of patches of them.
    """
    # Sample j of an even number lies on pixel 2 j, in a patch as well.
    matrices = {}
    for axis in (-1, -2):
        n = low.shape[axis]
        matrices[axis] = cubic_matrix(np.arange(FACTOR * n) / FACTOR, n)
    return apply_all(matrices, low)


class HeldOutPairs:
    """PSNR of a network over cubic interpolation, on fixed patches of held-out subjects."""

    def __init__(self, sampler: PairSampler, count: int) -> None:
        self.batches = [sampler.batch(step) for step in range(count)]

    @classmethod
    def of_recipe(
        cls, recipe: Recipe, volumes: Sequence[TrainingVolume], device: torch.device | str
    ) -> HeldOutPairs | None:
        """As the recipe says; None when there is nothing to validate on."""
        if not volumes or recipe.validation.patches < 1:
            return None
        size = tuple(
            wanted or usual
            for wanted, usual in zip(recipe.validation.size, recipe.patches.size, strict=True)
        )
        patches = PatchSpec("slab", size, batch=1, per_slab=1, foreground=1.0)
        sampler = PairSampler(
            volumes, recipe, patches=patches, augmentation=AugmentationSpec(), device=device
        )
        return cls(sampler, recipe.validation.patches)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``gain_db`` over cubic interpolation and ``psnr``, dB, means over patches."""
        gains, values = [], []
        for batch in self.batches:
            values.append(_psnr(model(batch.input), batch.target))
            gains.append(values[-1] - _psnr(cubic(batch.input), batch.target))
        return {
            "gain_db": math.fsum(gains) / len(gains),
            "psnr": math.fsum(values) / len(values),
        }


def _psnr(image: Tensor, reference: Tensor) -> float:
    error = float((image - reference).cpu().double().square().mean())
    return -10.0 * math.log10(max(error, 1e-12))


def data_of(
    recipe: Recipe, data: Any, rank: int, device: torch.device | str
) -> tuple[PairSampler, HeldOutPairs | None, str]:
    """Where batches come from, how the network is scored, and by what."""
    sampler = PairSampler(data.train, recipe, rank=rank, device=device)
    return sampler, HeldOutPairs.of_recipe(recipe, data.validation, device), "gain_db"
