"""Images against a reference: files in, figures, maps and a report out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.evaluate.quality import (
    IMAGE,
    REFERENCE,
    add_section,
    judge_comparison,
    summary,
)
from mriforge.events import Events, to_json
from mriforge.io import check_output, read, write
from mriforge.io.atomic import atomic_path, check_writable
from mriforge.io.checks import check_image
from mriforge.metrics.compare import Comparison, compare, to_csv
from mriforge.metrics.evaluate import FIGURES, Evaluation, evaluate
from mriforge.metrics.no_reference.quality import Judge, Quality
from mriforge.metrics.statistics import paired_tests
from mriforge.volume import Image


def evaluate_files(
    image_path: str | Path,
    reference_path: str | Path,
    *,
    mask: str | Path | None = None,
    ssim_map: str | Path | None = None,
    difference_map: str | Path | None = None,
    json_path: str | Path | None = None,
    csv_path: str | Path | None = None,
    report: str | Path | None = None,
    compare_with: Mapping[str, str | Path] | None = None,
    resample: bool = False,
    no_reference: Judge | None = None,
    events: Events | None = None,
) -> dict[str, Any]:
    """Compare an image file with a reference file and write what was asked for.

    Args:
        image_path, reference_path: images on one grid.
        mask: image file on that grid; non-zero is inside.
        ssim_map, difference_map: image files to write (the difference in the images' units).
        json_path, csv_path, report: files to write.
        compare_with: other methods' images by name; paired tests of the image against each.
        resample: bring images on other grids to the reference's instead of refusing.
        no_reference: judge every image, and the reference, without a reference too.
        events: progress and cancelling.

    Returns:
        :meth:`Evaluation.to_json` of the image, ``compare`` (figures and tests for each other
        method) and ``no_reference`` (see :func:`mriforge.evaluate.quality.summary`) where there
        are any, and the paths of what was written.

    Raises:
        BadInput: a file cannot be read, compared or written; nothing is written then.
        MissingDependency: the report needs matplotlib.
    """
    events = events or Events()
    images = {"ssim_map": ssim_map, "difference_map": difference_map}
    texts = {"json": json_path, "csv": csv_path, "report": report}
    check_outputs(images, texts)
    if report is not None:
        from mriforge.report.figures import figure_class

        figure_class()
    others = checked_names(compare_with, no_reference)
    image, reference = read_checked(image_path, "image"), read_checked(reference_path, "reference")
    area = None if mask is None else read_checked(mask, "mask")
    loaded = {name: read_checked(path, name) for name, path in others.items()}
    maps = ssim_map is not None or difference_map is not None
    found = evaluate(
        image, reference, mask=area, resample=resample, maps=maps, events=events.part(0.05, 0.5)
    )
    result = found.to_json()
    evaluations = {IMAGE: found}
    comparison = None
    if loaded or report is not None or no_reference is not None:
        comparison = compare(
            {**loaded, IMAGE: image},
            reference,
            mask=area,
            resample=resample,
            events=events.part(0.5, 0.75),
        )
        evaluations = comparison.evaluations
    if loaded:
        result["compare"] = _against(found, comparison)
    qualities = {}
    if no_reference is not None:
        qualities = judge_comparison(comparison, no_reference, events.part(0.75, 0.85))
        result["no_reference"] = summary(qualities, no_reference)
    events.check_cancelled()
    for name, path in images.items():
        if path is not None:
            write(getattr(found, name), path)
            result[name] = str(path)
    if report is not None:
        sources = {"Image": image_path, "Reference": reference_path, "Mask": mask, **others}
        _write_report(comparison, qualities, no_reference, report, sources, events)
    if csv_path is not None:
        write_text(csv_path, to_csv(evaluations, qualities))
    if json_path is not None:
        write_text(json_path, to_json(result, indent=2) + "\n")
    result |= {name: str(path) for name, path in texts.items() if path is not None}
    events.progress(1.0, "done")
    return result


def checked_names(
    compare_with: Mapping[str, str | Path] | None, no_reference: Judge | None
) -> dict[str, str | Path]:
    """The other methods; refuses names that are taken."""
    others = dict(compare_with or {})
    for name in (IMAGE, REFERENCE) if no_reference is not None else (IMAGE,):
        if name in others:
            raise BadInput(f"'{name}' is the name of the {name} itself.", "Choose another name.")
    return others


def read_checked(path: str | Path, what: str) -> Image:
    """An image file that can be compared; ``what`` is its role, for messages."""
    image = read(path)
    check_image(image, path, what=what)
    return image


def check_outputs(
    images: Mapping[str, str | Path | None], texts: Mapping[str, str | Path | None]
) -> None:
    """Refuse outputs that could not be written, before any work."""
    for path in images.values():
        if path is not None:
            check_output(path)
    for path in texts.values():
        if path is not None:
            check_writable(path)
            if Path(path).is_dir():
                raise BadInput(f"{path} is a folder, not a file.", "Give the name of a file.")
    given = [Path(p).absolute() for p in (*images.values(), *texts.values()) if p is not None]
    if len(set(given)) < len(given):
        raise BadInput("Two outputs have the same name.", "Give each output its own name.")


def _against(found: Evaluation, comparison: Comparison) -> dict[str, Any]:
    """Figures of every other method, and the tests of the image against it."""
    entries = {}
    for name, scores in comparison.evaluations.items():
        if name == IMAGE:
            continue
        whole = scores.to_json()
        entry = {figure: whole[figure] for figure in FIGURES}
        for figure in ("ssim", "psnr"):
            test = paired_tests(found.values(figure), scores.values(figure))
            entry[f"{figure}_test"] = test.to_json()
        entries[name] = entry
    return entries


def _write_report(
    comparison: Comparison,
    qualities: Mapping[str, Quality],
    no_reference: Judge | None,
    path: str | Path,
    sources: Mapping[str, Any],
    events: Events,
) -> None:
    from mriforge.report.html import Report

    events.progress(0.85, "drawing the report")
    page = Report("MRIForge: comparison with a reference", Path(str(sources["Image"])).name)
    page.comparison(comparison)
    if no_reference is not None:
        add_section(page, qualities, no_reference)
    page.provenance({name: source for name, source in sources.items() if source is not None})
    events.check_cancelled()
    page.write(path)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
