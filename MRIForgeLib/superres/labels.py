"""Label maps and segmentations: told from images, put on a finer grid without mixing labels."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.interslice.recognise import looks_like_labels
from mriforge.interslice.wish import anisotropy
from mriforge.volume import Grid, Volume
from MRIForgeLib.exchange import receive, send
from MRIForgeLib.nodes import grid_of, volume_from_node
from MRIForgeLib.placing import LABELS, Place, add_volume, provenance_attributes, remove_result
from MRIForgeLib.segment_voxels import overlapping
from MRIForgeLib.superres.slices import AS_LARGE, sizes
from MRIForgeLib.superres.task import send_grid
from MRIForgeLib.superres.wishes import TargetKind, Wishes

SEGMENTATION = "vtkMRMLSegmentationNode"

_judged: dict[str, tuple[int, bool]] = {}


def holds_labels(node: Any) -> bool:
    """Whether a node is a segmentation, a label map, or a volume that looks like one.

    It does when it has few different values, all whole, and most voxels that are not zero equal
    their neighbour. The last answer for a node is kept until its voxels change.
    """
    if node is None or node.GetScene() is None:
        return False
    if node.IsA(SEGMENTATION) or node.IsA(LABELS):
        return True
    image = node.GetImageData() if node.IsA("vtkMRMLScalarVolumeNode") else None
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfComponents() != 1:
        return False
    known = _judged.get(node.GetID())
    if known is None or known[0] != image.GetMTime():
        known = image.GetMTime(), looks_like_labels(slicer.util.arrayFromVolume(node))
        _judged[node.GetID()] = known
    return known[1]


def why_not_as_image(node: Any) -> str:
    """Why labels are not sharpened as an image, and what to do."""
    return _(
        "'{name}' holds labels, not an image: interpolating or sharpening them would invent "
        "labels. Press 'Resample labels' instead: it moves the surface of each label to the "
        "finer grid."
    ).format(name=node.GetName())


def target_grid(wishes: Wishes) -> Grid | None:
    """The grid that the labels of ``wishes`` will be on; None where only the run can tell.

    Raises:
        BadInput: impossible wishes, or no stack of slices.
    """
    node, like = wishes.input_node, wishes.like_node
    if wishes.target is TargetKind.LIKE and like is None:
        raise BadInput(_("No volume to be like is selected."), _("Select one."))
    if node.IsA(SEGMENTATION):
        return None
    low = grid_of(node)
    if wishes.target is TargetKind.AUTOMATIC and anisotropy(low) < AS_LARGE:
        raise BadInput(
            _("The voxels of '{name}' are cubes already ({size} mm).").format(
                name=node.GetName(), size=sizes(low)
            ),
            _("Choose a stack of slices that are farther apart than the pixels."),
        )
    return wishes.slice_plan(low, None if like is None else grid_of(like, relative_to=node)).grid


def why_not(wishes: Wishes) -> str:
    """Why the labels cannot be put on another grid; empty when they can."""
    node = wishes.input_node
    if node is None:
        return _("Select a label map or a segmentation.")
    try:
        if node.IsA(SEGMENTATION):
            _check_segmentation(node)
        target_grid(wishes)
    except BadInput as error:
        return f"{error.message} {error.hint or ''}".strip()
    return ""


def sentence(figures: dict[str, Any]) -> str:
    """What was done, for the panel."""
    found = figures.get("labels")
    text = _("Each label was put on the new grid by its own surface; none was mixed or invented.")
    if isinstance(found, list | tuple):
        text = _("{count} labels: {text}").format(count=len(found), text=text)
    return text


@dataclass(frozen=True)
class Segment:
    """What a segment is called, its color, and what it means."""

    name: str
    color: tuple[float, float, float]
    terminology: str

    @classmethod
    def of(cls, segment: Any) -> Segment:
        """That of a ``vtkSegment``."""
        text = vtk.reference("")
        known = segment.GetTag(segment.GetTerminologyEntryTagName(), text)
        return cls(segment.GetName(), tuple(segment.GetColor()), str(text) if known else "")

    def write_to(self, segment: Any) -> None:
        """Gives a ``vtkSegment`` the same."""
        segment.SetName(self.name)
        segment.SetColor(*self.color)
        if self.terminology:
            segment.SetTag(segment.GetTerminologyEntryTagName(), self.terminology)


class LabelTask:
    """Puts the labels of ``wishes.input_node`` on a finer grid; ``collect`` gives ``result``.

    A label map gives a label map with the same colors, a segmentation a segmentation with the same
    names, colors and terminology.
    """

    command = "superres"

    def __init__(self, wishes: Wishes) -> None:
        self.wishes, node = wishes, wishes.input_node
        self.place = Place.of(node)
        self.segments: list[Segment] = []
        display = node.GetDisplayNode() if node.IsA(LABELS) else None
        self.color_id = display.GetColorNodeID() if display is not None else None
        self.is_segmentation = bool(node.IsA(SEGMENTATION))

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Writes the labels into ``folder``; returns the options of the job."""
        node = self.wishes.input_node
        if self.is_segmentation:
            self.segments = _check_segmentation(node)
            volume = _labels_of(node)
        else:
            volume = volume_from_node(node, labels=True)
        yield
        options = {
            "input": (yield from send(volume, folder / "input.npy")),
            "output": str(folder / "output.npy"),
            "labels": True,
            **self.wishes.slice_target(volume.grid),
        }
        if self.wishes.target is TargetKind.LIKE:
            grid = grid_of(self.wishes.like_node, relative_to=node)
            options["like"] = yield from send_grid(grid, folder / "like.npy")
        return options

    def collect(self, folder: Path, result: dict[str, Any]) -> Generator[Any, None, dict[str, Any]]:
        """Puts the labels into the scene, beside those they were made from."""
        volume = yield from receive(Path(result["output"]))
        name = _("{input} resampled").format(input=self.place.name)
        attributes = provenance_attributes(self.command, result, self.place.name)
        node = add_volume(volume, self.place, name, attributes, LABELS)
        yield {"result": node}
        if self.is_segmentation:
            return {"result": _as_segmentation(node, self.segments, self.place)}
        if self.color_id and self.place.node(self.color_id) is not None:
            node.GetDisplayNode().SetAndObserveColorNodeID(self.color_id)
        return {"result": node}

    def discard(self, nodes: dict[str, Any]) -> None:
        """Takes the labels out of the scene again."""
        remove_result(nodes)


