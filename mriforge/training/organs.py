"""Training on slabs of volumes with organ labels, measured or made anew from tissue maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.anatomy import CLASSES, VIEWS, TissueMap
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.losses.organs import OrganTarget
from mriforge.physics.zscore import zscore
from mriforge.recipes.schema import OrganSpec, Recipe
from mriforge.training.patches import Batch
from mriforge.training.slabs import draw_slab
from mriforge.volume import some_of

_SLICES = 20
"""Of ALAMO's networks where a recipe does not say."""
_HELD_OUT = 2**40
"""Seeds of held-out images start here: training never comes so far."""


@dataclass(frozen=True)
class Labelled:
    """A volume with organ labels, both ``(z, y, x)``; the image has mean 0 and deviation 1."""

    image: np.ndarray
    labels: np.ndarray
    subject: str
    organs: tuple[int, ...]
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OrganCases:
    """What to learn from, and what to judge by: tissue maps and labelled volumes."""

    train: list[TissueMap | Labelled]
    validation: list[TissueMap | Labelled] = field(default_factory=list)

    def provenance(self) -> list[dict[str, Any]]:
        """What a model trained on this saw, for its card: simulated subjects counted together."""
        found: dict[tuple, dict[str, Any]] = {}
        for case in self.train:
            kind = "labelled volume" if isinstance(case, Labelled) else "tissue map"
            source = {"source": case.source.get("source", ""), **case.source}
            alone = not source["source"].startswith("simulated")
            key = (kind, source["source"], source.get("licence"), alone and case.subject)
            line = found.setdefault(key, {"kind": kind, **source, "organs": list(case.organs)})
            line["subjects"] = line.get("subjects", 0) + 1
            line.setdefault("subject", case.subject)
        return list(found.values())


def made_from(tissues: TissueMap, seed: Sequence[int], spec: OrganSpec) -> Labelled:
    """A new image of new anatomy from a tissue map, as different as the recipe says."""
    from mriforge.synthesis import DeformSpec, RenderSpec, synthesise

    number = int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0])
    far = {"whole": DeformSpec(), "weaker": DeformSpec().weaker(), "none": DeformSpec.none()}
    as_it_is = np.random.default_rng([number, 3]).random() >= spec.deformed
    image, labels = synthesise(
        tissues,
        number,
        deform_spec=far["none" if as_it_is else spec.deformation],
        render_spec=RenderSpec.of_quality(
            spec.quality, random_contrast=spec.random_contrast, sequence=spec.sequence
        ),
    )
    return Labelled(zscore(image.array), labels, tissues.subject, tissues.organs, tissues.source)


class OrganSampler:
    """Slabs of cases; a batch is a function of its number.

    Simulated volumes are kept for a few slabs each; one of ``spec.volumes`` is made anew at a
    time, so that no step waits for several.

    Args:
        cases: of training.
        recipe: its ``organs`` and ``seed``.
        rank: of this process.
        device: where batches end up.
    """

    epoch_steps = None

    def __init__(
        self,
        cases: Sequence[TissueMap | Labelled],
        recipe: Recipe,
        *,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.maps = [case for case in cases if isinstance(case, TissueMap)]
        self.labelled = [case for case in cases if isinstance(case, Labelled)]
        self.spec, self.seed, self.rank = recipe.organs, recipe.seed, rank
        self.device = torch.device(device)
        self._kept: dict[int, tuple[int, Labelled]] = {}

    def batch(self, step: int) -> Batch:
        """Batch number ``step``."""
        first = step * self.spec.batch
        cases = [self._case(first + number) for number in range(self.spec.batch)]
        organs = cases[0].organs
        # One loss judges the batch: whoever outlines other organs than the first gives way to it.
        cases = [case if case.organs == organs else cases[0] for case in cases]
        rng = np.random.default_rng([self.seed, self.rank, step])
        slabs = [draw_slab(case.image, case.labels, self.spec, rng) for case in cases]
        size = [max(s[0].shape[axis] for s in slabs) for axis in (1, 2)]
        images = torch.stack([_filled(image, size, float(image.min())) for image, _ in slabs])
        labels = torch.stack([_filled(labels, size, 0) for _, labels in slabs])
        images, labels = images.to(self.device), labels.to(self.device)
        if self.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, OrganTarget(labels, organs))

    def _case(self, number: int) -> Labelled:
        """The volume that slab number ``number`` of the run is cut from."""
        rng = np.random.default_rng([self.seed, self.rank, 1, number])
        simulated = rng.random() < self.spec.synthetic
        if self.labelled and not (self.maps and simulated):
            return self.labelled[int(rng.integers(len(self.labelled)))]
        turn, slot = divmod(number, self.spec.volumes)
        ahead = slot * self.spec.slabs // self.spec.volumes
        generation = (turn + ahead) // self.spec.slabs
        kept = self._kept.get(slot)
        if kept is None or kept[0] != generation:
            seed = [self.seed, self.rank, 2, slot, generation]
            who = int(np.random.default_rng(seed).integers(len(self.maps)))
            kept = self._kept[slot] = (generation, made_from(self.maps[who], seed, self.spec))
        return kept[1]


