"""How far a sharpened image can be trusted: its map as nodes, over the image, and in words."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.volume import Image
from MRIForgeLib.display import difference_limit, style_map
from MRIForgeLib.maps import add_map_steps
from MRIForgeLib.overlay import MapOverlay, link_map, linked_map
from MRIForgeLib.placing import Place

ROLE = "uncertainty"
COLORS = "vtkMRMLColorTableNodeFileInferno.txt"
_MAP = "MRIForge.uncertainty"
"""Role of the reference from a result to its map."""


def add_uncertainty_steps(
    image: Image, place: Place, result: Any, attributes: Mapping[str, str]
) -> Generator[Any, None, dict[str, slicer.vtkMRMLNode]]:
    """The map of half-widths as nodes beside the result, with its colors.

    Args:
        image: half-widths of intervals, in the units of the result.
        place: of the input.
        result: the node that the map belongs to.
        attributes: of the run.

    Returns:
        ``uncertainty``, and of a series ``uncertainty_sequence``.
    """
    name = _("{input} uncertainty").format(input=place.name)
    nodes = yield from add_map_steps(image, place, name, ROLE, attributes)
    style_map(nodes[ROLE], COLORS, (0.0, difference_limit(nodes[ROLE])))
    link_map(result, nodes[ROLE], _MAP)
    return nodes


def map_of(result: Any) -> Any:
    """The map that belongs to a result; None where there is none (any more)."""
    return linked_map(result, _MAP)


def overlay() -> MapOverlay:
    """What lays such maps over the image."""
    return MapOverlay(ROLE)


def sentence(figures: Mapping[str, Any]) -> str:
    """What was calibrated and how often it held, of the job's figures; empty without a map."""
    interval = (figures.get("trust") or {}).get("interval")
    if not interval:
        return ""
    percent = f"{100 * interval['confidence']:g}"
    text = _(
        "Uncertainty: the true value of a voxel lies within ± the map for {percent} % of the voxels"
    ).format(percent=percent)
    share = interval["measured_coverage"]["share"]
    if share is not None:
        text += _(" (measured: {share} %)").format(share=f"{100 * share:.0f}")
    return f"{text}."
