"""Nodes of the MRML scene as volumes and series of the core.

Slicer says where voxels are by a matrix from stored index to RAS millimetres, and by parent
transforms above it. The core knows one LPS grid and no transforms, so every grid is expressed in
the local frame of one node, the one the job is about (``relative_to``): what comes out is put
under that node's own transform and lies right.

Voxels are copied: the scene may change while a job runs.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.volume import Grid, Image, Series, Volume
from MRIForgeLib.sequences import IndexAxis, SequenceSource, sequence_of

__all__ = [
    "SequenceSource",
    "grid_matrix",
    "grid_of",
    "image_from_node",
    "sequence_of",
    "snapshot_steps",
    "volume_from_node",
]

_SAME_PLACE_MM = 1e-3


def volume_from_node(
    node: slicer.vtkMRMLVolumeNode,
    relative_to: slicer.vtkMRMLNode | None = None,
    labels: bool = False,
) -> Volume:
    """A copy of the voxels of a volume node, in their own dtype; of a proxy its current frame.

    Args:
        relative_to: node in whose local frame the grid is wanted; default: the node itself.
        labels: accept a label map.

    Raises:
        BadInput: no grey-scale volume, no voxels, or a place that no rectangular grid describes.
    """
    _check_volume(node, labels)
    grid = _grid(node, _transform_between(node, relative_to or node), node.GetName())
    return Volume(_voxels(node), grid, {"source": node.GetName()})


def grid_of(
    node: slicer.vtkMRMLNode,
    relative_to: slicer.vtkMRMLNode | None = None,
    labels: bool = True,
) -> Grid:
    """The grid of a volume or of a sequence's first frame; voxels are not copied.

    Args and errors as of :func:`volume_from_node`.
    """
    source = _as_sequence(node)
    if source is None:
        _check_volume(node, labels)
        return _grid(node, _transform_between(node, relative_to or node), node.GetName())
    frame = _frame(source.sequence, 0, labels=labels)
    place = source.proxy
    between = _transform_between(place, place if relative_to is None else relative_to)
    return _grid(frame, between, node.GetName())


def image_from_node(
    node: slicer.vtkMRMLNode,
    relative_to: slicer.vtkMRMLNode | None = None,
    all_frames: bool = True,
    labels: bool = False,
) -> Image:
    """What :func:`snapshot_steps` returns, at once."""
    steps = snapshot_steps(node, relative_to, all_frames, labels)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def snapshot_steps(
    node: slicer.vtkMRMLNode,
    relative_to: slicer.vtkMRMLNode | None = None,
    all_frames: bool = True,
    labels: bool = False,
) -> Generator[None, None, Image]:
    """Copies a volume, or a sequence frame by frame, so that the application stays responsive.

    Args:
        node: a volume, a sequence, or the proxy volume of a sequence.
        relative_to: as of :func:`volume_from_node`; of a sequence the frame of its proxy counts.
        all_frames: of a sequence all frames as a :class:`Series`, else the shown one as a volume.
        labels: accept label maps.

    Returns:
        The image. A series has ``metadata["index_values"]``, the frames' index as text; where
        that is not numeric its times are 0, 1, 2, ... without a unit.

    Raises:
        BadInput: as :func:`volume_from_node`; and frames of unlike size or place.
    """
    source = sequence_of(node)
    if source is None or not (all_frames or node.IsA("vtkMRMLSequenceNode")):
        image = volume_from_node(node, relative_to, labels)
        yield
        return image
    place = source.proxy
    between = _transform_between(place, place if relative_to is None else relative_to)
    if not all_frames:
        frame = _frame(source.sequence, source.current, labels)
        yield
        grid = _grid(frame, between, node.GetName())
        return Volume(_voxels(frame), grid, {"source": node.GetName()})

    sequence, axis = source.sequence, IndexAxis.of(source.sequence)
    frames, dtype = _check_frames(sequence, labels)
    grid = _grid(frames[0], between, node.GetName())
    array = np.empty((len(frames), *grid.shape), dtype)
    for number, frame in enumerate(frames):
        voxels = _voxels(frame)
        if voxels.shape != grid.shape or not np.can_cast(voxels.dtype, dtype):
            raise BadInput(
                _("'{name}' was changed while it was read.").format(name=node.GetName()),
                _("Start again."),
            )
        array[number] = voxels
        yield
    metadata = {"source": node.GetName(), "index_values": list(axis.values)}
    unit = axis.unit if axis.numbers is not None else ""
    return Series(array, grid, np.array(axis.times), axis.name or "frame", unit, metadata)


def grid_matrix(grid: Grid) -> vtk.vtkMatrix4x4:
    """The IJK to RAS matrix of a volume node on ``grid``."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(grid.affine("RAS").ravel().tolist())
    return matrix


