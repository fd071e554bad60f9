"""Where the views disagree, as a map over the image."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.volume import Image
from MRIForgeLib.display import add_legend, scalar_display, style_map
from MRIForgeLib.maps import add_map_steps
from MRIForgeLib.placing import Place

ROLE = "disagreement"
COLORS = "vtkMRMLColorTableNodeFileInferno.txt"
_SHOWN = (0.0, 1.0)
_LEAST = 0.05
"""Below this nothing is drawn, so that the image is seen where the views agree."""


def add_disagreement_steps(
    image: Image, place: Place, attributes: Mapping[str, str]
) -> Generator[Any, None, dict[str, slicer.vtkMRMLNode]]:
    """A map of disagreement as nodes beside the input, with its colors.

    Args:
        image: entropy of the views' answers, 0 (all agree) to 1.
        place: of the input.
        attributes: of the run.

    Returns:
        ``disagreement``, and of a series ``disagreement_sequence``.
    """
    name = _("{input} disagreement").format(input=place.name)
    nodes = yield from add_map_steps(image, place, name, ROLE, attributes)
    style_disagreement(nodes[ROLE])
    return nodes


def style_disagreement(node: slicer.vtkMRMLVolumeNode) -> None:
    """Colors from 0 to 1, the same for all runs; where the views agree it is clear."""
    style_map(node, COLORS, _SHOWN)
    display = scalar_display(node)
    if display is not None:
        display.SetThreshold(_LEAST, _SHOWN[1])
        display.ApplyThresholdOn()


def add_disagreement_legend(node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLNode | None:
    """The legend of a map of disagreement; see :func:`MRIForgeLib.display.add_legend`."""
    return add_legend(node, ROLE)
