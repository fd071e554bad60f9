"""SA-INR fine-tuned on the scan itself: the third stage of Wang et al. 2024.

The scan's pixels are made thick along one in-plane axis as its slices are across; the network
learns to undo it on patches, beginning with a model that was trained on video and thin slices
where there is one. Then it is asked for all positions between the real slices.

Published coordinates put the first and the last slice on the ends of the volume. Here positions
are the true ones; within the stack both are the same, and beyond its ends the nearest slice counts.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.device import free_memory, is_out_of_memory, release
from mriforge.errors import BadInput, OutOfMemory
from mriforge.events import Events
from mriforge.interslice.learned import Learned, Limits
from mriforge.interslice.rows import Rows
from mriforge.interslice.scan import Pseudo, Scan
from mriforge.losses import build_loss
from mriforge.models.store import ModelFolder, find_model, installed_models, load_model
from mriforge.networks.lora import add_lora, merge_lora
from mriforge.networks.registry import NETWORKS, build
from mriforge.networks.sa_inr import POINTS, SAINR
from mriforge.recipes import Recipe
from mriforge.recipes.schema import FinetuneSpec, OptimiserSpec, ScheduleSpec
from mriforge.superres.tiling import Shape, Tile, choose_core, tiles
from mriforge.training.interslice import GateLoss, StackInput, some_planes
from mriforge.training.loop import Trainer
from mriforge.training.patches import Batch
from mriforge.volume import some_of

_FRAMES = 8
_FEWEST_THICK = 2
_CANDIDATES = 4
_VALIDATE_NEVER = 2**62
_MEMORY = 0.4
_MOST_MEMORY = 4 * 2**30
_TRIES = 4


def learn(scan: Scan, recipe: Recipe, limits: Limits, events: Events) -> Learned:
    """Fine-tunes on the scan's own pixels.

    Args:
        scan: only its :meth:`Scan.learning` slices are looked at.
        recipe: its ``finetune`` blocks say how: ``default``, or ``published`` where the limits ask
            for it.
        limits: with ``start`` the model to begin from; otherwise an installed model of the
            recipe's network; otherwise random weights, and the log says so.

    Raises:
        BadInput: the pixels are too few to be made as thick as the slices, or ``start`` is a model
            of another network.
        Cancelled: after a checkpoint, where one is wanted.
    """
    model, origin = starting_model(recipe, limits, events)
    block = _block(recipe, limits)
    tune = block.tune if origin else "all"
    trained = prepare_tuning(model, tune, block.rank)
    model = model.to(limits.device)
    sampler = PseudoSampler(
        scan, block, seed=recipe.seed, planes=recipe.stack.planes, device=limits.device
    )
    loss: nn.Module = build_loss(recipe.loss)
    result = Trainer(
        model,
        sampler,
        GateLoss(loss, model) if model.gate is not None else loss,
        optimiser=OptimiserSpec(lr=block.lr, clip_norm=recipe.optimiser.clip_norm),
        schedule=ScheduleSpec(block.schedule, warmup=0.02, final=0.02),
        training=dataclasses.replace(
            block.training(recipe.training), ema=0.0, validate_every=_VALIDATE_NEVER
        ),
        checkpoint=limits.checkpoint,
        resume=limits.resume,
        identity={"recipe": recipe.as_dict(), "shape": list(scan.frames.shape), "start": origin},
        device=limits.device,
        events=events,
    ).run()
    model.load_state_dict(result.state)
    if tune == "lora":
        merge_lora(model)
    network = model.requires_grad_(True).eval()
    figures: dict[str, Any] = {
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "stopped": result.stopped,
        "start": origin,
        "tuned": tune,
        "trained_parameters": trained,
        "patches": block.count,
    }
    return Learned(StackRefiner(network, limits.device, events), figures, network)


def starting_model(recipe: Recipe, limits: Limits, events: Events) -> tuple[SAINR, str]:
    """The network to begin with, on the CPU, and where it is from (empty: random weights)."""
    folder: ModelFolder | None = None
    if limits.start is not None:
        folder = find_model(limits.start)
        _check_network(folder, str(limits.start))
    else:
        wanted = (recipe.network.name, recipe.network.options)
        # Of several the one that has seen thin slices, that is not of video alone, counts.
        found = [
            model
            for model in installed_models()
            if (model.card.network, model.card.network_options) == wanted
        ]
        found.sort(key=lambda model: model.card.recipe != recipe.name)
        folder = found[0] if found else None
    if folder is None:
        torch.manual_seed(recipe.seed)
        events.log(
            f"No trained model of the network '{recipe.network.name}' is installed: it learns "
            "from this scan alone. Published results begin with video and thin slices."
        )
        return build(recipe.network.name, **recipe.network.options), ""
    model, card = load_model(folder)
    events.log(f"Beginning with the model '{folder.path.name}'.")
    return copy.deepcopy(model), card.sha256


def _check_network(folder: ModelFolder, name: str) -> None:
    network = NETWORKS.get(folder.card.network)
    if network is None or network.builder is not SAINR:
        raise BadInput(
            f"The model {name} is a '{folder.card.network}', not an SA-INR.",
            "Give a model that was trained with the recipe sa_inr or sa_inr_small.",
        )


def _block(recipe: Recipe, limits: Limits) -> FinetuneSpec:
    """The recipe's fine-tuning with these limits."""
    for name in ("published", "default") if limits.published else ("default", "published"):
        if name in recipe.finetune:
            block = recipe.finetune[name]
            break
    else:
        raise BadInput(
            f"The recipe '{recipe.name}' says nothing about fine-tuning.",
            "Add a table [finetune.default] to it.",
        )
    if limits.steps:
        return dataclasses.replace(
            block, steps=limits.steps, epochs=0, max_minutes=limits.max_minutes or 0.0
        )
    return dataclasses.replace(block, max_minutes=limits.max_minutes or block.max_minutes)


