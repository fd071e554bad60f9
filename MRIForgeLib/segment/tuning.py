"""Fine-tuning on one's own labelled cases: from nodes or a folder to a model of one's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.anatomy import ORGANS, Organ
from mriforge.errors import BadInput
from mriforge.io.atomic import atomic_path
from mriforge.models.card import ModelCard
from mriforge.models.store import CARD, add_model, find_model, installed_models, remove_model
from mriforge.recipes import load_recipe
from mriforge.volume import Volume
from MRIForgeLib.devices import Device
from MRIForgeLib.dicom_header import patient_id
from MRIForgeLib.exchange import send
from MRIForgeLib.nodes import grid_of, volume_from_node
from MRIForgeLib.segment.advice import card_of
from MRIForgeLib.segment.wishes import DEFAULT_MODEL
from MRIForgeLib.segment_voxels import filled, labels_of, organ_of
from MRIForgeLib.segmentations import SEGMENTATION, organs_in
from MRIForgeLib.tasks import in_background

DEFAULT_MINUTES = 30.0
_VARIANT = "finetune"
"""Variant of the recipe of the model's network."""
_BAD = '/\\:*?"<>|'
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class TuneWishes:
    """One fine-tuning.

    Attributes:
        model: name of the model to begin from; it is not changed.
        name: of the new model, in the user's folder.
        pairs: image and outlines: a volume with a segmentation, whose segments are organs by their
            terminology or name, or with a label map of the numbers of ``segment``. An organ that
            is not outlined in a case is not judged in it.
        folder: of labelled files instead; empty: the pairs count.
        minutes: how long to learn at most.
    """

    model: str = DEFAULT_MODEL
    name: str = ""
    pairs: Sequence[Pair] = ()
    folder: str = ""
    minutes: float = DEFAULT_MINUTES
    device: Device = Device.AUTO


def tune_wishes_of(node: Any, pairs: Sequence[Pair], folder: str) -> TuneWishes:
    """The choices of a panel as plain values.

    Args:
        node: the panel's parameter node.
        pairs, folder: the cases.
    """
    return TuneWishes(
        model=node.model,
        name=node.modelName.strip(),
        pairs=tuple(pairs),
        folder=folder.strip(),
        minutes=node.minutes,
        device=node.device,
    )


def why_not_tune(wishes: TuneWishes) -> str:
    """Why a fine-tuning cannot start, and what to do; empty when it can."""
    if wishes.folder:
        if not Path(wishes.folder).is_dir():
            return _("There is no folder {path}.").format(path=wishes.folder)
    elif not wishes.pairs:
        return _("Add labelled cases: an image with its outlines, or choose a folder of files.")
    try:
        recipe_of(wishes.model)
        for pair in wishes.pairs if not wishes.folder else ():
            _check_pair(*pair)
    except BadInput as error:
        return f"{error.message} {error.hint or ''}".strip()
    return _bad_name(wishes.name)


def recipe_of(model: str) -> str:
    """The recipe that fine-tunes a model.

    Raises:
        BadInput: the model is not installed, or its network has no such recipe.
    """
    card = card_of(model)
    if card is None:
        raise BadInput(
            _("The model '{name}' is not installed.").format(name=model), _("Choose another one.")
        )
    recipe = f"{card.network}:{_VARIANT}"
    try:
        load_recipe(recipe)
    except BadInput as error:
        raise BadInput(
            _("There is no recipe to fine-tune '{name}'.").format(name=model),
            _("Choose another model."),
        ) from error
    return recipe


class TuneTask:
    """Fine-tunes, and adds the new model to the user's own; makes no nodes.

    Attributes:
        model: folder of the new model, when done.
        cases: how many cases were sent from the scene.
    """

    command = "train"

    def __init__(self, wishes: TuneWishes) -> None:
        self.wishes = wishes
        self.model: Path | None = None
        self.cases = 0

    def export(self, folder: Path) -> Generator[Any, None, dict[str, Any]]:
        """Writes the cases into ``folder``; returns the options of the job.

        Raises:
            BadInput: see :func:`why_not_tune`.
        """
        wishes = self.wishes
        reason = why_not_tune(wishes)
        if reason:
            raise BadInput(reason)
        data = wishes.folder
        if not data:
            data = str((yield from send_pairs(wishes.pairs, folder / "cases")))
            self.cases = len(wishes.pairs)
        return {
            "recipe": recipe_of(wishes.model),
            "start": wishes.model,
            "data": data,
            "out": str(folder / "training"),
            "max_minutes": wishes.minutes,
            "device": wishes.device.value,
        }

    def collect(self, folder: Path, result: dict[str, Any]) -> Generator[Any, None, dict]:
        """Keeps the model."""
        made = Path(result["output"])
        self.model = yield from in_background(_install, made, self.wishes.name, self.wishes.model)
        return {}

    def discard(self, nodes: dict[str, Any]) -> None:
        """Takes the model away again."""
        if self.model is not None:
            remove_model(self.model.name)
            self.model = None


def _install(made: Path, name: str, start: str) -> Path:
    """Adds a trained model to the user's own, under its name; its card says what it came from."""
    before, path = find_model(start).card, made / CARD
    card = ModelCard.read(path)
    card = dataclasses.replace(
        card,
        name=name,
        title=f"{before.title or before.name}, fine-tuned on labelled cases",
        limits=card.limits
        or f"Fine-tuned from '{start}' on a few cases; what it forgot of others is not known.",
    )
    with atomic_path(path) as partial:
        partial.write_text(card.to_json(), encoding="utf-8")
    return add_model(made, name).path


