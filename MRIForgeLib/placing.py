"""Results in the MRML scene: beside their input, moved, browsed and shown as it is.

Whatever was deleted while a job ran, its result still gets a place: what is gone is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from mriforge.errors import BadInput, Failed
from mriforge.volume import Image, Series, Volume
from MRIForgeLib.nodes import grid_matrix
from MRIForgeLib.places import Look, Place
from MRIForgeLib.provenance import (
    PREFIX,
    keep_in_files,
    provenance_attributes,
    set_attributes,
)
from MRIForgeLib.removing import FILLED, OWN_BROWSER, at_rest, remove_result
from MRIForgeLib.sequences import IndexAxis, sequence_of

__all__ = [
    "LABELS",
    "SCALAR",
    "Place",
    "add_result_steps",
    "add_series_steps",
    "add_volume",
    "check_output",
    "provenance_attributes",
    "remove_result",
]

SCALAR = "vtkMRMLScalarVolumeNode"
LABELS = "vtkMRMLLabelMapVolumeNode"
_GREY = "vtkMRMLColorTableNodeGrey"


def add_volume(
    volume: Volume,
    place: Place,
    name: str,
    attributes: Mapping[str, str],
    class_name: str = SCALAR,
    output: slicer.vtkMRMLVolumeNode | None = None,
    same_look: bool = True,
) -> slicer.vtkMRMLVolumeNode:
    """Puts a result into the scene.

    Args:
        name: of the new node; made unique.
        attributes: see :func:`MRIForgeLib.provenance.provenance_attributes`.
        class_name: of the new node; ``vtkMRMLLabelMapVolumeNode`` for labels.
        output: existing node to fill; it keeps its name. If it was deleted, a new one is made.
        same_look: show it with the input's gray window; off for maps in other units.

    Raises:
        BadInput: ``output`` cannot take the result (:func:`check_output`).
    """
    if output is not None and output.GetScene() is None:
        output = None
    check_output(output, place, class_name)
    fresh = output is None or output.GetImageData() is None
    node = output
    if node is None:
        node = place.scene.AddNewNodeByClass(class_name, place.scene.GenerateUniqueName(name))
    try:
        set_attributes(node, attributes)
        if output is not None:
            node.SetAttribute(FILLED, "yes")
        blocked = node.StartModify()
        node.SetIJKToRASMatrix(grid_matrix(volume.grid))
        node.SetAndObserveImageData(image_data(volume.array))
        node.EndModify(blocked)
        _dress(node, place, same_look and class_name == SCALAR)
        if fresh:
            place.beside.put(node)
        keep_in_files(node)
    except BaseException:
        remove_result([node])
        raise
    return node


def add_series_steps(
    series: Series,
    place: Place,
    name: str,
    attributes: Mapping[str, str],
    same_look: bool = True,
) -> Generator[None, None, tuple[slicer.vtkMRMLSequenceNode, slicer.vtkMRMLVolumeNode]]:
    """Puts a series into the scene, one frame a step, in the browser of its input.

    Nothing is in the scene before the last step. Index name, unit, type and values are the
    input's, as text. Where the input has no browser (any more) a new one is made.

    Args:
        name, attributes, same_look: as of :func:`add_volume`. Frames carry all attributes but
            the long ``MRIForge.provenance``: the proxy always has those of its frame.

    Returns:
        The sequence and its proxy volume; both have the same name.

    Raises:
        Failed: two frames have the same index.
    """
    axis = place.axis_for(series)
    sequence = slicer.vtkMRMLSequenceNode()
    axis.write_to(sequence)
    matrix = grid_matrix(series.grid)
    short = of_frame(attributes)
    for value, array in zip(axis.values, series.array, strict=True):
        frame = slicer.vtkMRMLScalarVolumeNode()
        frame.SetName(name)
        set_attributes(frame, short)
        frame.SetIJKToRASMatrix(matrix)
        # The sequence keeps a copy of the node: the voxels are given to the copy alone.
        sequence.SetDataNodeAtValue(frame, value).SetAndObserveImageData(image_data(array))
        yield
    check_frames(sequence, axis, place)
    set_attributes(sequence, attributes)
    return add_sequence(sequence, place, name, lambda proxy: _dress(proxy, place, same_look))


def of_frame(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes that each frame of a sequence carries: all but the long one."""
    return {key: value for key, value in attributes.items() if key != PREFIX + "provenance"}


def check_frames(sequence: slicer.vtkMRMLSequenceNode, axis: IndexAxis, place: Place) -> None:
    """Refuses a sequence that has not kept each frame.

    Raises:
        Failed: two frames have the same index.
    """
    if IndexAxis.of(sequence).values != axis.values:
        raise Failed(
            _("The frames of '{name}' cannot be told apart: some have the same index.").format(
                name=place.name
            ),
            _("Give each frame of the input its own index value."),
        )


