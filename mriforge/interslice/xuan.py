"""After Xuan et al. 2021 (Pattern Recognition 120:108103; arXiv 2003.12627): learn from synthesis.

In two stages, as the abstract says: a variational auto-encoder synthesises thin slices between the
thick ones; they may be wrong as anatomy, so they are not used as a result. Made thick as the
scan's are, they are examples for a super-resolution network, which is applied to the scan.

Nothing but the abstract is public. The networks, the losses, and that a slice between two is
decoded from a mixture of their mean latents, are proposals of ours.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.interslice.gate import held_out_gain
from mriforge.interslice.learned import Learned, Limits
from mriforge.interslice.neighbours import NeighbourSampler
from mriforge.interslice.rows import along_first
from mriforge.interslice.rowwise import RowRefiner
from mriforge.interslice.scan import Scan
from mriforge.interslice.stages import checkpoint_of, figures_of, first_budget, second_budget
from mriforge.losses import build_loss
from mriforge.networks.registry import build
from mriforge.networks.vae2d import Vae2d
from mriforge.recipes import Recipe
from mriforge.recipes.schema import PatchSpec
from mriforge.training.loop import Trainer, TrainResult
from mriforge.training.patches import Batch, cut
from mriforge.volume import some_of

_AUTO_ENCODER = "vae2d"
_SYNTHESISED_VOXELS = 40_000_000


class AutoEncoding(nn.Module):
    """What the auto-encoder minimises, as a module whose output is the loss.

    Shapes:
        pairs of slices ``(batch, 2, h, w)`` in, a scalar out.
    """

    def __init__(self, network: Vae2d, loss: nn.Module, divergence: float) -> None:
        super().__init__()
        self.network, self.loss, self.divergence = network, loss, divergence

    def forward(self, pairs: Tensor) -> Tensor:
        slices = pairs.flatten(0, 1)[:, None]
        again, divergence = self.network(slices)
        return self.loss(again, slices) + self.divergence * divergence


class OnInterpolated(nn.Module):
    """A row-wise network that looks at interpolated rows only, as one of a single argument."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, cubic: Tensor) -> Tensor:
        return self.network(None, cubic)