def send_pairs(pairs: Sequence[Pair], folder: Path) -> Generator[Any, None, Path]:
    """Writes cases as files; returns their manifest.

    Nobody's name is in it: the card of the new model keeps what it says.
    """
    folder.mkdir()
    rows, patients = [], _patients(pairs)
    for number, (image, outlines) in enumerate(pairs, start=1):
        volume = volume_from_node(image)
        labels, organs = outlined(image, outlines)
        yield
        row: dict[str, Any] = {
            "subject": patients[number - 1],
            "image": f"case{number:03d}_image.nii",
            "labels": f"case{number:03d}_labels.nii",
            "scheme": "organs",
            "organs": [organ.key for organ in organs],
        }
        yield from send(volume.with_array(volume.array, source=""), folder / row["image"])
        yield from send(labels, folder / row["labels"])
        rows.append(row)
    manifest = folder / "cases.json"
    manifest.write_text(json.dumps({"cases": rows}, indent=1), encoding="utf-8")
    return manifest


def _patients(pairs: Sequence[Pair]) -> list[str]:
    """Who each case is, as a number: cases of one patient are learned from or judged together."""
    known: dict[str, str] = {}
    found = []
    for image, _outlines in pairs:
        key = patient_id(image) or image.GetID()
        found.append(known.setdefault(key, f"patient {len(known) + 1}"))
    return found


def outlined(image: Any, outlines: Any) -> tuple[Volume, list[Organ]]:
    """Labels of organs on the voxels of an image, and which organs are outlined.

    Raises:
        BadInput: no organ is recognised, or the outlines cannot be put on the image.
    """
    if not outlines.IsA(SEGMENTATION):
        return _from_labelmap(image, outlines)
    segmentation = outlines.GetSegmentation()
    known = _recognised(outlines)
    keys = filled(outlines, list(known))
    if not keys:
        names = [
            segmentation.GetNthSegment(n).GetName()
            for n in range(segmentation.GetNumberOfSegments())
        ]
        raise BadInput(
            _("No segment of '{name}' is one of the organs ({segments}).").format(
                name=outlines.GetName(), segments=", ".join(names) or "-"
            ),
            _("Name segments as the organs: {organs}.").format(
                organs=", ".join(organ.title for organ in ORGANS)
            ),
        )
    grid = grid_of(image, relative_to=outlines)
    labels = labels_of(outlines, {key: known[key].label for key in keys}, grid)
    if not labels.array.any():
        raise _elsewhere(image, outlines)
    organs = sorted({known[key] for key in keys}, key=lambda organ: organ.label)
    return Volume(labels.array, grid_of(image)), organs


def unrecognised(outlines: Any) -> list[str]:
    """Names of segments that are no organ, and so are not learned from."""
    if not outlines.IsA(SEGMENTATION):
        return []
    segmentation, known = outlines.GetSegmentation(), _recognised(outlines)
    return [
        segmentation.GetSegment(key).GetName()
        for key in segmentation.GetSegmentIDs()
        if key not in known
    ]


def _recognised(outlines: Any) -> dict[str, Organ]:
    segmentation = outlines.GetSegmentation()
    found = {key: organ_of(segmentation.GetSegment(key)) for key in segmentation.GetSegmentIDs()}
    return {key: organ for key, organ in found.items() if organ is not None}


def _from_labelmap(image: Any, outlines: Any) -> tuple[Volume, list[Organ]]:
    labels = volume_from_node(outlines, relative_to=image, labels=True)
    if not labels.grid.matches(grid_of(image), 0.01):
        raise BadInput(
            _("'{name}' is not on the voxels of '{image}'.").format(
                name=outlines.GetName(), image=image.GetName()
            ),
            _("Import it into a segmentation, and choose that."),
        )
    array = labels.array
    if array.min() < 0 or array.max() > len(ORGANS) or not array.any():
        raise BadInput(
            _("'{name}' has other labels than 1 to {count}.").format(
                name=outlines.GetName(), count=len(ORGANS)
            ),
            _("Import it into a segmentation, and name its segments as the organs."),
        )
    array = array.astype("uint8")
    return Volume(array, labels.grid), list(organs_in(array))


def _check_pair(image: Any, outlines: Any) -> None:
    """Refuses what can be refused without looking at voxels.

    Raises:
        BadInput
    """
    for node in (image, outlines):
        if node is None or node.GetScene() is not slicer.mrmlScene:
            raise BadInput(_("A labelled case is no longer in the scene."), _("Remove the pair."))
    grid_of(image, labels=False)
    if outlines.IsA(SEGMENTATION) and not _recognised(outlines):
        outlined(image, outlines)


def _elsewhere(image: Any, outlines: Any) -> BadInput:
    return BadInput(
        _("The segments of '{name}' lie outside of '{image}'.").format(
            name=outlines.GetName(), image=image.GetName()
        ),
        _("Choose the image that they were drawn on."),
    )


def _bad_name(name: str) -> str:
    """Why a model cannot have a name."""
    if not name:
        return _("Give the new model a name.")
    if any(letter in name for letter in _BAD) or name.strip(". ") != name:
        return _("A model's name is letters, digits, spaces, - and _: change it.")
    if any(name == model.path.name for model in installed_models()):
        return _("There is a model called '{name}' already: choose another name.").format(name=name)
    return ""
