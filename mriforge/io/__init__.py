"""Reading and writing images: ``read``, ``write``, ``list_series``.

Heavy libraries (nibabel, SimpleITK, pydicom) are imported when a file of theirs comes up.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from mriforge.errors import BadInput
from mriforge.io.atomic import atomic_directory, atomic_path, check_writable
from mriforge.io.common import reading
from mriforge.io.formats import Format, format_of_output, recognise
from mriforge.io.series import SeriesInfo
from mriforge.volume import Image, as_series

__all__ = ["SeriesInfo", "check_output", "check_writable", "list_series", "read", "write"]


def read(path: str | os.PathLike, *, series: str | None = None, time: str | None = None) -> Image:
    """Reads a file or a DICOM folder.

    Args:
        path: NIfTI, MGH, NRRD, sequence NRRD, MetaImage, NumPy with its JSON file, a DICOM file,
            or a folder of DICOM files (searched with its subfolders).
        series: which one, when a DICOM folder holds several: a key, number or part of the
            description as :func:`list_series` gives them.
        time: what tells the frames of a DICOM series apart (``"trigger time"``, ``"echo time"``,
            ...), when more than one thing does.

    Returns:
        A volume, or a series when there is a time axis (of one frame or more). Voxels keep the
        stored dtype; they are scaled only if the header says so.

    Raises:
        BadInput: names the file, says what is wrong and what to do.
    """
    path = Path(path)
    kind = recognise(path)
    with reading(path):
        if kind is Format.NIFTI:
            from mriforge.io.nifti import read_nifti

            return read_nifti(path)
        if kind is Format.MGH:
            from mriforge.io.nifti import read_mgh

            return read_mgh(path)
        if kind in (Format.NRRD, Format.META):
            from mriforge.io.itk import read_itk

            return read_itk(path)
        if kind is Format.NUMPY:
            from mriforge.io.npy import read_npy

            return read_npy(path)
        from mriforge.io.dicom import read_dicom

        return read_dicom(path, series=series, time=time)


def list_series(folder: str | os.PathLike) -> list[SeriesInfo]:
    """The image series in a DICOM folder (or file), in the order of their numbers."""
    from mriforge.io.dicom import list_dicom

    path = Path(folder)
    if recognise(path) is not Format.DICOM:
        raise BadInput(f"{path} is not DICOM.", "Give a folder of DICOM files.")
    with reading(path):
        return list_dicom(path)


def check_output(path: str | os.PathLike) -> None:
    """Refuses an output name that :func:`write` could not write, before any work is done."""
    kind = format_of_output(path)
    check_writable(path)
    if kind is not Format.DICOM and Path(path).is_dir():
        raise BadInput(f"{path} is a folder, not a file.", "Give the name of a file.")


def write(
    image: Image, path: str | os.PathLike, *, source: str | os.PathLike | None = None
) -> Path:
    """Writes an image whole or not at all.

    Args:
        image: a volume or a series.
        path: ``.nii``, ``.nii.gz``, ``.nrrd``, ``.seq.nrrd``, ``.mha`` or ``.npy`` (with a JSON
            file beside it); a name without extension, or with ``/`` at its end, is a DICOM folder.
        source: DICOM folder or file that the image was made from; a DICOM output takes patient,
            study and references from it.

    Returns:
        The final path.

    Raises:
        BadInput: for a name that cannot be written.
        Failed: when the disk is full.
    """
    check_output(path)
    kind = format_of_output(path)
    path = Path(path)
    if kind is Format.DICOM:
        from mriforge.io.dicom import write_dicom

        with atomic_directory(path) as partial:
            write_dicom(image, partial, source=None if source is None else Path(source))
        return path
    with ExitStack() as stack:
        if kind is Format.NUMPY:
            from mriforge.io.npy import sidecar, write_npy

            array = stack.enter_context(atomic_path(path))
            # Left first, so renamed first.
            beside = stack.enter_context(atomic_path(sidecar(path)))
            write_npy(image, array, beside, path)
        elif kind is Format.NIFTI:
            from mriforge.io.nifti import write_nifti

            write_nifti(image, stack.enter_context(atomic_path(path)))
        else:
            from mriforge.io.itk import write_itk

            sequence = path.name.lower().endswith(".seq.nrrd")
            write_itk(
                as_series(image) if sequence else image, stack.enter_context(atomic_path(path))
            )
    return path
