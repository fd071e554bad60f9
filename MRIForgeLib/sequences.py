"""Sequences of volumes: which one a node belongs to, and what its index says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import slicer


@dataclass(frozen=True)
class SequenceSource:
    """A sequence and how it is browsed.

    Attributes:
        sequence: the sequence node.
        browser: the first browser that shows it; None: it has none.
        proxy: the volume that stands for its current frame; None: it has none.
    """

    sequence: slicer.vtkMRMLSequenceNode
    browser: slicer.vtkMRMLNode | None = None
    proxy: slicer.vtkMRMLVolumeNode | None = None

    @property
    def current(self) -> int:
        """Number of the frame that the browser shows, from 0; 0 without a browser."""
        shown = -1
        master = self.browser.GetMasterSequenceNode() if self.browser else None
        if master is self.sequence:
            shown = self.browser.GetSelectedItemNumber()
        elif master is not None:
            value = master.GetNthIndexValue(self.browser.GetSelectedItemNumber())
            shown = self.sequence.GetItemNumberFromIndexValue(value, False)
        return min(max(shown, 0), max(self.sequence.GetNumberOfDataNodes() - 1, 0))


@dataclass(frozen=True)
class IndexAxis:
    """What tells the frames of a sequence apart.

    Attributes:
        name, unit: as the sequence gives them; may be empty.
        values: of each frame, as text; text is what Slicer stores.
        numeric: whether Slicer sorts them and compares them as numbers.
        tolerance: below which Slicer takes two numbers for one; in ``unit``.
    """

    name: str
    unit: str
    values: tuple[str, ...]
    numeric: bool = True
    tolerance: float = 0.001

    @classmethod
    def of(cls, sequence: slicer.vtkMRMLSequenceNode) -> IndexAxis:
        """The axis of a sequence node."""
        count = sequence.GetNumberOfDataNodes()
        return cls(
            sequence.GetIndexName() or "",
            sequence.GetIndexUnit() or "",
            tuple(sequence.GetNthIndexValue(number) for number in range(count)),
            sequence.GetIndexType() == sequence.NumericIndex,
            sequence.GetNumericIndexValueTolerance(),
        )

    @property
    def numbers(self) -> list[float] | None:
        """The values as numbers; None if one of them is not a finite number."""
        try:
            numbers = [float(value) for value in self.values]
        except ValueError:
            return None
        return numbers if all(math.isfinite(number) for number in numbers) else None

    @property
    def times(self) -> list[float]:
        """The numbers; of an axis without numbers: 0, 1, 2, ..."""
        if (numbers := self.numbers) is not None:
            return numbers
        return [float(number) for number in range(len(self.values))]

    def keeps_order(self) -> bool:
        """Whether Slicer, sorting the values as numbers, would keep all frames in this order."""
        numbers = self.numbers
        if numbers is None:
            return False
        return all(after - before > self.tolerance for before, after in pairwise(numbers))

    def write_to(self, sequence: slicer.vtkMRMLSequenceNode) -> None:
        """Gives an empty sequence this axis; the values come with the frames."""
        sequence.SetIndexName(self.name)
        sequence.SetIndexUnit(self.unit)
        numeric = self.numeric and self.keeps_order()
        sequence.SetIndexType(sequence.NumericIndex if numeric else sequence.TextIndex)
        sequence.SetNumericIndexValueTolerance(self.tolerance)


def sequence_of(node: slicer.vtkMRMLNode | None) -> SequenceSource | None:
    """The sequence that a proxy volume shows, or that a sequence node is; None for other nodes."""
    scene = node.GetScene() if node is not None else None
    if scene is None:
        return None
    if node.IsA("vtkMRMLSequenceNode"):
        for browser in browsers_of(node):
            return SequenceSource(node, browser, browser.GetProxyNode(node))
        return SequenceSource(node)
    for browser in _browsers(scene):
        if browser.IsProxyNodeID(node.GetID()):
            sequence = browser.GetSequenceNode(node)
            if sequence is not None:
                return SequenceSource(sequence, browser, node)
    return None


def browsers_of(sequence: slicer.vtkMRMLSequenceNode) -> list[slicer.vtkMRMLNode]:
    """All browsers that show a sequence."""
    identity = sequence.GetID()
    return [
        browser
        for browser in _browsers(sequence.GetScene())
        if browser.IsSynchronizedSequenceNodeID(identity, True)
    ]


def _browsers(scene: slicer.vtkMRMLScene) -> Iterator[slicer.vtkMRMLNode]:
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        yield scene.GetNthNodeByClass(number, "vtkMRMLSequenceBrowserNode")
