"""What the DICOM files say that a volume was loaded from."""

from __future__ import annotations

import math
from typing import Any

import slicer

_SLICE_THICKNESS = "0018,0050"
_BODY_PART = "0018,0015"


def slice_thickness_mm(node: Any) -> float | None:
    """Thickness of the slices of a volume, or of the volume that a sequence shows.

    Args:
        node: a volume that Slicer loaded from its DICOM database, or any other node.

    Returns:
        None where the node is not from DICOM, or its files do not say.
    """
    try:
        thickness = float(_value(node, _SLICE_THICKNESS))
    except (TypeError, ValueError):
        return None
    return thickness if math.isfinite(thickness) and thickness > 0 else None


def body_part(node: Any) -> str:
    """Which part of the body was examined, such as ``ABDOMEN``; empty where nothing says so."""
    return str(_value(node, _BODY_PART) or "").strip().upper()


def modality(node: Any) -> str | None:
    """Modality of the series that a node was loaded from; None where nothing says so."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    return (hierarchy.GetItemAttribute(item, "DICOM.Modality") or None) if item else None


def patient_id(node: Any) -> str:
    """The patient above a node in the subject hierarchy; empty where there is none."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if not item:
        return ""
    return hierarchy.GetAttributeFromItemAncestor(item, "DICOM.PatientID", "Patient") or ""


def _value(node: Any, tag: str) -> Any:
    """A value of the header of a node's first file; None where there is none."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    return database.instanceValue(instances[0], tag) if database and instances else None