def prepare_tuning(model: SAINR, tune: str, rank: int) -> int:
    """Freezes what is not trained; returns the number of parameters that are.

    Args:
        tune: ``all`` (published as the best); ``partial``: the encoder stays as it is (which
            subset the paper froze is not stated); ``lora``: low-rank adaptation of every layer.
    """
    model.requires_grad_(True)
    if tune == "partial":
        model.encoder.requires_grad_(False)
    elif tune == "lora":
        return add_lora(model, rank)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class PseudoSampler:
    """Patches of stacks made of the scan's pixels; a batch is a function of its number alone.

    Args:
        block: ``size`` is thick slices, pixels, and real slices across, as many as there are;
            with ``count`` that many patches are used again and again.
        planes: fine samples that are asked for in one step, drawn at random; 0: all.

    Raises:
        BadInput: no axis has pixels enough for two slices as thick as the scan's.
    """

    def __init__(
        self,
        scan: Scan,
        block: FinetuneSpec,
        *,
        seed: int,
        planes: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.planes = planes
        self.block, self.seed, self.device = block, seed, torch.device(device)
        self.pseudos = list(_pseudos(scan))
        if not self.pseudos:
            size = "x".join(map(str, scan.frames.shape[2:]))
            raise BadInput(
                f"Slices of {size} pixels are too small to learn from at "
                f"{scan.rows.ratio:.3g} times their distance.",
                "Choose cubic interpolation.",
            )
        weight = np.array([p.truth.numel() for p in self.pseudos], dtype=float)
        self.share = weight / weight.sum()
        self.epoch_steps = math.ceil(block.count / block.batch) if block.count else None

    def batch(self, step: int) -> Batch:
        """Batch number ``step``: patches of one stack, at the same thick slices."""
        number = step % self.epoch_steps if self.epoch_steps else step
        rng = np.random.default_rng([self.seed, number])
        pseudo = self.pseudos[int(rng.choice(len(self.pseudos), p=self.share))]
        thick = min(self.block.size[0], pseudo.rows.low)
        first = int(rng.integers(pseudo.rows.low - thick + 1))
        inner = _inside(pseudo.rows, first, thick)
        positions = torch.from_numpy(pseudo.rows.positions[inner] - first).float()
        crops = [self._crop(pseudo, first, thick, inner, rng) for _ in range(self.block.batch)]
        low, fine = (
            torch.stack(part)[:, None].to(self.device) for part in zip(*crops, strict=True)
        )
        batch = Batch(StackInput(low, positions.to(self.device)), fine)
        return some_planes(batch, self.planes, rng)

    def _crop(
        self, pseudo: Pseudo, first: int, thick: int, inner: slice, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        size = [min(n, p) for n, p in zip(pseudo.truth.shape[1:], self.block.size[1:], strict=True)]
        room = [n - p + 1 for n, p in zip(pseudo.truth.shape[1:], size, strict=True)]
        corners = np.stack([rng.integers(0, r, _CANDIDATES) for r in room], axis=1)
        windows = [
            (slice(int(y), int(y) + size[0]), slice(int(x), int(x) + size[1])) for y, x in corners
        ]
        pick = 0
        if rng.random() < self.block.foreground:
            low = pseudo.stack[first : first + thick]
            heat = np.array([float(low[:, w[0], w[1]].abs().mean()) for w in windows]) + 1e-4
            pick = int(rng.choice(_CANDIDATES, p=heat / heat.sum()))
        window = windows[pick]
        low = pseudo.stack[first : first + thick, window[0], window[1]]
        fine = pseudo.truth[inner, window[0], window[1]]
        axes = [axis for axis in (1, 2) if self.block.augment and rng.random() < 0.5]
        return (low.flip(axes), fine.flip(axes)) if axes else (low, fine)


def _pseudos(scan: Scan) -> list[Pseudo]:
    """Every block of learning slices of some frames, made thick along either axis."""
    frames = some_of(len(scan.frames), _FRAMES)
    found = []
    for axis in (1, 2):
        if scan.frames.shape[1 + axis] - 1 < (_FEWEST_THICK - 1) * scan.rows.ratio + 1:
            continue
        for frame in frames:
            found += [scan.pseudo(int(frame), block, axis) for block in scan.learning()]
    return found


def _inside(rows: Rows, first: int, thick: int) -> slice:
    """The fine samples of some thick slices; at the ends of the line also those beyond them."""
    start = 0 if first == 0 else math.ceil(rows.centres[first] - 1e-6)
    last = first + thick - 1
    stop = rows.high if last == rows.low - 1 else math.floor(rows.centres[last] + 1e-6) + 1
    return slice(start, stop)


class StackRefiner:
    """A trained network applied to stacks, tile by tile, in bounded memory.

    Tiles have the margin that the network sees, so that they join without a seam. Where memory
    runs out tiles get smaller, and at last the processor takes over.
    """

    def __init__(
        self,
        network: SAINR,
        device: torch.device | str = "cpu",
        events: Events | None = None,
        memory: int | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.events, self.memory = events or Events(), memory

    def __call__(self, stack: Tensor, rows: Rows, fine: tuple[bool, bool] = (True, True)) -> Tensor:
        """``(low, b, c)`` to ``(high, b, c)``, on the CPU."""
        # Rounded in double precision: what lies on a slice must not fall below it.
        near = rows.positions.round()
        exact = np.where(np.abs(rows.positions - near) < 1e-6, near, rows.positions)
        positions = torch.from_numpy(exact).float()
        memory = self.memory or min(_MOST_MEMORY, int(_MEMORY * free_memory(self.device)))
        for _ in range(_TRIES):
            try:
                return self._tiled(stack, positions, memory)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            release(self.device)
            memory //= 4
        if self.device.type == "cpu":
            raise OutOfMemory("There is not enough memory for even the smallest tiles.")
        self.events.log(f"Memory of {self.device} is too small: computing on the processor.")
        self.device = torch.device("cpu")
        self.network = self.network.to(self.device)
        return self(stack, rows, fine)

    @torch.no_grad()
    def _tiled(self, stack: Tensor, positions: Tensor, memory: int) -> Tensor:
        shape: Shape = tuple(stack.shape)
        result = torch.empty(len(positions), *shape[1:])
        for tile in self._tiles(shape, memory):
            self.events.check_cancelled()
            block = stack[tile.read][None, None].to(self.device, torch.float32)
            values = self.network(block, positions.to(self.device))
            kept = values[0, 0][:, tile.keep[1], tile.keep[2]]
            result[:, tile.write[1], tile.write[2]] = kept.cpu()
        return result

    def _tiles(self, shape: Shape, memory: int) -> list[Tile]:
        halo = self.network.halo
        if self.network.sparse is not None:  # it looks everywhere: only the whole is exact
            return list(tiles(shape, shape, 0))
        fits = lambda block: self._bytes(block) <= memory  # noqa: E731
        core = choose_core(shape, halo, 1, fits, (1, 2)) or (shape[0], 16, 16)
        return list(tiles(shape, core, halo))

    def _bytes(self, block: Shape) -> int:
        """Memory of a block: some sets of features, and what is evaluated at once."""
        width = self.network.attention.value.in_features
        widest = max(layer.out_features for layer in self.network.decoder if hasattr(layer, "bias"))
        cells = len(self.network.attention.offsets)
        points = max(POINTS, block[1] * block[2])
        return 4 * (6 * width * math.prod(block) + points * (2 * widest + 3 * width + 2 * cells))
