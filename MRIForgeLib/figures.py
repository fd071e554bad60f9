"""The figures of a comparison as a table node, and small helpers for table nodes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

_DIGITS = {"psnr": 2, "ssim": 4, "nrmse": 4, "mae": 4, "diff_sd": 4}

TESTS = ("ssim_test", "psnr_test")
"""Keys of the paired tests of the ``evaluate`` job."""


def headers() -> dict[str, str]:
    """Title of each figure's column, with its unit."""
    return {
        "psnr": _("PSNR (dB)"),
        "ssim": _("SSIM"),
        "nrmse": _("NRMSE"),
        "mae": _("MAE (of maximum)"),
        "diff_sd": _("SD of difference (of maximum)"),
        "ssim_test": _("SSIM, p against result"),
        "psnr_test": _("PSNR, p against result"),
    }


def text_column(title: str, values: Iterable[str]) -> vtk.vtkStringArray:
    """A column of texts."""
    column = vtk.vtkStringArray()
    column.SetName(title)
    for value in values:
        column.InsertNextValue(value)
    return column


def number_column(title: str, values: Iterable[float | None]) -> vtk.vtkDoubleArray:
    """A column of numbers; ``None`` is shown as nan."""
    column = vtk.vtkDoubleArray()
    column.SetName(title)
    for value in values:
        column.InsertNextValue(math.nan if value is None else value)
    return column


def set_columns(table: slicer.vtkMRMLTableNode, columns: Sequence[vtk.vtkAbstractArray]) -> None:
    """Replaces all columns of a table node."""
    blocked = table.StartModify()
    table.RemoveAllColumns()
    for column in columns:
        table.AddColumn(column)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.EndModify(blocked)


def fill_metrics_table(
    table: slicer.vtkMRMLTableNode,
    figures: Mapping[str, Any],
    result_name: str,
    reference_name: str,
    names: Mapping[str, str] | None = None,
) -> None:
    """One row for each image that was compared with the reference.

    Args:
        table: gets the columns.
        figures: what the ``evaluate`` job returned. MAE and SD of the difference are divided by
            the largest value of the reference, as PSNR and SSIM are.
        result_name, reference_name: how the images are called.
        names: how the other images (keys of ``figures["compare"]``) are called, where not by
            their key.
    """
    others = figures.get("compare") or {}
    rows = [(result_name, figures)]
    rows += [((names or {}).get(key, key), entry) for key, entry in others.items()]
    titles = headers()
    # The figures come first: beside five views there is room for three columns.
    columns = [text_column(_("Image"), (name for name, _entry in rows))]
    for key, digits in _DIGITS.items():
        values = (_figure(entry, key, digits) for _name, entry in rows)
        columns.append(number_column(titles[key], values))
    for key in TESTS:
        values = [(entry.get(key) or {}).get("wilcoxon_p") for _name, entry in rows]
        if any(value is not None for value in values):
            texts = ("" if value is None else f"{value:.2g}" for value in values)
            columns.append(text_column(titles[key], texts))
    columns.append(text_column(_("Compared with"), (reference_name for _row in rows)))
    where = _("inside the mask") if figures.get("masked") else _("whole image")
    columns.append(text_column(_("Where"), (where for _row in rows)))
    frames = len(figures.get("frames") or ())
    if frames > 1:
        columns.append(number_column(_("Frames (mean of)"), [frames] * len(rows)))
    set_columns(table, columns)
    table.SetLocked(True)


def _figure(entry: Mapping[str, Any], key: str, digits: int) -> float | None:
    value = entry.get(key)
    if value is not None:
        return round(float(value), digits)
    # The job has no number for the PSNR of equal images: JSON knows no infinity.
    return math.inf if key == "psnr" and entry.get("mae") == 0 else None
