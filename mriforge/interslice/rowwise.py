"""Methods that learn and work row by row: images across the slices, in either orientation (SMORE).

Zhao et al. 2021 (IEEE TMI 40:805): in-plane images are blurred and thinned along one axis as the
slices are, a 2-D network learns to undo it, and is applied to the images across the slices in both
orientations; the two results are merged.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mriforge.events import Events
from mriforge.interslice.gate import held_out_gain
from mriforge.interslice.learned import Learned, Limits
from mriforge.interslice.lines import LineInput, LineMatrices, LineSampler
from mriforge.interslice.merge import merge
from mriforge.interslice.rows import Rows
from mriforge.interslice.scan import Scan
from mriforge.losses import build_loss
from mriforge.networks.registry import NETWORKS, build
from mriforge.recipes import Recipe
from mriforge.recipes.schema import SliceSpec
from mriforge.training.loop import Trainer

_PIXELS_AT_ONCE = 1_500_000
"""Fine pixels per pass: the feature maps of the default network stay below 0.3 GB."""


class RowNetwork(nn.Module):
    """Gives a row-wise network its three inputs in one, as the training loop wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lines: LineInput) -> Tensor:
        return self.network(lines.low, lines.cubic, lines.to_fine)


class RowRefiner:
    """A trained row-wise network as a :class:`mriforge.interslice.scan.Refiner`.

    Args:
        network: ``(low, cubic, to_fine)`` to fine rows.
        spec: how the orientations are merged, and whether to average with the mirrored image.
        watch: called between passes; raises when the job has to stop.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: SliceSpec,
        *,
        device: torch.device | str = "cpu",
        watch: Callable[[], object] | None = None,
    ) -> None:
        self.network, self.spec = network.eval(), spec
        self.device, self.watch = torch.device(device), watch or (lambda: None)

    @torch.inference_mode()
    def __call__(self, stack: Tensor, rows: Rows, fine: tuple[bool, bool] = (True, True)) -> Tensor:
        matrices = LineMatrices.of(rows, self.network.pieces, self.device)
        # Images that contain axis c, one for every b; and the other way round.
        found = []
        if fine[1]:
            found.append(self._images(stack.permute(1, 0, 2), matrices).permute(1, 0, 2))
        if fine[0]:
            found.append(self._images(stack.permute(2, 0, 1), matrices).permute(1, 2, 0))
        return found[0] if len(found) == 1 else merge(found[0], found[1], self.spec.merge)

    def _images(self, images: Tensor, matrices: LineMatrices) -> Tensor:
        """``(image, low, w)`` to ``(image, high, w)``, some images at a time."""
        high, width = matrices.rows.high, images.shape[2]
        result = torch.empty(len(images), high, width)
        count = max(1, _PIXELS_AT_ONCE // (high * width))
        for start in range(0, len(images), count):
            self.watch()
            low = images[start : start + count, None].to(self.device)
            found = self._pass(low, matrices)
            if self.spec.mirror:
                found = (found + self._pass(low.flip(-1), matrices).flip(-1)) / 2
            result[start : start + count] = found[:, 0].cpu()
        return result

    def _pass(self, low: Tensor, matrices: LineMatrices) -> Tensor:
        return self.network(low, matrices.cubic @ low, matrices.to_fine).float()


def make_network(recipe: Recipe, ratio: float) -> nn.Module:
    """The recipe's network for slices ``ratio`` fine samples apart."""
    options: dict[str, Any] = dict(recipe.network.options)
    known = inspect.signature(NETWORKS[recipe.network.name].builder).parameters
    if "pieces" in known and "pieces" not in options:
        options["pieces"] = math.ceil(ratio - 1e-6)
    return build(recipe.network.name, **options)


def learn(scan: Scan, recipe: Recipe, limits: Limits, events: Events) -> Learned:
    """Trains the recipe's network on the scan's own pixels.

    See :data:`mriforge.interslice.learned.Learn`.
    """
    torch.manual_seed(recipe.seed)
    network = make_network(recipe, scan.rows.ratio)
    model = RowNetwork(network).to(limits.device)
    sampler = LineSampler(
        scan,
        recipe.slices,
        batch=recipe.patches.batch,
        pieces=network.pieces,
        seed=recipe.seed,
        device=limits.device,
    )

    def refiner(trained: nn.Module) -> RowRefiner:
        return RowRefiner(
            trained.network, recipe.slices, device=limits.device, watch=events.check_cancelled
        )

    trainer = Trainer(
        model,
        sampler,
        build_loss(recipe.loss).to(limits.device),
        optimiser=recipe.optimiser,
        schedule=recipe.schedule,
        training=limits.training(recipe.training),
        validate=lambda trained: {"gain_db": held_out_gain(scan, refiner(trained))},
        checkpoint=limits.checkpoint,
        resume=limits.resume,
        identity={"recipe": recipe.as_dict(), "shape": list(scan.frames.shape)},
        device=limits.device,
        events=events,
    )
    result = trainer.run()
    model.load_state_dict(result.state)
    figures = {
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "stopped": result.stopped,
        "parameters": sum(p.numel() for p in network.parameters()),
        "history": result.history,
    }
    return Learned(refiner(model.to(limits.device)), figures, network)