def _as_sequence(node: slicer.vtkMRMLNode | None) -> SequenceSource | None:
    """The source of a sequence node; a proxy volume is read as the volume that it is."""
    if node is not None and node.IsA("vtkMRMLSequenceNode"):
        return sequence_of(node)
    return None


def _check_volume(node: slicer.vtkMRMLNode | None, labels: bool) -> None:
    if node is None:
        raise BadInput(_("No volume is chosen."), _("Choose one."))
    if node.GetScene() is None:
        raise BadInput(
            _("'{name}' is no longer in the scene.").format(name=node.GetName()),
            _("Choose another volume."),
        )
    _check_kind(node, labels)


def _check_kind(node: slicer.vtkMRMLNode, labels: bool) -> None:
    """Refuses nodes that are not one number for each voxel, each with its way out."""
    name = node.GetName()
    if node.IsA("vtkMRMLSegmentationNode"):
        raise BadInput(
            _("'{name}' is a segmentation.").format(name=name),
            _("Choose the image it was drawn on, or export the segmentation to a label map."),
        )
    if not node.IsA("vtkMRMLVolumeNode"):
        raise BadInput(
            _("'{name}' is not a volume.").format(name=name), _("Choose a scalar volume.")
        )
    if node.IsA("vtkMRMLMultiVolumeNode"):
        raise BadInput(
            _("'{name}' is a multi-volume.").format(name=name),
            _("Load the series as a volume sequence instead."),
        )
    if node.IsA("vtkMRMLDiffusionWeightedVolumeNode") or node.IsA("vtkMRMLTensorVolumeNode"):
        raise BadInput(
            _("'{name}' has several numbers in each voxel (vectors, colors or diffusion).").format(
                name=name
            ),
            _("Convert it to a scalar volume first."),
        )
    if node.IsA("vtkMRMLLabelMapVolumeNode") and not labels:
        raise BadInput(
            _("'{name}' is a label map, not an image.").format(name=name),
            _("Choose a scalar volume, or convert it to one in the Volumes module."),
        )
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or min(image.GetDimensions()) < 1:
        raise BadInput(
            _("'{name}' has no voxels.").format(name=name), _("Load it again, or choose another.")
        )
    if scalars.GetNumberOfComponents() != 1:
        raise BadInput(
            _("'{name}' has {count} numbers in each voxel.").format(
                name=name, count=scalars.GetNumberOfComponents()
            ),
            _("Convert it to a scalar volume first."),
        )


def _frame(
    sequence: slicer.vtkMRMLSequenceNode, number: int, labels: bool
) -> slicer.vtkMRMLVolumeNode:
    """The data node of one frame.

    Raises:
        BadInput: it is missing or no grey-scale volume; names the frame.
    """
    name = sequence.GetName()
    if sequence.GetNumberOfDataNodes() == 0:
        raise BadInput(_("The sequence '{name}' has no frames.").format(name=name), _("Load it."))
    frame = sequence.GetNthDataNode(number)
    called = _("Frame {number} of '{name}' ({index})").format(
        number=number + 1, name=name, index=sequence.GetNthIndexValue(number)
    )
    if frame is None:
        raise BadInput(
            _("{frame} is missing.").format(frame=called),
            _("Remove that frame, or load the sequence again."),
        )
    try:
        _check_kind(frame, labels)
    except BadInput as error:
        raise BadInput(
            _("{frame} cannot be used: {reason}").format(frame=called, reason=error.message),
            error.hint,
        ) from error
    return frame


