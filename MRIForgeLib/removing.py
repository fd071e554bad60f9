"""Taking results out of the scene again, with all that was made for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import slicer

from MRIForgeLib.hierarchy import forget
from MRIForgeLib.sequences import browsers_of

FILLED = "MRIForgeLib.filled"
"""Attribute of a node that was there before the result was put into it."""
OWN_BROWSER = "MRIForgeLib.browser"
"""Attribute of a sequence browser that was made for a result."""


def remove_result(nodes: Mapping[str, Any] | Iterable[Any]) -> None:
    """Takes results out of the scene again, with all that was made for them.

    Args:
        nodes: nodes, or tuples of them, or None; by name or in a row. Those already gone, and
            existing nodes that were only filled, are left alone.
    """
    pending = list(nodes.values() if isinstance(nodes, Mapping) else nodes)
    while pending:
        node = pending.pop(0)
        if isinstance(node, (list, tuple)):
            pending[:0] = node
        elif node is not None and node.GetScene() is not None and not node.GetAttribute(FILLED):
            if node.IsA("vtkMRMLSequenceNode"):
                _leave_browsers(node)
            _remove(node)


@contextmanager
def at_rest(browser: slicer.vtkMRMLNode) -> Iterator[None]:
    """Playback pauses; afterwards it goes on, and the same frame is shown as before."""
    playing, recording = browser.GetPlaybackActive(), browser.GetRecordingActive()
    shown = browser.GetSelectedItemNumber()
    browser.SetPlaybackActive(False)
    try:
        yield
    finally:
        count = browser.GetNumberOfItems()
        wanted = min(max(shown, 0), count - 1)
        if browser.GetSelectedItemNumber() != wanted:
            browser.SetSelectedItemNumber(wanted)
        if recording and count and not browser.GetRecordingActive():
            browser.SetRecordingActive(True)
        browser.SetPlaybackActive(bool(playing and count))


def _leave_browsers(sequence: slicer.vtkMRMLSequenceNode) -> None:
    for browser in browsers_of(sequence):
        with at_rest(browser):
            proxy = browser.GetProxyNode(sequence)
            browser.RemoveSynchronizedSequenceNode(sequence.GetID())
        if proxy is not None and proxy.GetScene() is not None:
            _remove(proxy)
        if browser.GetAttribute(OWN_BROWSER) and browser.GetMasterSequenceNode() is None:
            browser.GetScene().RemoveNode(browser)


def _remove(node: slicer.vtkMRMLNode) -> None:
    """Removes a node with its display and storage nodes."""
    scene = node.GetScene()
    others = []
    if node.IsA("vtkMRMLDisplayableNode"):
        others += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        others += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
    forget(node)
    scene.RemoveNode(node)
    for other in others:
        if other is not None and other.GetScene() is not None:
            scene.RemoveNode(other)
