"""What a result says about its origin, in the scene and in the files it is saved to.

The facts are node attributes. Slicer itself writes them into scene files (``.mrml``, ``.mrb``)
and volume sequences (``.seq.nrrd``), but not into the ``.nrrd`` of a single volume: there
:func:`keep_in_files` adds them once Slicer has written the file. NIfTI, MetaImage and other
formats saved by Slicer carry no provenance.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import slicer

from mriforge import __version__
from mriforge.events import plain

PREFIX = "MRIForge."
USE = "research use only"

_NRRD = (".nrrd", ".nhdr")
# Places in a temporary folder and times say nothing about the image.
_NOT_PROVENANCE = {"output", "json", "model", "checkpoint", "seconds"}
_MAX_HEADER_LINE = 1 << 24
_kept: weakref.WeakSet = weakref.WeakSet()  # storage nodes that have our observer


def provenance_attributes(
    job: str, result: Mapping[str, Any], input_name: str = ""
) -> dict[str, str]:
    """The attributes of a result node; what is not known is left out.

    Args:
        job: the command.
        result: the worker's ``result``: figures and ``method`` (name, kind, network, sha256).
        input_name: name of the input node.

    Returns:
        ``MRIForge.job``, ``.use``, ``.input``, ``.model``, ``.modelSha256``, ``.finetuned`` and
        ``.provenance`` (JSON, ASCII).
    """
    method = result.get("method")
    method = method if isinstance(method, Mapping) else {}
    facts = {key: value for key, value in result.items() if key not in _NOT_PROVENANCE}
    provenance = {
        "software": f"MRIForge {__version__}",
        "use": USE,
        "job": job,
        "input": input_name,
        **facts,
    }
    attributes = {
        "job": job,
        "use": USE,
        "input": input_name,
        "model": method.get("name"),
        "modelSha256": method.get("sha256"),
        "finetuned": "yes" if result.get("finetune") else None,
        "provenance": json.dumps(plain(provenance)),
    }
    return {PREFIX + key: str(value) for key, value in attributes.items() if value}


def set_attributes(node: slicer.vtkMRMLNode, attributes: Mapping[str, str]) -> None:
    """Replaces what a node says about its origin.

    What it said before, as a result or as an image loaded from DICOM, is no longer true.
    """
    for name in node.GetAttributeNames():
        if name.startswith((PREFIX, "DICOM.")):
            node.RemoveAttribute(name)
    for name, value in attributes.items():
        node.SetAttribute(name, value)


def keep_in_files(node: slicer.vtkMRMLStorableNode) -> None:
    """From now on, writes the provenance of a volume into each ``.nrrd`` it is saved to.

    The observer goes with the node's storage node.
    """
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    if storage is None or storage in _kept:
        return
    if storage.IsA("vtkMRMLVolumeArchetypeStorageNode"):
        _kept.add(storage)
        name = storage.GetFullNameFromFileName() or ""
        storage.AddObserver("ModifiedEvent", _stamper(node.GetID(), name))


def keep_in_files_of(scene: slicer.vtkMRMLScene) -> None:
    """:func:`keep_in_files` for all results of a scene, as after loading it."""
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLVolumeNode")
        if node.GetAttribute(PREFIX + "job"):
            keep_in_files(node)


def keep_in_files_after_loading() -> None:
    """From now on :func:`keep_in_files_of` the scene each time something was loaded into it."""
    scene = slicer.mrmlScene
    scene.AddObserver(scene.EndImportEvent, lambda _scene, _event: keep_in_files_of(scene))


def stamp_nrrd(path: Path, attributes: Mapping[str, str]) -> bool:
    """Adds key/value pairs to the header of an NRRD file; voxels are copied as they are.

    The file is replaced at once when the new one is whole. Keys that are there already stay.

    Returns:
        Whether anything was added.

    Raises:
        OSError: the file cannot be read, or the disk is full; the file is then unchanged.
    """
    with open(path, "rb") as source:
        if not source.readline(_MAX_HEADER_LINE).startswith(b"NRRD"):
            return False
        header, end = [], b""
        while line := source.readline(_MAX_HEADER_LINE):
            if not line.strip(b"\r\n"):
                end = line
                break
            header.append(line)
        there = {line.split(b":=", 1)[0].decode("utf-8", "replace") for line in header}
        added = {key: value for key, value in attributes.items() if key not in there}
        if not added:
            return False
        voxels = source.tell()
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(handle, "wb") as target:
                source.seek(0)
                text = source.read(voxels - len(end))
                target.write(text if text.endswith(b"\n") else text + b"\n")
                for key, value in added.items():
                    target.write(f"{key}:={_escaped(value)}\n".encode())
                target.write(end)
                source.seek(voxels)
                shutil.copyfileobj(source, target, 1 << 22)
            shutil.copymode(path, partial)
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    return True


def _escaped(value: str) -> str:
    """A value on one line, as the NRRD format writes it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "")


def _stamper(node_id: str, named: str) -> Callable[[slicer.vtkMRMLStorageNode, str], None]:
    """Observer of a storage node with file ``named``: stamps what Slicer has written.

    Naming a file also modifies the storage node. A file that was there before it was named must
    not be touched, so only one that has changed since is stamped.
    """
    seen: dict[str, tuple[int, int] | None] = {named: _signature(named)}

    def on_modified(storage: slicer.vtkMRMLStorageNode, event: str) -> None:
        name = storage.GetFullNameFromFileName() or ""
        if not name.lower().endswith(_NRRD):
            seen.clear()
            return
        now = _signature(name)
        if name not in seen:
            seen.clear()
            seen[name] = now
            return
        written = storage.GetWriteState() == storage.TransferDone
        if not written or now is None or seen[name] == now:
            return
        scene = storage.GetScene()
        node = scene.GetNodeByID(node_id) if scene is not None else None
        if node is None:
            return
        try:
            stamp_nrrd(Path(name), _origin(node))
        except OSError as error:
            logging.warning(f"MRIForge: {name} was saved without its provenance ({error}).")
        seen[name] = _signature(name)

    return on_modified


def _origin(node: slicer.vtkMRMLNode) -> dict[str, str]:
    names = (name for name in node.GetAttributeNames() if name.startswith(PREFIX))
    return {name: node.GetAttribute(name) for name in names}


def _signature(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
