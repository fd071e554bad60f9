"""Images judged without a reference: beside a comparison with one, or alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriforge.evaluate.files import (
    IMAGE,
    REFERENCE,
    check_outputs,
    checked_names,
    read_checked,
    write_text,
)
from mriforge.events import Events
from mriforge.metrics.no_reference.quality import Judge, Quality, figures_of, judge

if TYPE_CHECKING:
    from mriforge.metrics.compare import Comparison
    from mriforge.report.html import Report

HEADS = {
    "niqe": ("NIQE ↓", 3),
    "piqe": ("PIQE ↓", 2),
    "brisque": ("BRISQUE ↓", 2),
    "mscn_distance": ("MSCN distance ↓", 4),
}


def make_judge(
    pristine: str | Path | None = None,
    plane: str | None = None,
    brisque: str | Path | None = None,
) -> Judge:
    """What the options of the command mean.

    Args:
        pristine: file of a NIQE model; None for the one that comes with the program.
        plane: of the slices.
        brisque: folder with BRISQUE's published weights, or None for no BRISQUE.

    Raises:
        BadInput: a file that is no model, weights that are not there.
        MissingDependency: BRISQUE was asked for and OpenCV is not there.
    """
    from mriforge.metrics.no_reference.brisque import Brisque
    from mriforge.metrics.no_reference.pristine import load_niqe

    return Judge(load_niqe(pristine), plane, None if brisque is None else Brisque(brisque))


def judge_comparison(comparison: Comparison, how: Judge, events: Events) -> dict[str, Quality]:
    """Every method's image on the reference's grid, and at the end the reference itself.

    All of them are judged on the same slices, patches and scale: the reference's.
    """
    images = {**comparison.images, REFERENCE: comparison.reference}
    found = {}
    for number, (name, image) in enumerate(images.items()):
        part = events.part(number / len(images), (number + 1) / len(images))
        found[name] = judge(
            image, how, reference=comparison.reference, mask=comparison.mask, events=part
        )
    return found


def evaluate_alone(
    image_path: str | Path,
    how: Judge,
    *,
    mask: str | Path | None = None,
    json_path: str | Path | None = None,
    csv_path: str | Path | None = None,
    report: str | Path | None = None,
    compare_with: Mapping[str, str | Path] | None = None,
    events: Events | None = None,
) -> dict[str, Any]:
    """Judge image files for which there is no reference.

    Args:
        image_path: the image.
        how: the pristine model, the plane, BRISQUE.
        mask: image file on the grid of every image; non-zero is foreground.
        json_path, csv_path, report: files to write.
        compare_with: other methods' images by name; of any size where there is no mask. Each is
            judged on its own slices and its own scale.
        events: progress and cancelling.

    Returns:
        ``no_reference`` (see :func:`summary`), and the paths of what was written.

    Raises:
        BadInput: a file cannot be read, judged or written; nothing is written then.
        MissingDependency: the report needs matplotlib.
    """
    from mriforge.events import to_json
    from mriforge.metrics.compare import to_csv

    events = events or Events()
    texts = {"json": json_path, "csv": csv_path, "report": report}
    check_outputs({}, texts)
    page = None
    if report is not None:
        from mriforge.report.html import Report

        page = Report("MRIForge: quality without a reference", Path(str(image_path)).name)
    files = {IMAGE: image_path, **checked_names(compare_with, how)}
    area = None if mask is None else read_checked(mask, "mask")
    images = {name: read_checked(path, name) for name, path in files.items()}
    found = {}
    for number, (name, image) in enumerate(images.items()):
        part = events.part(0.9 * number / len(images), 0.9 * (number + 1) / len(images))
        found[name] = judge(image, how, mask=area, events=part)
    result: dict[str, Any] = {"no_reference": summary(found, how)}
    events.check_cancelled()
    if page is not None:
        add_section(page, found, how)
        page.provenance(files if mask is None else {**files, "Mask": mask})
        page.write(report)
    if csv_path is not None:
        write_text(csv_path, to_csv({}, found))
    if json_path is not None:
        write_text(json_path, to_json(result, indent=2) + "\n")
    result |= {name: str(path) for name, path in texts.items() if path is not None}
    events.progress(1.0, "done")
    return result


def summary(qualities: Mapping[str, Quality], how: Judge) -> dict[str, Any]:
    """JSON types: ``plane``, ``pristine`` (what the model was fitted on), ``methods``, ``note``."""
    sources = how.model.provenance.get("trained_on") or []
    result: dict[str, Any] = {
        "plane": next(iter(qualities.values())).plane,
        "pristine": {
            "patch": how.model.patch,
            "patches": how.model.patches,
            "trained_on": [s.get("subject") for s in sources if isinstance(s, Mapping)],
        },
        "methods": {name: quality.to_json() for name, quality in qualities.items()},
    }
    if note := _note(qualities, how):
        result["note"] = note
    return result


def _note(qualities: Mapping[str, Quality], how: Judge) -> str:
    """Why figures are missing, where they are."""
    empty = [name for name, quality in qualities.items() if quality.slices == 0]
    if empty:
        plane = qualities[empty[0]].plane
        return (
            f"{', '.join(empty)}: no {plane} slice has more than 25 % foreground. Crop the image, "
            "or choose another plane."
        )
    if any(not math.isfinite(quality.mean("niqe")) for quality in qualities.values()):
        return (
            f"There is no NIQE where slices have fewer than four patches of {how.model.patch} "
            "pixels with structure."
        )
    return ""


def add_section(page: Report, qualities: Mapping[str, Quality], how: Judge) -> None:
    """Table and explanation in a report."""
    figures = figures_of(qualities)
    rows = []
    for name, quality in qualities.items():
        cells = [_cell(quality.mean(figure), HEADS[figure][1]) for figure in figures]
        rows.append([name, *cells, str(quality.slices)])
    plane = next(iter(qualities.values())).plane
    page.heading("Quality without a reference")
    page.table(
        ["Method", *(HEADS[figure][0] for figure in figures), "Slices"],
        rows,
        f"Means over the {plane} slices of which more than 25 % is foreground. NIQE: distance from "
        f"the statistics of sharp MR slices ({how.model.patches} patches of {how.model.patch} "
        "pixels). PIQE: distorted part of the active blocks, 0 to 100. MSCN distance: "
        "Jensen-Shannon distance of the histograms of normalised coefficients from the "
        "reference's, 0 to 1.",
    )
    if note := _note(qualities, how):
        page.warning(note)
    page.text(
        "These scores say how an image looks, not whether it is right: invented detail and noise "
        "can improve them. Compare them between images of one subject, plane and model only."
    )


def _cell(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
