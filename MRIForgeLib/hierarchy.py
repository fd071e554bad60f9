"""Places in the subject hierarchy, the tree of the Data module."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
import vtk

_NONE = 0
"""What the subject hierarchy answers when there is no such item."""


@dataclass(frozen=True)
class HierarchyPlace:
    """An item and the folder (patient, study, scene) it was in; 0 where there is none."""

    scene: slicer.vtkMRMLScene
    item: int
    parent: int

    @classmethod
    def of(cls, node: slicer.vtkMRMLNode) -> HierarchyPlace:
        """The place of a node."""
        tree = _tree(node.GetScene())
        item = tree.GetItemByDataNode(node)
        return cls(node.GetScene(), item, tree.GetItemParent(item) if item != _NONE else _NONE)

    def put(self, node: slicer.vtkMRMLNode) -> None:
        """Moves ``node`` right after the remembered item, or into the folder it was in.

        An item that was moved meanwhile is followed; without item and folder the node stays
        where Slicer puts new nodes.
        """
        tree = _tree(self.scene)
        known = set(_children(tree, tree.GetSceneItemID(), recursive=True))
        parent = tree.GetItemParent(self.item) if self.item in known else self.parent
        if parent not in known:
            parent = tree.GetSceneItemID()
        own = tree.GetItemByDataNode(node)
        if own == _NONE:
            own = tree.CreateItem(parent, node)
        elif tree.GetItemParent(own) != parent:
            tree.SetItemParent(own, parent)
        row = [item for item in _children(tree, parent) if item != own]
        if self.item in row and self.item != row[-1]:
            tree.MoveItem(own, row[row.index(self.item) + 1])


def forget(node: slicer.vtkMRMLNode) -> None:
    """Removes a node's item from the tree; the node itself stays in the scene."""
    tree = _tree(node.GetScene())
    item = tree.GetItemByDataNode(node)
    if item != _NONE:
        tree.RemoveItem(item, False, False)


def _tree(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _children(
    tree: slicer.vtkMRMLSubjectHierarchyNode, item: int, recursive: bool = False
) -> list[int]:
    found = vtk.vtkIdList()
    tree.GetItemChildren(item, found, recursive)
    return [found.GetId(number) for number in range(found.GetNumberOfIds())]
