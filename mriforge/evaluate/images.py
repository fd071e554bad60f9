"""Images against a reference: files in, figures, maps and a report out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mriforge.evaluate.files import (
    IMAGE,
    check_outputs,
    checked_names,
    read_checked,
    write_text,
)
from mriforge.evaluate.quality import add_section, judge_comparison, summary
from mriforge.events import Events, to_json
from mriforge.io import write
from mriforge.metrics.compare import Comparison, compare, to_csv
from mriforge.metrics.evaluate import FIGURES, Evaluation, evaluate
from mriforge.metrics.no_reference.quality import Judge, Quality
from mriforge.metrics.statistics import paired_tests


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
