"""Labels that were drawn on the slices of a DICOM series and saved as pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.common import reading, real_native
from mriforge.volume import Volume


def read_drawn(pictures: Path, series: Path) -> Volume:
    """A folder of PNG files as labels on the voxels of a DICOM series.

    A picture belongs to the DICOM file of the same name, or else to the one that has the same
    place in the order of names.

    Args:
        pictures: folder of one PNG file for each slice.
        series: folder of one DICOM series of one time point.

    Returns:
        grey values as stored, on the grid of the series.

    Raises:
        BadInput: another number of pictures than of slices, pictures of other sizes or colours.
    """
    from mriforge.io.dicom import quiet
    from mriforge.io.dicom.scan import choose, scan
    from mriforge.io.dicom.stack import stack

    with quiet(), reading(series):
        placed = stack(choose(scan(series), None, series).frames, time=None, name=str(series))
    files = sorted(pictures.glob("*.[pP][nN][gG]"), key=_in_order)
    places = {frame.path: z for z, frame in enumerate(placed.order[0])}
    if len(files) != len(places) or len(placed.order) != 1:
        raise BadInput(
            f"{pictures} holds {len(files)} pictures, but {series} "
            f"{len(places)} slices at {len(placed.order)} times.",
            "Copy both folders again; each slice needs one picture.",
        )
    if {file.stem for file in files} == {path.stem for path in places}:
        order = [
            places[path] for path in sorted(places, key=lambda path: _in_order(Path(path.stem)))
        ]
        files.sort(key=lambda file: _in_order(Path(file.stem)))
    else:
        order = [places[path] for path in sorted(places, key=_in_order)]
    array = np.zeros(placed.grid.shape, dtype=np.int32)
    for file, z in zip(files, order, strict=True):
        array[z] = _picture(file, placed.grid.shape[1:])
    return Volume(array, placed.grid, {"source": str(pictures)})


def _in_order(path: Path) -> list:
    """Names with numbers in the order of the numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdigit() else part.lower() for part in parts]


def _picture(path: Path, size: tuple[int, ...]) -> np.ndarray:
    import SimpleITK as sitk

    try:
        picture = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise BadInput(f"The picture {path} cannot be read.", "Copy it again.") from error
    array = real_native(sitk.GetArrayFromImage(picture))
    if array.shape != size:
        raise BadInput(
            f"The picture {path} has {array.shape[::-1]} pixels, its image {size[::-1]}.",
            "Labels need the pixels of their image, and one grey value each.",
        )
    return array