def _check_frames(
    sequence: slicer.vtkMRMLSequenceNode, labels: bool
) -> tuple[list[slicer.vtkMRMLVolumeNode], np.dtype]:
    """All frames, on one grid, and a dtype that holds them all; no voxel is copied."""
    first = _frame(sequence, 0, labels)
    frames, place = [first], _index_to_ras(first)
    dtype = slicer.util.arrayFromVolume(first).dtype
    shape = first.GetImageData().GetDimensions()
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(shape) - 1
    for number in range(1, sequence.GetNumberOfDataNodes()):
        frame = _frame(sequence, number, labels)
        gap = (_index_to_ras(frame) - place) @ corners.T
        if frame.GetImageData().GetDimensions() != shape or np.abs(gap).max() > _SAME_PLACE_MM:
            raise BadInput(
                _("Frame {number} of '{name}' ({index}) is on another grid than frame 1.").format(
                    number=number + 1,
                    name=sequence.GetName(),
                    index=sequence.GetNthIndexValue(number),
                ),
                _("Resample the frames to one grid, or use a single frame."),
            )
        dtype = np.result_type(dtype, slicer.util.arrayFromVolume(frame).dtype)
        frames.append(frame)
    return frames, dtype


def _voxels(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """A copy of the voxels ``(z, y, x)``."""
    return np.array(slicer.util.arrayFromVolume(node), order="C")


def _index_to_ras(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """4x4 from the index of the array's voxels to RAS mm, without parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    # A cropped image may count its voxels from another number than 0.
    first = np.array(node.GetImageData().GetExtent()[::2], float)
    affine[:3, 3] += affine[:3, :3] @ first
    return affine


def _grid(node: slicer.vtkMRMLVolumeNode, between: np.ndarray, called: str) -> Grid:
    shape = node.GetImageData().GetDimensions()[::-1]
    try:
        return Grid.from_affine(shape, between @ _index_to_ras(node), "RAS")
    except BadInput as error:
        raise BadInput(
            _("'{name}': {reason}").format(name=called, reason=error.message),
            _("Resample it to a rectangular grid (Resample Scalar/Vector/DWI Volume) first."),
        ) from error


def _transform_between(
    node: slicer.vtkMRMLNode | None, relative_to: slicer.vtkMRMLNode | None
) -> np.ndarray:
    """4x4 from the local RAS frame of a node to that of another; None is the world's frame.

    Raises:
        BadInput: what lies between is not linear, or ``relative_to`` was deleted.
    """
    if relative_to is not None and relative_to.GetScene() is None:
        raise BadInput(
            _("'{name}' is no longer in the scene.").format(name=relative_to.GetName()),
            _("Choose another volume."),
        )
    own, other = _parent_transform(node), _parent_transform(relative_to)
    if own is other:  # whatever is above both moves both
        return np.eye(4)
    linear = own.IsTransformToNodeLinear(other) if own else other.IsTransformToNodeLinear(own)
    if not linear:
        moved = node if node is not None and not _is_linear(own) else relative_to
        raise BadInput(
            _("'{name}' is moved by a transform that is not linear.").format(name=moved.GetName()),
            _("Harden the transform in the Transforms module, or resample the volume, first."),
        )
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(own, other, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _is_linear(transform: slicer.vtkMRMLTransformNode | None) -> bool:
    return transform is None or bool(transform.IsTransformToWorldLinear())


def _parent_transform(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLTransformNode | None:
    """The transform above a volume or above a sequence's proxy; None: there is none."""
    if (source := _as_sequence(node)) is not None:
        node = source.proxy
    return node.GetParentTransformNode() if node is not None else None
