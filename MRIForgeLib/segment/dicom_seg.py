"""Export of outlined organs as a DICOM segmentation object: what it takes, and doing it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.io.dicom.seg import (
    AUTOMATIC,
    EDITED,
    MANUAL,
    NEEDED,
    SegmentInfo,
    write_segmentation,
)
from MRIForgeLib.nodes import grid_of
from MRIForgeLib.provenance import PREFIX
from MRIForgeLib.segment_voxels import Meaning, filled, labels_of, overlapping, tag
from MRIForgeLib.segmentations import VOXELS, reference_grid
from MRIForgeLib.tasks import in_background

__all__ = ["NEEDED", "ExportTask", "source_volume", "why_not"]

_INSTANCES = "DICOM.instanceUIDs"


@dataclass(frozen=True)
class _Ready:
    """What is written: segments by their ID, and the files of the images below them."""

    keys: list[str]
    files: list[Path]


class ExportTask:
    """Writes the segments of a node into a file, as a task of :class:`MRIForgeLib.run.Run`.

    Needs the package of :data:`NEEDED`, no worker, and makes no nodes.

    Args:
        node: segmentation node; as it is when the task starts.
        path: the file, ``.dcm``.
    """

    command = ""

    def __init__(self, node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
        self.node, self.path = node, Path(path)

    def export(self, folder: Path) -> Generator[Any, None, dict[str, Any]]:
        """Takes the segments out of the scene and writes them.

        Raises:
            BadInput: what is missing, see :func:`why_not`.
            MissingDependency: highdicom is not installed.
        """
        ready, node = _ready(self.node), self.node
        names = dict(zip(ready.keys, range(1, len(ready.keys) + 1), strict=True))
        labels = labels_of(node, names)
        counts = np.bincount(labels.array.ravel(), minlength=len(names) + 1)
        infos = [
            _info(node.GetSegmentation().GetSegment(key), label, int(counts[label]))
            for key, label in names.items()
        ]
        model = node.GetAttribute(PREFIX + "model") or ""
        sha256 = node.GetAttribute(PREFIX + "modelSha256") or ""
        description = _("{name} (MRIForge)").format(name=node.GetName())

        def write() -> Path:
            return write_segmentation(
                labels,
                ready.files,
                self.path,
                segments=infos,
                model=model,
                sha256=sha256,
                description=description,
            )

        yield
        path = yield from in_background(write)
        return {"output": str(path), "segments": len(infos)}

    def collect(self, folder: Path, result: dict[str, Any]) -> Generator[Any, None, dict]:
        """Nothing comes into the scene."""
        yield from ()
        return {}

    def discard(self, nodes: dict[str, Any]) -> None:
        """There is nothing to take back: the file is whole or not there."""


def why_not(node: slicer.vtkMRMLSegmentationNode | None) -> str:
    """Why a segmentation cannot become a DICOM object, and what to do; empty when it can."""
    try:
        _ready(node)
    except BadInput as error:
        return f"{error.message} {error.hint or ''}".strip()
    return ""


def source_volume(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLVolumeNode | None:
    """The volume that a segmentation was drawn on; None when it is gone."""
    return node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())


def _ready(node: slicer.vtkMRMLSegmentationNode | None) -> _Ready:
    """What would be written.

    Raises:
        BadInput: something is missing; says what.
    """
    if node is None or node.GetScene() is None:
        raise BadInput(_("There is no segmentation."), _("Press Apply first, or select one."))
    volume = source_volume(node)
    if volume is None:
        raise BadInput(
            _("The image that '{name}' was drawn on is not in the scene.").format(
                name=node.GetName()
            ),
            _("Load it, and choose it as source geometry in the Segmentations module."),
        )
    files = _files(volume)
    keys = _segments(node)
    _check_place(node, volume)
    return _Ready(keys, files)


def _files(volume: slicer.vtkMRMLVolumeNode) -> list[Path]:
    name = volume.GetName()
    instances = (volume.GetAttribute(_INSTANCES) or "").split()
    if not instances:
        raise BadInput(
            _("'{name}' was not loaded from DICOM: there are no images to refer to.").format(
                name=name
            ),
            _("Load the series in the DICOM module and outline that, or save as .seg.nrrd."),
        )
    database = getattr(slicer, "dicomDatabase", None)
    found = [database.fileForInstance(uid) for uid in instances] if database is not None else []
    there = [Path(file) for file in found if file and Path(file).is_file()]
    if len(there) < len(instances):
        raise BadInput(
            _(
                "{count} of {all} DICOM files of '{name}' are no longer in Slicer's database."
            ).format(count=len(instances) - len(there), all=len(instances), name=name),
            _("Import the series in the DICOM module again."),
        )
    return there


def _segments(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    segmentation = node.GetSegmentation()
    keys = filled(node, segmentation.GetSegmentIDs())
    if not keys:
        raise BadInput(
            _("'{name}' has no segment with a voxel.").format(name=node.GetName()),
            _("Choose another segmentation."),
        )
    segments = [segmentation.GetSegment(key) for key in keys]
    nameless = [s.GetName() for s in segments if not Meaning.of(s).known]
    if nameless:
        raise BadInput(
            _("It is not said what '{segment}' is: DICOM wants a terminology.").format(
                segment=nameless[0]
            ),
            _("Double-click on its color in the Segment Editor and choose one, or remove it."),
        )
    if overlapping(node):
        raise BadInput(
            _("Segments of '{name}' overlap.").format(name=node.GetName()),
            _("Remove the overlap in the Segment Editor (Logical operators)."),
        )
    return keys


def _check_place(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> None:
    grid = reference_grid(node)
    if grid is None or not grid.matches(grid_of(volume, relative_to=node), 0.01):
        raise BadInput(
            _("'{name}' is not on the voxels of '{volume}'.").format(
                name=node.GetName(), volume=volume.GetName()
            ),
            _("Choose it as source geometry in the Segmentations module."),
        )


def _info(segment: Any, label: int, voxels: int) -> SegmentInfo:
    meaning = Meaning.of(segment)
    made = tag(segment, VOXELS)
    origin = MANUAL if not made else AUTOMATIC if made == str(voxels) else EDITED
    return SegmentInfo(
        label,
        segment.GetName(),
        meaning.type,
        meaning.category,
        meaning.modifier,
        tuple(round(255 * part) for part in segment.GetColor()),
        origin,
    )