def _filled(slab: Tensor, size: Sequence[int], value: float) -> Tensor:
    missing = (0, size[1] - slab.shape[2], 0, size[0] - slab.shape[1])
    return functional.pad(slab, missing, value=value) if any(missing) else slab


class HeldOutOrgans:
    """Dice of a network on held-out volumes, slab by slab in each view that the recipe trains.

    Args:
        cases: of validation; tissue maps get one fixed image each.
        recipe: its ``organs``, and ``validation.patches`` volumes at most.
        device: of the network.
    """

    def __init__(
        self,
        cases: Sequence[TissueMap | Labelled],
        recipe: Recipe,
        device: torch.device | str,
        events: Events | None = None,
    ) -> None:
        self.spec, self.device = recipe.organs, torch.device(device)
        self.volumes = []
        for number in some_of(len(cases), recipe.validation.patches):
            case = cases[number]
            made = (
                case
                if isinstance(case, Labelled)
                else made_from(case, [_HELD_OUT, number], self.spec)
            )
            self.volumes.append(made)
            if events is not None:
                events.check_cancelled()

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``dice``: mean over volumes, views and organs; ``dice_AXIAL`` and so on of each view."""
        figures = {}
        for (view, axis), share in zip(VIEWS.items(), self.spec.views, strict=True):
            if share > 0:
                scores = [self._dice(model, volume, axis) for volume in self.volumes]
                figures[f"dice_{view}"] = float(np.nanmean(scores))
        return {"dice": float(np.mean(list(figures.values()))), **figures}

    def _dice(self, model: nn.Module, case: Labelled, axis: int) -> list[float]:
        """Dice of each organ in one volume, NaN for organs that it does not have."""
        image, labels = (np.moveaxis(part, axis, 0) for part in (case.image, case.labels))
        count, slices = len(image), self.spec.slices
        table = np.zeros((CLASSES, CLASSES))
        for start in range(0, count, slices):
            take = np.clip(np.arange(start, start + slices), 0, count - 1)
            slab = torch.from_numpy(np.ascontiguousarray(image[take]))[None].to(self.device)
            scores = model(slab)[0].reshape(CLASSES, slices, *slab.shape[2:])
            found = scores.argmax(0)[: count - start].cpu().numpy()
            wanted = labels[start : start + slices].astype(int)
            table += np.bincount((wanted * CLASSES + found).ravel(), minlength=CLASSES**2).reshape(
                CLASSES, CLASSES
            )
        total = table.sum(0) + table.sum(1)
        there = [label in case.organs and table[label].sum() > 0 for label in range(CLASSES)]
        dice = np.where(there, 2 * table.diagonal() / np.maximum(total, 1), np.nan)
        return dice[1:].tolist()


def expected_input(spec: OrganSpec) -> dict[str, Any]:
    """What the network expects, for the card."""
    return {"normalise": "zscore", "spacing_mm": spec.spacing, "slices": spec.slices}


def load_organ_cases(recipe: Recipe, source: str, events: Events) -> OrganCases:
    """The cases of a manifest or folder, on the recipe's grid.

    Raises:
        BadInput: slabs of the recipe that its network does not take; see
            :func:`mriforge.training.cases.read_cases`.
    """
    slices = recipe.network.options.get("slices", _SLICES)
    if slices != recipe.organs.slices:
        raise BadInput(
            f"The recipe '{recipe.name}' cuts slabs of {recipe.organs.slices} slices for a network "
            f"that takes {slices}.",
            "Give organs.slices and network.options.slices the same number.",
        )
    from mriforge.training.cases import load_pair, load_tissues, read_cases

    found: dict[str, list[TissueMap | Labelled]] = {"train": [], "validation": []}
    cases = read_cases(source)
    for remark in dict.fromkeys(remark for case in cases for remark in case.remarks):
        events.log(remark)
    for number, case in enumerate(cases):
        events.progress(number / len(cases), f"reading {case.subject}")
        events.check_cancelled()
        if case.image is None:
            found[case.split].append(load_tissues(case, recipe.organs.spacing))
            continue
        image, labels = load_pair(case, recipe.organs.spacing)
        about = {"source": case.image.name, "licence": case.licence, "contrast": case.contrast}
        found[case.split].append(Labelled(image.array, labels, case.subject, case.organs, about))
    return OrganCases(found["train"], found["validation"])
