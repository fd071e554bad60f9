"""Volumes of organs as tables, and over time as charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import slicer
from slicer.i18n import tr as _

from mriforge.anatomy import ORGANS, Organ
from MRIForgeLib.figures import number_column, set_columns, text_column
from MRIForgeLib.placing import Place
from MRIForgeLib.provenance import set_attributes
from MRIForgeLib.removing import remove_result
from MRIForgeLib.segment.measures import OrganMeasure
from MRIForgeLib.sequences import IndexAxis

_TABLE = "vtkMRMLTableNode"


def add_volume_table(
    frames: Sequence[Sequence[OrganMeasure]],
    place: Place,
    attributes: Mapping[str, str],
    axis: IndexAxis | None = None,
) -> slicer.vtkMRMLTableNode:
    """A table beside the input.

    Of one volume a row for each organ: volume in ml, voxels, mean disagreement, whether it was
    found. Of a series a row for each frame: its index (of texts a number before), and the volume
    of each organ.

    Args:
        frames: measures of each frame.
        axis: index of the frames of a series; None: one volume.
    """
    name = _("{input} organ volumes").format(input=place.name)
    table = place.scene.AddNewNodeByClass(_TABLE, place.scene.GenerateUniqueName(name))
    try:
        columns = _of_volume(frames[0]) if axis is None else _of_series(frames, axis)
        set_columns(table, columns)
        table.SetLocked(True)
        set_attributes(table, attributes)
        (place.beside_sequence or place.beside).put(table)
    except BaseException:
        remove_result([table])
        raise
    return table


def index_title(axis: IndexAxis) -> str:
    """Title of the column with the frames' index."""
    name = axis.name or _("Frame")
    return _("{name} ({unit})").format(name=name, unit=axis.unit) if axis.unit else name


def volume_title(organ: Organ) -> str:
    """Title of the column with an organ's volume, in the table of a series."""
    return _("{organ} (ml)").format(organ=organ.title)


def _of_volume(measures: Sequence[OrganMeasure]) -> list:
    return [
        text_column(_("Organ"), (m.organ.title for m in measures)),
        number_column(_("Volume (ml)"), (round(m.ml, 2) for m in measures)),
        number_column(_("Voxels"), (m.voxels for m in measures)),
        number_column(
            _("Disagreement"),
            (None if m.disagreement is None else round(m.disagreement, 4) for m in measures),
        ),
        text_column(_("Found"), (_("yes") if m.found else _("no") for m in measures)),
    ]


def _of_series(frames: Sequence[Sequence[OrganMeasure]], axis: IndexAxis) -> list:
    title = index_title(axis)
    if axis.numbers is not None:
        columns = [number_column(title, axis.numbers)]
    else:
        numbers = range(1, len(frames) + 1)
        columns = [number_column(_("Frame number"), numbers), text_column(title, axis.values)]
    for number, organ in enumerate(ORGANS):
        values = (round(frame[number].ml, 2) for frame in frames)
        columns.append(number_column(volume_title(organ), values))
    return columns
