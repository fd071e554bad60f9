"""NRRD, sequence NRRD (``.seq.nrrd``) and MetaImage (``.mha``, ``.mhd``) through SimpleITK.

A sequence is written as Slicer 5.12 writes it: four axes, the last of kind ``list`` with the
label and unit of the index, and ``axis 3 index type`` / ``axis 3 index values``. Older Slicers
put the list axis first (``axis 0 ...``) and older still ``MultiVolume.*`` keys; all are read.
"""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.common import (
    describe,
    described,
    exact_grid,
    known_metadata,
    known_times,
    real_native,
    storable,
)
from mriforge.io.itk_header import check_meta, check_nrrd, check_whole
from mriforge.volume import Grid, Image, Series, Volume

_KEY = "mriforge"
# MetaIO keeps a header field in a buffer of fixed size.
_LONGEST_META_FIELD = 8000
_SERIES_KINDS = {"list", "time", "none", "???", ""}


def read_itk(path: Path) -> Image:
    """A volume, or a series where the file has a list or time axis."""
    import SimpleITK as sitk

    (check_nrrd if _is_nrrd(path) else check_meta)(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if _is_nrrd(path) else "MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        keys = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
        _refuse_pixels(reader, keys)
        image = reader.Execute()
    except RuntimeError as error:
        raise ValueError(_first_reason(str(error))) from error
    array = real_native(sitk.GetArrayFromImage(image))
    axes = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
        axes += 1
    elif axes == 3 and "NRRD_kinds[pixel]" in keys:
        array = array[None]
        axes += 1
    return _assemble(path, image, array, axes, keys)


def write_itk(image: Image, path: Path) -> None:
    """Writes by the extension of ``path``, compressed; not atomic by itself."""
    import SimpleITK as sitk

    file = sitk.GetImageFromArray(storable(image.array), isVector=False)
    grid, extra = image.grid, image.array.ndim - 3
    file.SetSpacing((*grid.spacing, 1.0)[: 3 + extra])
    file.SetOrigin((*grid.origin, 0.0)[: 3 + extra])
    direction = np.eye(3 + extra)
    direction[:3, :3] = grid.direction_matrix
    if isinstance(image, Series) and not _is_nrrd(path):
        _set_meta_times(file, image)
    file.SetDirection(direction.ravel().tolist())
    for key, value in _header(image, _is_nrrd(path)).items():
        file.SetMetaData(key, value)
    try:
        sitk.WriteImage(file, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(errno.EIO, _first_reason(str(error))) from error
    check_whole(path, image.array.size * file.GetSizeOfPixelComponent())


def _is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in (".nrrd", ".nhdr")


def _header(image: Image, nrrd: bool) -> dict[str, str]:
    """Key-values of the file; the names that begin with ``NRRD_`` become NRRD fields."""
    comment = json.dumps(describe(image))
    if not nrrd and len(comment) > _LONGEST_META_FIELD:
        comment = json.dumps(describe(replace(image, metadata={})))
    header = {_KEY: comment} if nrrd or len(comment) < _LONGEST_META_FIELD else {}
    if not nrrd:
        return header
    header["NRRD_space"] = "left-posterior-superior"
    if isinstance(image, Series):
        header["NRRD_kinds[3]"] = "list"
        header["NRRD_labels[3]"] = image.time_name
        header["NRRD_units[3]"] = image.time_unit
        header["axis 3 index type"] = "numeric"
        header["axis 3 index values"] = " ".join(quote(repr(float(t))) for t in image.times)
        header["DataNodeClassName"] = "vtkMRMLScalarVolumeNode"
    return header


def _set_meta_times(file: Any, series: Series) -> None:
    """The mean step and the first time as spacing and offset of the fourth axis."""
    steps = np.diff(series.times)
    step = float(np.abs(steps).mean()) if steps.size else 0.0
    file.SetSpacing((*series.grid.spacing, step or 1.0))
    file.SetOrigin((*series.grid.origin, float(series.times[0])))


def _refuse_pixels(reader: Any, keys: dict[str, str]) -> None:
    """Refuses complex numbers, colours and vectors before their voxels are read."""
    import SimpleITK as sitk

    if reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise BadInput(
            "The voxels are complex numbers (raw or phase data).",
            "Save the magnitude image and use that.",
        )
    listed = any("index values" in key or key.startswith("MultiVolume.") for key in keys)
    kind = keys.get("NRRD_kinds[pixel]", "" if keys.get(_KEY) else "vector").lower()
    if reader.GetNumberOfComponents() > 1 and kind not in _SERIES_KINDS and not listed:
        raise BadInput(
            f"The voxels are colours or vectors ({reader.GetNumberOfComponents()} values each).",
            "Use a grey-scale image.",
        )


def _assemble(path: Path, image: Any, array: np.ndarray, axes: int, keys: dict[str, str]) -> Image:
    """Volume or series from SimpleITK's geometry and what the header says of it."""
    text = described(keys.get(_KEY))
    note = {}
    spatial = min(image.GetDimension(), 3)
    if axes > 4:
        raise BadInput(
            f"The image has {axes} axes.", "Save one image or one time series for each file."
        )
    if spatial == 2:
        array = array[..., None, :, :]
        note["note"] = "A two-dimensional image, read as a volume of one slice."
    size = image.GetDimension()
    direction = np.eye(3)
    direction[:spatial, :spatial] = np.reshape(image.GetDirection(), (size, size))[
        :spatial, :spatial
    ]
    grid = Grid(
        array.shape[-3:],
        (*image.GetSpacing()[:spatial], 1.0)[:3],
        (*image.GetOrigin()[:spatial], 0.0)[:3],
        tuple(direction.ravel()),
    )
    grid = exact_grid(grid, text)
    kind = "NRRD" if _is_nrrd(path) else "MetaImage"
    metadata = {**known_metadata(text), "source": str(path), "format": kind, **note}
    if array.ndim == 3:
        return Volume(array, grid, metadata)
    times = known_times(text, len(array)) or _times(image, len(array), keys)
    return Series(array, grid, *times, metadata=metadata)


def _times(image: Any, frames: int, keys: dict[str, str]) -> tuple[np.ndarray, str, str]:
    """Index values of a sequence, frame labels of a multi-volume, or equal steps."""
    name = keys.get("NRRD_labels[pixel]") or keys.get("NRRD_labels[3]") or "frame"
    unit = keys.get("NRRD_units[pixel]") or keys.get("NRRD_units[3]") or ""
    values = next((keys[k].split() for k in keys if k.endswith("index values")), None)
    if values is None and "MultiVolume.FrameLabels" in keys:
        values = keys["MultiVolume.FrameLabels"].split(",")
        name = keys.get("MultiVolume.FrameIdentifyingDICOMTagName", name)
        unit = keys.get("MultiVolume.FrameIdentifyingDICOMTagUnits", unit)
    if values is not None and len(values) == frames:
        try:
            return np.array([float(unquote(value)) for value in values]), name, unit
        except ValueError:
            # Index values of type "text" name the frames; their number is the time.
            return np.arange(frames, dtype=float), name, ""
    if image.GetDimension() == 4:
        step, start = image.GetSpacing()[3], image.GetOrigin()[3]
        if name == "frame" and (step, start) != (1.0, 0.0):
            name = "time"
        return start + step * np.arange(frames), name, unit or ("s" if name == "time" else "")
    return np.arange(frames, dtype=float), name, unit


def _first_reason(message: str) -> str:
    """The sentence of an ITK exception that says what is wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    last = re.sub(r"^.*?(ERROR|Error):\s*", "", lines[-1]) if lines else message
    return re.sub(r"^\w+\(0x[0-9a-f]+\):\s*", "", last)