def _check_segmentation(node: Any) -> list[Segment]:
    """The segments of a node.

    Raises:
        BadInput: there are none, or they overlap: a label map holds one label at each place.
    """
    segmentation = node.GetSegmentation()
    count = segmentation.GetNumberOfSegments()
    if count == 0:
        raise BadInput(
            _("'{name}' has no segments.").format(name=node.GetName()), _("Choose another one.")
        )
    if overlapping(node):
        raise BadInput(
            _("Segments of '{name}' overlap.").format(name=node.GetName()),
            _("Export them to label maps in the Segmentations module, and choose those."),
        )
    return [Segment.of(segmentation.GetNthSegment(number)) for number in range(count)]


def _labels_of(node: Any) -> Volume:
    """The segments of a node as labels 1, 2, ... on its reference geometry."""
    scene = node.GetScene()
    before = {n.GetID() for n in slicer.util.getNodesByClass("vtkMRMLColorTableNode")}
    exported = scene.AddNewNodeByClass(LABELS, node.GetName())
    try:
        logic = slicer.modules.segmentations.logic()
        extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
        if not logic.ExportAllSegmentsToLabelmapNode(node, exported, extent):
            raise BadInput(
                _("The segments of '{name}' could not be exported.").format(name=node.GetName()),
                _("Export them to a label map in the Segmentations module, and choose that."),
            )
        return volume_from_node(exported, labels=True)
    finally:
        remove_result([exported])
        for table in slicer.util.getNodesByClass("vtkMRMLColorTableNode"):
            if table.GetID() not in before:
                scene.RemoveNode(table)


def _as_segmentation(node: Any, segments: list[Segment], place: Place) -> Any:
    """A segmentation node of the labels 1, 2, ... of a label map, which goes."""
    scene = node.GetScene()
    name = node.GetName()
    made = scene.AddNewNodeByClass(SEGMENTATION)
    try:
        made.SetName(name)
        for key in node.GetAttributeNames():
            made.SetAttribute(key, node.GetAttribute(key))
        made.SetReferenceImageGeometryParameterFromVolumeNode(node)
        made.SetAndObserveTransformNodeID(node.GetTransformNodeID())
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(node, made)
        found = made.GetSegmentation()
        for number in range(found.GetNumberOfSegments()):
            segment = found.GetNthSegment(number)
            segments[segment.GetLabelValue() - 1].write_to(segment)
        made.CreateDefaultDisplayNodes()
        place.beside.put(made)
    except BaseException:
        remove_result([made, node])
        raise
    remove_result([node])
    return made