class SynthesisedSampler:
    """Patches of synthesised stacks: interpolated from thick slices, and as they were before.

    Args:
        stacks: synthesised ``(fine, b, c)`` and the same after it was made thick and interpolated.
        patches: ``(1, fine rows, columns)``.
    """

    epoch_steps: int | None = None

    def __init__(
        self,
        stacks: list[tuple[Tensor, Tensor]],
        patches: PatchSpec,
        *,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.patches, self.seed, self.device = patches, seed, torch.device(device)
        # Lines and columns last; either in-plane axis gives the columns.
        self.views = [
            (cubic.movedim(axis, 0), thin.movedim(axis, 0))
            for thin, cubic in stacks
            for axis in (1, 2)
        ]
        counts = np.array([thin.numel() for _, thin in self.views], dtype=float)
        self.chance = counts / counts.sum()

    def batch(self, step: int) -> Batch:
        """Batch number ``step``: ``(batch, 1, rows, columns)``."""
        rng = np.random.default_rng([self.seed, step])
        pairs = []
        for _ in range(self.patches.batch):
            cubic, thin = self.views[int(rng.choice(len(self.views), p=self.chance))]
            pair = torch.stack(cut(rng, cubic, thin, self.patches))
            axes = [axis for axis in (2, 3) if rng.random() < 0.5]
            pairs.append(pair.flip(axes) if axes else pair)
        stacked = torch.stack(pairs, dim=1).to(self.device)
        return Batch(stacked[0], stacked[1])


def learn(scan: Scan, recipe: Recipe, limits: Limits, events: Events) -> Learned:
    """Both stages on the scan itself.

    Raises:
        BadInput: too few slices lie together.
        Cancelled: after a checkpoint was written.
    """
    torch.manual_seed(recipe.seed)
    share = recipe.stages.first
    encoder = build(_AUTO_ENCODER).to(limits.device)
    network = build(recipe.network.name, **recipe.network.options).to(limits.device)
    first = _first_stage(encoder, scan, recipe, limits, events.part(0.0, share))
    before = time.monotonic()
    stacks = synthesised(encoder, scan, limits.device, events)
    used = first.seconds + time.monotonic() - before
    second = _second_stage(network, stacks, scan, recipe, limits, used, events.part(share, 1.0))
    network.eval()
    refiner = _refiner(network, recipe, limits, events)
    return Learned(refiner, figures_of(network, first, second), network)


def synthesised(
    encoder: Vae2d, scan: Scan, device: torch.device, events: Events
) -> list[tuple[Tensor, Tensor]]:
    """Thin stacks ``(fine, b, c)`` between the slices to learn from, each with its degraded self.

    Raises:
        BadInput: between too few slices there is nothing to make thick.
    """
    blocks = [block for block in scan.learning() if block.stop - block.start >= 2]
    sizes = [int((b.stop - b.start - 1) * scan.rows.ratio + 1e-6) + 1 for b in blocks]
    usable = [(b, n) for b, n in zip(blocks, sizes, strict=True) if n > 1 + scan.rows.ratio]
    if not usable:
        raise BadInput(
            "Too few slices lie together to synthesise from.",
            "Choose another method, or a scan with more slices.",
        )
    plane = scan.frames[0, 0].numel()
    frames = max(1, int(_SYNTHESISED_VOXELS / (plane * sum(size for _, size in usable))))
    chosen = some_of(len(scan.frames), frames)
    stacks = []
    for frame in chosen:
        for block, size in usable:
            thick = scan.frames[int(frame), block]
            thin = _between(encoder, thick, np.arange(size) / scan.rows.ratio, device, events)
            rows = scan.rows.made_thick(size)
            stacks.append((thin, along_first(rows.cubic() @ rows.acquire(), thin)))
    return stacks


def _between(
    encoder: Vae2d, thick: Tensor, positions: np.ndarray, device: torch.device, events: Events
) -> Tensor:
    """What the auto-encoder puts at ``positions``, in slices, of ``(slices, b, c)``."""
    result = thick.new_empty((len(positions), *thick.shape[1:]))
    first = np.minimum(positions.astype(int), len(thick) - 2)
    weight = torch.from_numpy(positions - first).float().to(device)
    encoder.eval()
    with torch.no_grad():
        for number, below in enumerate(first):
            events.check_cancelled()
            pair = thick[below : below + 2, None].to(device)
            made = encoder.between(pair[:1], pair[1:], weight[number])
            result[number] = made[0, 0].cpu()
    return result


def _first_stage(
    encoder: Vae2d, scan: Scan, recipe: Recipe, limits: Limits, events: Events
) -> TrainResult:
    """The auto-encoder on pairs of slices."""
    patches = recipe.patches
    sampler = NeighbourSampler(
        scan,
        (0,),
        2,
        patches.size[1:],
        batch=patches.batch,
        seed=recipe.seed,
        flip=recipe.augmentation.flip,
        device=limits.device,
    )
    if not sampler.views:
        raise BadInput(
            "No two slices lie together to learn from.", "Choose a scan with more slices."
        )
    loss = build_loss(recipe.loss).to(limits.device)
    model = AutoEncoding(encoder, loss, recipe.stages.divergence)
    result = Trainer(
        model,
        sampler,
        lambda output, target, given: output,
        training=first_budget(recipe, limits),
        **_common(recipe, limits, scan, 1, events),
    ).run()
    model.load_state_dict(result.state)
    return result


def _second_stage(
    network: nn.Module,
    stacks: list[tuple[Tensor, Tensor]],
    scan: Scan,
    recipe: Recipe,
    limits: Limits,
    used_seconds: float,
    events: Events,
) -> TrainResult | None:
    """Super-resolution learned from what was synthesised."""
    training = second_budget(recipe, limits, used_seconds)
    if training is None:
        return None
    spec = recipe.slices
    patches = PatchSpec(
        size=(1, round(spec.slices * scan.rows.ratio), spec.columns),
        batch=recipe.patches.batch,
        foreground=recipe.patches.foreground,
    )
    sampler = SynthesisedSampler(stacks, patches, seed=recipe.seed + 1, device=limits.device)
    model = OnInterpolated(network)
    result = Trainer(
        model,
        sampler,
        build_loss(recipe.loss).to(limits.device),
        training=training,
        validate=lambda trained: {
            "gain_db": held_out_gain(scan, _refiner(trained.network, recipe, limits, events))
        },
        **_common(recipe, limits, scan, 2, events),
    ).run()
    model.load_state_dict(result.state)
    return result


def _refiner(network: nn.Module, recipe: Recipe, limits: Limits, events: Events) -> RowRefiner:
    return RowRefiner(network, recipe.slices, device=limits.device, watch=events.check_cancelled)


def _common(
    recipe: Recipe, limits: Limits, scan: Scan, stage: int, events: Events
) -> dict[str, Any]:
    """What the trainers of both stages are given."""
    shape = list(scan.frames.shape)
    return {
        "optimiser": recipe.optimiser,
        "schedule": recipe.schedule,
        "checkpoint": checkpoint_of(limits, stage),
        "resume": limits.resume,
        "identity": {"recipe": recipe.as_dict(), "shape": shape, "stage": stage},
        "device": limits.device,
        "events": events,
    }