def add_result_steps(
    image: Image,
    place: Place,
    name: str,
    attributes: Mapping[str, str],
    output: slicer.vtkMRMLVolumeNode | None = None,
) -> Generator[None, None, dict[str, slicer.vtkMRMLNode]]:
    """Puts a volume or a series into the scene, as a task's ``collect`` returns it.

    Returns:
        ``result`` (of a series the proxy volume) and, of a series, ``sequence``.
    """
    if isinstance(image, Series):
        sequence, proxy = yield from add_series_steps(image, place, name, attributes)
        return {"result": proxy, "sequence": sequence}
    return {"result": add_volume(image, place, name, attributes, output=output)}


def add_sequence(
    sequence: slicer.vtkMRMLSequenceNode,
    place: Place,
    name: str,
    dress: Callable[[slicer.vtkMRMLNode], None],
    class_name: str = SCALAR,
) -> tuple[slicer.vtkMRMLSequenceNode, slicer.vtkMRMLNode]:
    """Adds a whole sequence and its proxy to the scene and to the input's browser.

    Args:
        sequence: with all its frames, in no scene yet.
        name: of sequence and proxy; made unique.
        dress: gives the proxy its transform and display.
        class_name: of the proxy.

    Returns:
        The sequence and its proxy.
    """
    scene = place.scene
    name = scene.GenerateUniqueName(name)
    sequence.SetName(name)
    scene.AddNode(sequence)
    made = [sequence]
    try:
        proxy = scene.AddNewNodeByClass(class_name, name)
        made.append(proxy)
        browser = place.node(place.browser_id) or _new_browser(scene, name)
        shown = _shown_value(browser)
        frame = sequence.GetDataNodeAtValue(shown, False) if shown else sequence.GetNthDataNode(0)
        proxy.CopyContent(frame)
        proxy.SetName(name)
        # Everything else comes before the browser knows the proxy: it may be recording.
        dress(proxy)
        (place.beside_sequence or place.beside).put(sequence)
        place.beside.put(proxy)
        if class_name == SCALAR:
            keep_in_files(proxy)
        with at_rest(browser):
            browser.AddProxyNode(proxy, sequence, False)
            browser.SetOverwriteProxyName(sequence, False)
            browser.SetSaveChanges(sequence, False)
            browser.SetPlayback(sequence, True)
    except BaseException:
        remove_result(made)
        raise
    return sequence, proxy


def check_output(output: slicer.vtkMRMLNode | None, place: Place, class_name: str = SCALAR) -> None:
    """Whether a result may be put into ``output``; None is a new node and always may.

    Raises:
        BadInput: it is the input, a frame of some sequence, or of another kind.
    """
    if output is None:
        return
    name = output.GetName()
    if output.GetID() in (place.node_id, place.sequence_id):
        raise BadInput(
            _("'{name}' is the input itself; the input is never overwritten.").format(name=name),
            _("Choose another output, or a new volume."),
        )
    if output.GetClassName() != class_name:
        raise BadInput(
            _("'{name}' cannot hold the result: it is a {kind}.").format(
                name=name, kind=output.GetNodeTagName()
            ),
            _("Choose another output, or a new volume."),
        )
    if sequence_of(output) is not None:
        raise BadInput(
            _("'{name}' shows a frame of a sequence and would change with it.").format(name=name),
            _("Choose another output, or a new volume."),
        )


def image_data(array: np.ndarray) -> vtk.vtkImageData:
    """A VTK image with a copy of the voxels ``(z, y, x)``; half floats and booleans are widened."""
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    scalars = numpy_support.numpy_to_vtk(array.reshape(-1), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def _dress(node: slicer.vtkMRMLVolumeNode, place: Place, same_look: bool) -> None:
    """Transform and display of the input, as far as they are still there."""
    transform = place.transform()
    node.SetAndObserveTransformNodeID(transform.GetID() if transform else None)
    bare = node.GetDisplayNode() is None
    if bare:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    look = (Look.of(place.node(place.node_id)) or place.look) if same_look else None
    if display is None or look is None:
        return
    blocked = display.StartModify()
    if bare:  # the colors of an existing output were chosen by the user
        known = place.node(look.color_id) is not None
        display.SetAndObserveColorNodeID(look.color_id if known else _GREY)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(look.window, look.level)
    display.EndModify(blocked)


def _new_browser(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLNode:
    called = scene.GenerateUniqueName(_("{name} browser").format(name=name))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", called)
    browser.SetAttribute(OWN_BROWSER, "yes")
    return browser


def _shown_value(browser: slicer.vtkMRMLNode) -> str:
    """Index of the frame that a browser shows; empty when it shows none."""
    master, number = browser.GetMasterSequenceNode(), browser.GetSelectedItemNumber()
    return master.GetNthIndexValue(number) if master is not None and number >= 0 else ""
