"""Volumes, sequences and transforms of the tests of the adapter."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import slicer
import vtk

OBLIQUE = (
    (1.5 * np.cos(0.3), -2.0 * np.sin(0.3), 0.0, 11.0),
    (1.5 * np.sin(0.3), 2.0 * np.cos(0.3), 0.0, -7.0),
    (0.0, 0.0, -5.0, 23.0),  # the third axis points down: left-handed
    (0.0, 0.0, 0.0, 1.0),
)


def vtk_matrix(rows) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(rows, float).ravel().tolist())
    return matrix


def index_to_world(node) -> np.ndarray:
    """4x4 from index to world RAS, as Slicer computes it from all transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    above = vtk.vtkMatrix4x4()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(above)
    return slicer.util.arrayFromVTKMatrix(above) @ slicer.util.arrayFromVTKMatrix(matrix)


def add_image(scene, array, rows=OBLIQUE, name="scan", kind="vtkMRMLScalarVolumeNode"):
    node = scene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, np.asarray(array))
    node.SetIJKToRASMatrix(vtk_matrix(rows))
    node.CreateDefaultDisplayNodes()
    return node


def add_linear(scene, rows, parent=None, name="moved"):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(vtk_matrix(rows))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def add_warp(scene, kind="grid", name="warp"):
    """A transform that bends space."""
    image = vtk.vtkImageData()
    image.SetDimensions(6, 6, 6)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    vectors = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    vectors[:] = np.random.default_rng(0).normal(size=vectors.shape)
    if kind == "grid":
        node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", name)
        warp = slicer.vtkOrientedGridTransform()
        warp.SetDisplacementGridData(image)
    else:
        node = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", name)
        warp = slicer.vtkOrientedBSplineTransform()
        warp.SetCoefficientData(image)
    node.SetAndObserveTransformToParent(warp)
    return node


def add_sequence(
    scene,
    arrays: Sequence[np.ndarray],
    values: Sequence[str],
    rows=OBLIQUE,
    name="cine",
    browser=True,
    axis=("time", "ms"),
):
    """A sequence of volumes; returns sequence, browser and proxy."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName(axis[0])
    sequence.SetIndexUnit(axis[1])
    for array, value in zip(arrays, values, strict=True):
        frame = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(frame, array)
        frame.SetIJKToRASMatrix(vtk_matrix(rows))
        sequence.SetDataNodeAtValue(frame, value)
    if not browser:
        return sequence, None, None
    shown = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    proxy = add_image(scene, arrays[0], rows, f"{name} proxy")
    shown.AddProxyNode(proxy, sequence, False)
    shown.SetSelectedItemNumber(0)
    return sequence, shown, proxy


def finish(steps: Generator):
    """What a generator returns, and how often it paused."""
    count = 0
    while True:
        try:
            next(steps)
            count += 1
        except StopIteration as end:
            return end.value, count


def contents(scene) -> set[str]:
    """IDs of all nodes, and the items of the subject hierarchy."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)  # made when asked for
    nodes = {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}
    items = vtk.vtkIdList()
    tree.GetItemChildren(tree.GetSceneItemID(), items, True)
    return nodes | {f"item {items.GetId(i)}" for i in range(items.GetNumberOfIds())}
