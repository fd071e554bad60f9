"""Loading and saving of nodes, as `slicer.util.loadVolume`, `saveNode` and the like ask for it."""

from __future__ import annotations

from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore

from . import pythonqt

#: File type as slicer.util names it, and the class of the node that such a file becomes.
_NODE_CLASSES = {
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "SequenceFile": "vtkMRMLSequenceNode",
    "TableFile": "vtkMRMLTableNode",
    "TextFile": "vtkMRMLTextNode",
    "TransformFile": "vtkMRMLTransformNode",
    "ModelFile": "vtkMRMLModelNode",
    "MarkupsFile": "vtkMRMLMarkupsFiducialNode",
    "ColorTableFile": "vtkMRMLColorTableNode",
}
#: Endings by which a file's type is known when the caller does not say it; longest first.
_ENDINGS = {
    ".seq.nrrd": "SequenceFile",
    ".seq.nhdr": "SequenceFile",
    ".seg.nrrd": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".nii.gz": "VolumeFile",
    ".nii": "VolumeFile",
    ".nrrd": "VolumeFile",
    ".nhdr": "VolumeFile",
    ".mha": "VolumeFile",
    ".mhd": "VolumeFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".txt": "TextFile",
    ".json": "TextFile",
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
    ".stl": "ModelFile",
    ".vtk": "ModelFile",
}


@pythonqt.plain
class qSlicerIOManager(QtCore.QObject):
    """Readers and writers by file type; the work is done by MRML's own storage nodes."""

    newFileLoaded = QtCore.Signal(dict)
    fileSaved = QtCore.Signal(dict)

    # Reading

    def fileType(self, file_name):
        lower = Path(file_name).name.lower()
        return next((kind for end, kind in _ENDINGS.items() if lower.endswith(end)), "NoFile")

    def registeredFileReaderCount(self, file_type):
        return int(file_type in {*_NODE_CLASSES, "VolumeFile", "SceneFile"})

    def loadNodes(self, file_type, properties, loaded_nodes=None, user_messages=None):
        """Load one file; new nodes are added to `loaded_nodes`. Returns whether it worked."""
        properties = dict(properties)
        path = Path(str(properties["fileName"]))
        if not path.exists():
            _tell(user_messages, f"{path}: no such file")
            return False
        if file_type == "SceneFile":
            return bool(slicer.app._core.io_manager.load_scene(path))
        name = properties.get("name") or _stem(path)
        if file_type == "VolumeFile":
            node = self._load_volume(path, name, properties)
        elif file_type in _NODE_CLASSES:
            node = _load_with_storage(path, name, _NODE_CLASSES[file_type], user_messages)
        else:
            _tell(user_messages, f"{path}: no reader for {file_type}")
            return False
        if node is None:
            return False
        if loaded_nodes is not None:
            loaded_nodes.AddItem(node)
        properties["fileType"] = file_type
        self.newFileLoaded.emit(properties)
        return True

    def _load_volume(self, path, name, properties):
        logic = slicer.modules.volumes.logic()
        options = (1 if properties.get("labelmap") else 0) | (4 if properties.get("show") else 0)
        node = logic.AddArchetypeVolume(str(path), name, options)
        if node is not None and properties.get("show", True):
            application = slicer.app.applicationLogic()
            selection = application.GetSelectionNode()
            if node.IsA("vtkMRMLLabelMapVolumeNode"):
                selection.SetActiveLabelVolumeID(node.GetID())
            else:
                selection.SetActiveVolumeID(node.GetID())
            application.PropagateVolumeSelection()
        return node

    def loadScene(self, file_name, clear=True):
        if clear:
            slicer.mrmlScene.Clear(False)
        return bool(slicer.app._core.io_manager.load_scene(file_name))

    # Writing

    def fileWriterFileType(self, node, file_format=None):
        for kind, class_name in _NODE_CLASSES.items():
            if node.IsA(class_name):
                return kind
        return "VolumeFile" if node.IsA("vtkMRMLVolumeNode") else "NoFile"

    def fileWriterExtensions(self, node):
        """Format strings as Slicer's writers give them, such as "NRRD (.nrrd)"."""
        storage = _default_storage(node)
        types = storage.GetSupportedWriteFileTypes() if storage else None
        return [types.GetValue(i) for i in range(types.GetNumberOfValues())] if types else []

    def extractKnownExtension(self, file_name, node):
        storage = _default_storage(node)
        if storage is None:
            return ""
        return storage.GetSupportedFileExtension(str(file_name), False, True)

    def saveNodes(self, file_type, properties, user_messages=None):
        """Save the node named by `nodeID`; the node remembers the file, as in Slicer."""
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return bool(slicer.app._core.io_manager.save_scene(path))
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node is None or not node.AddDefaultStorageNode(path):
            _tell(user_messages, f"{path}: this node cannot be saved")
            return False
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        return _write(storage, node, path, properties, user_messages)

    def exportNodes(self, node_ids, file_names, properties, harden=False, user_messages=None):
        """Write nodes without changing what they remember of their files."""
        for node_id, path in zip(node_ids, file_names, strict=True):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            storage = _default_storage(node)
            if storage is None or harden:
                _tell(user_messages, f"{path}: this export is not supported")
                return False
            storage.SetFileName(str(path))
            if not _write(storage, node, path, properties, user_messages):
                return False
        return True


def _write(storage, node, path, properties, user_messages) -> bool:
    if "useCompression" in properties:
        storage.SetUseCompression(int(properties["useCompression"]))
    if not storage.WriteData(node):
        _tell(user_messages, f"{path}: could not be written")
        return False
    return True


def _load_with_storage(path: Path, name: str, class_name: str, user_messages):
    if class_name == "vtkMRMLSequenceNode":
        # The kind of sequence decides the storage class, and only the logic knows which.
        return slicer.modules.sequences.logic().AddSequence(str(path))
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass(class_name, name)
    if not node.AddDefaultStorageNode(str(path)) or not node.GetStorageNode().ReadData(node):
        _tell(user_messages, f"{path}: could not be read")
        scene.RemoveNode(node)
        return None
    if hasattr(node, "CreateDefaultDisplayNodes"):
        node.CreateDefaultDisplayNodes()
    return node


def _default_storage(node):
    """A new storage node for a node, kept out of the scene; None if it has none."""
    storage = node.CreateDefaultStorageNode() if hasattr(node, "CreateDefaultStorageNode") else None
    if storage is not None:
        storage.UnRegister(None)  # VTK's Create functions hand over a reference of their own
    return storage


def _stem(path: Path) -> str:
    lower = path.name.lower()
    end = next((end for end in _ENDINGS if lower.endswith(end)), path.suffix)
    return path.name[: len(path.name) - len(end)]


def _tell(user_messages, text: str) -> None:
    if user_messages is not None:
        user_messages.AddMessage(vtk.vtkCommand.ErrorEvent, text)
