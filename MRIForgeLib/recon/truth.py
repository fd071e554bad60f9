"""The truth of a simulated subject as nodes: its T1 map, and its tissues as regions."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from MRIForgeLib.exchange import receive
from MRIForgeLib.placing import LABELS, Place, add_volume
from MRIForgeLib.recon.t1 import style_t1

T1_FILE, TISSUE_FILE, NAMES_FILE = "t1_ms.nii.gz", "tissue.nii.gz", "tissue.json"

_COLORS = (
    (0.84, 0.15, 0.16),
    (0.58, 0.40, 0.74),
    (0.55, 0.34, 0.29),
    (1.00, 0.85, 0.30),
    (0.89, 0.47, 0.35),
    (0.50, 0.75, 0.95),
    (0.17, 0.63, 0.17),
    (0.90, 0.45, 0.10),
)


def add_truth_steps(
    folder: Path, place: Place, name: str, attributes: Mapping[str, str]
) -> Generator[Any, None, dict[str, Any]]:
    """``true_t1`` and ``tissues`` (a label map) from the folder that ``simulate`` has written.

    Yields the nodes made so far. Both are of the end of diastole and of expiration.

    Raises:
        BadInput: a file is missing or damaged.
    """
    true_t1 = yield from receive(folder / T1_FILE)
    tissues = yield from receive(folder / TISSUE_FILE)
    names = _names(folder / NAMES_FILE)
    nodes: dict[str, Any] = {}
    title = _("{name} true T1").format(name=name)
    nodes["true_t1"] = add_volume(true_t1, place, title, attributes, same_look=False)
    style_t1(nodes["true_t1"])
    yield dict(nodes)
    title = _("{name} tissues").format(name=name)
    nodes["tissues"] = add_volume(tissues, place, title, attributes, LABELS)
    nodes["colors"] = _color_table(place.scene, title, names)
    nodes["tissues"].GetDisplayNode().SetAndObserveColorNodeID(nodes["colors"].GetID())
    yield dict(nodes)
    return nodes


def _names(path: Path) -> dict[int, str]:
    """What each label means."""
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        return {int(number): str(name) for number, name in labels.items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(_("{path} cannot be read ({why}).").format(path=path, why=error)) from error


def _color_table(scene: Any, name: str, names: Mapping[int, str]) -> slicer.vtkMRMLColorTableNode:
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetName(scene.GenerateUniqueName(name))
    count = max(names, default=0) + 1
    table.SetNumberOfColors(count)
    table.GetLookupTable().SetTableRange(0, count - 1)
    for number in range(count):
        table.SetColor(number, names.get(number, "(none)"), *_COLORS[number % len(_COLORS)], 1.0)
    table.SetColor(0, names.get(0, "background"), 0.0, 0.0, 0.0, 0.0)
    return scene.AddNode(table)
