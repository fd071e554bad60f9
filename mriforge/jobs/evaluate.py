"""Compare an image with a reference: PSNR, SSIM, NRMSE, MAE, SD of the difference, per frame.

With --no-reference images are judged by NIQE, PIQE and the distribution of their MSCN
coefficients as well, or alone where there is no reference.

With --organs label maps of organs are compared: Dice, Jaccard, mean surface distance and 95 %
Hausdorff distance of each organ; IN and the reference may be folders of files with the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.images import about
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``evaluate``."""

    input: str = option("input", "image to judge", positional="IN")
    reference: str | None = option("input", "what it should look like", default=None)
    mask: str | None = option("input", "where to compare", default=None)
    compare: Mapping[str, str] | None = option(
        "inputs", "another method's image, for paired tests (repeatable)", default=None
    )
    resample: bool = option("flag", "bring images on other grids to the reference's", default=False)
    ssim_map: str | None = option("output", "write the SSIM map here", default=None)
    difference_map: str | None = option("output", "write the difference here", default=None)
    no_reference: bool = option(
        "flag", "judge by NIQE, PIQE and MSCN statistics too", default=False
    )
    plane: str | None = option(
        "text",
        "with --no-reference: slices to judge",
        default=None,
        choices=("axial", "coronal", "sagittal"),
    )
    pristine: str | None = option("input", "with --no-reference: another NIQE model", default=None)
    brisque: str | None = option(
        "input", "with --no-reference: folder of BRISQUE's published weights", default=None
    )
    organs: bool = option("flag", "compare label maps of organs (0 to 10)", default=False)
    only: str | None = option(
        "text", "with --organs: judge these alone", default=None, metavar="ORGAN,..."
    )
    scheme: str = option(
        "text", "with --organs: what the reference's numbers mean", default="organs", metavar="NAME"
    )
    json: str | None = option("output", "write the figures here", default=None, suffixes=(".json",))
    csv: str | None = option(
        "output", "write the figures per frame here", default=None, suffixes=(".csv",)
    )
    report: str | None = option(
        "output", "write a page with pictures here", default=None, suffixes=(".html", ".htm")
    )


def check(options: Options) -> None:
    """Options for images do not go with labels, and the reverse."""
    if options.reference is None and not (options.no_reference and not options.organs):
        raise BadInput(
            "--reference is missing: what it should look like.",
            "Or judge the image alone with --no-reference.",
        )
    _check_quality(options)
    if options.organs:
        from mriforge.evaluate.organs import labels_of, outlined_by

        labels_of(options.only)
        outlined_by(options.scheme)
        for name in ("mask", "ssim_map", "difference_map"):
            if getattr(options, name) is not None:
                flag = "--" + name.replace("_", "-")
                raise BadInput(f"{flag} is for images; it does not go with --organs.")
    elif options.only is not None or options.scheme != "organs":
        raise BadInput("--only and --scheme are about organs; they need --organs.")


def _check_quality(options: Options) -> None:
    if not options.no_reference:
        for name in ("plane", "pristine", "brisque"):
            if getattr(options, name) is not None:
                raise BadInput(f"--{name} needs --no-reference.")
        return
    if options.organs:
        raise BadInput("--no-reference is for images; it does not go with --organs.")
    if options.reference is None:
        for name in ("ssim_map", "difference_map", "resample"):
            if getattr(options, name):
                raise BadInput(f"--{name.replace('_', '-')} needs --reference.")
    from mriforge.evaluate.quality import make_judge

    make_judge(options.pristine, options.plane, options.brisque)


def run(options: Options, events: Events) -> dict[str, Any]:
    """Compares and writes; returns the figures of ``evaluate --json`` and the files' names."""
    if options.organs:
        return _run_organs(options, events)
    from mriforge.evaluate import evaluate_alone, evaluate_files
    from mriforge.evaluate.quality import make_judge

    judge = None
    if options.no_reference:
        judge = make_judge(options.pristine, options.plane, options.brisque)
    common = {
        "mask": options.mask,
        "json_path": options.json,
        "csv_path": options.csv,
        "report": options.report,
        "compare_with": options.compare,
        "events": events,
    }
    files = [f for f in (options.input, options.reference, options.mask) if f is not None]
    with about(" and ".join(files) if len(files) < 3 else ", ".join(files), files):
        if options.reference is None:
            return evaluate_alone(options.input, judge, **common)
        return evaluate_files(
            options.input,
            options.reference,
            ssim_map=options.ssim_map,
            difference_map=options.difference_map,
            resample=options.resample,
            no_reference=judge,
            **common,
        )


def _run_organs(options: Options, events: Events) -> dict[str, Any]:
    from mriforge.evaluate.organs import evaluate_organs, labels_of

    return evaluate_organs(
        options.input,
        options.reference,
        only=labels_of(options.only),
        scheme=options.scheme,
        compare_with=options.compare,
        resample=options.resample,
        json_path=options.json,
        csv_path=options.csv,
        report=options.report,
        events=events,
    )
