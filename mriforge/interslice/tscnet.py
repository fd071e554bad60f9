"""TSCNet (Lu et al. 2021, MICCAI; arXiv 2106.15395): slices interpolated between slices.

A network makes the slice in the middle between two others. First it learns along the in-plane axes,
where the slice in the middle is known; then, across the real slices, in a cycle: the slice that
is made of two slices that were made has to be the real one between them, and a discriminator has
to take it for real. Halving again and again gives 2, 4, 8, ... times as many slices.

The authors have published no code; what the abstract leaves open follows a public, unofficial
implementation. Thick slices stay as they are: unlike the other methods this one does not sharpen
across them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.interslice.cycle import CycleStage
from mriforge.interslice.learned import Learned, Limits
from mriforge.interslice.neighbours import NeighbourSampler
from mriforge.interslice.rows import Rows, along_first
from mriforge.interslice.scan import Scan
from mriforge.interslice.stages import checkpoint_of, figures_of, first_budget, second_budget
from mriforge.losses import build_loss
from mriforge.networks.rdn import SliceDiscriminator
from mriforge.networks.registry import build
from mriforge.physics.interpolation import cubic_matrix
from mriforge.recipes import Recipe
from mriforge.training.loop import Trainer, TrainResult
from mriforge.training.patches import Batch

_STRIP_PIXELS = 160_000
_ALMOST = 1e-6
_TRIPLET = 3


class MiddleSampler(NeighbourSampler):
    """Of three neighbours the outer ones as ``(batch, 2, h, w)`` and the middle one as target."""

    def batch(self, step: int) -> Batch:
        triplets = self.neighbours(step)
        return Batch(triplets[:, ::2], triplets[:, 1:2])


@dataclass(frozen=True)
class SliceHalving:
    """A :class:`~mriforge.interslice.scan.Refiner` that halves the distance of the slices.

    As often as it takes to be as fine as wanted; cubic interpolation then looks up what lies at
    the wanted positions, which are on the made slices only for some ratios and offsets.
    """

    network: nn.Module
    device: torch.device
    events: Events

    def __call__(self, stack: Tensor, rows: Rows, fine: tuple[bool, bool] = (True, True)) -> Tensor:
        """``(low, b, c)`` to ``(high, b, c)``."""
        levels = max(1, math.ceil(math.log2(rows.ratio) - _ALMOST))
        dense = stack.float()
        self.network.eval()
        with torch.no_grad():
            for _ in range(levels):
                dense = self._halved(dense)
        positions = rows.positions * 2**levels
        return along_first(cubic_matrix(positions, len(dense)), dense)

    def _halved(self, stack: Tensor) -> Tensor:
        result = stack.new_empty((2 * len(stack) - 1, *stack.shape[1:]))
        result[::2] = stack
        for number in range(len(stack) - 1):
            self.events.check_cancelled()
            result[2 * number + 1] = self._middle(stack[number : number + 2])
        return result

    def _middle(self, pair: Tensor) -> Tensor:
        """The slice between two, in strips that bound the memory."""
        rows, columns = pair.shape[1:]
        halo = self.network.halo
        height = max(1, _STRIP_PIXELS // columns)
        made = []
        for start in range(0, rows, height):
            first, last = max(0, start - halo), min(rows, start + height + halo)
            strip = self.network(pair[None, :, first:last].to(self.device))[0, 0]
            made.append(strip[start - first : start - first + height].cpu())
        return torch.cat(made)


def learn(scan: Scan, recipe: Recipe, limits: Limits, events: Events) -> Learned:
    """Both stages on the scan itself.

    Raises:
        BadInput: the scan is too small in plane.
        Cancelled: after a checkpoint was written.
    """
    torch.manual_seed(recipe.seed)
    network = build(recipe.network.name, **recipe.network.options).to(limits.device)
    share = recipe.stages.first
    first = _first_stage(network, scan, recipe, limits, events.part(0.0, share))
    network.load_state_dict(first.state)
    second = _second_stage(network, scan, recipe, limits, first, events.part(share, 1.0))
    network.eval()
    refiner = SliceHalving(network, limits.device, events)
    return Learned(refiner, figures_of(network, first, second), network)


def _first_stage(
    network: nn.Module, scan: Scan, recipe: Recipe, limits: Limits, events: Events
) -> TrainResult:
    """Slices in the middle along the in-plane axes, where they are known."""
    sampler = _sampler(scan, (1, 2), recipe, limits, seed=recipe.seed)
    if not sampler.views:
        raise BadInput(
            "The image is too small in plane to learn from.",
            f"At least {_TRIPLET} pixels along an axis are needed.",
        )
    return Trainer(
        network,
        sampler,
        build_loss(recipe.loss).to(limits.device),
        optimiser=recipe.optimiser,
        schedule=recipe.schedule,
        training=first_budget(recipe, limits),
        checkpoint=checkpoint_of(limits, 1),
        resume=limits.resume,
        identity={"recipe": recipe.as_dict(), "shape": list(scan.frames.shape), "stage": 1},
        device=limits.device,
        events=events,
    ).run()


def _second_stage(
    network: nn.Module,
    scan: Scan,
    recipe: Recipe,
    limits: Limits,
    first: TrainResult,
    events: Events,
) -> TrainResult | None:
    """The cycle; None where there is no budget or there are no three slices for it."""
    training = second_budget(recipe, limits, first.seconds)
    sampler = _sampler(scan, (0,), recipe, limits, seed=recipe.seed + 1)
    if not sampler.views:
        events.log("Too few slices lie together for the second stage of TSCNet: it is left out.")
        return None
    if training is None:
        return None
    size = tuple(min(p, n) for p, n in zip(sampler.size, sampler.views[0].shape[2:], strict=True))
    # Published: both of width 64. A narrow network is no match for a wide judge.
    discriminator = SliceDiscriminator(size, network.width).to(limits.device)
    return CycleStage(network, discriminator, sampler, recipe, training, limits, events).run()


def _sampler(
    scan: Scan, axes: tuple[int, ...], recipe: Recipe, limits: Limits, seed: int
) -> MiddleSampler:
    patches = recipe.patches
    return MiddleSampler(
        scan,
        axes,
        _TRIPLET,
        patches.size[1:],
        batch=patches.batch,
        seed=seed,
        flip=recipe.augmentation.flip,
        device=limits.device,
    )
