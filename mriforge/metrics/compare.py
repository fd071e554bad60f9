"""Several methods against one reference: a table, the best of each column, paired tests."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.metrics.evaluate import (
    FIGURES,
    HIGHER_IS_BETTER,
    Evaluation,
    evaluate,
    mask_array,
    matched,
    scale_of,
)
from mriforge.metrics.no_reference.quality import Quality, figures_of
from mriforge.metrics.statistics import PairedTest, paired_tests
from mriforge.volume import Image, Series, as_series

TESTED = ("ssim", "psnr")
"""Figures that are tested by default; the paper tests SSIM."""


@dataclass(frozen=True)
class Comparison:
    """Methods, their figures, and the images for pictures.

    Attributes:
        reference: what all methods are compared with.
        images: each method's image on the reference's grid, in the order given.
        evaluations: each method's figures.
        baseline: the method that tests are against.
        tests: ``tests[method][figure]``, method minus baseline over frames.
        scale: the value that all images are divided by.
        window: the SSIM window.
        mask: booleans ``(z, y, x)`` or ``None``.
        input: the low-resolution image that the methods started from, for pictures; any grid.
    """

    reference: Series
    images: dict[str, Series]
    evaluations: dict[str, Evaluation]
    baseline: str
    tests: dict[str, dict[str, PairedTest]]
    scale: float
    window: str = "uniform7"
    mask: np.ndarray | None = None
    input: Series | None = field(default=None)

    def best(self, figure: str) -> str:
        """The method with the best mean."""
        sign = -1 if HIGHER_IS_BETTER[figure] else 1
        return min(self.evaluations, key=lambda name: sign * self.evaluations[name].mean(figure))

    def table(self) -> list[dict[str, Any]]:
        """One row for each method: ``method``, and for each figure its mean, SD, interval, best."""
        best = {figure: self.best(figure) for figure in FIGURES}
        rows = []
        for name, scores in self.evaluations.items():
            row: dict[str, Any] = {"method": name}
            for figure in FIGURES:
                row[figure] = {
                    "mean": scores.mean(figure),
                    "sd": scores.sd(figure),
                    "interval": scores.interval(figure),
                    "best": len(self.evaluations) > 1 and best[figure] == name,
                }
            rows.append(row)
        return rows

    def to_json(self) -> dict[str, Any]:
        """JSON types: every evaluation, the baseline, and the tests against it."""
        return {
            "baseline": self.baseline,
            "scale": self.scale,
            "methods": {name: scores.to_json() for name, scores in self.evaluations.items()},
            "tests": {
                name: {figure: test.to_json() for figure, test in tests.items()}
                for name, tests in self.tests.items()
            },
        }


def compare(
    images: Mapping[str, Image],
    reference: Image,
    *,
    baseline: str | None = None,
    input: Image | None = None,
    mask: Image | np.ndarray | None = None,
    scale: str | float = "max",
    window: str = "uniform7",
    resample: bool = False,
    events: Events | None = None,
) -> Comparison:
    """Evaluate every method and test each against ``baseline`` (default: the first).

    Args:
        images: name to image; the names appear in tables and pictures in this order.
        reference, mask, scale, window, resample: as of :func:`mriforge.metrics.evaluate.evaluate`.
        input: the low-resolution image, shown in pictures, not evaluated.

    Raises:
        BadInput: no image, an unknown baseline, or whatever :func:`evaluate` refuses (the message
            then names the method).
    """
    if not images:
        raise BadInput("There is no image to compare with the reference.")
    baseline = next(iter(images)) if baseline is None else baseline
    if baseline not in images:
        raise BadInput(
            f"The baseline {baseline!r} is not among the methods.",
            f"Choose one of {', '.join(images)}.",
        )
    events = events or Events()
    truth = as_series(reference)
    kept: dict[str, Series] = {}
    evaluations: dict[str, Evaluation] = {}
    for number, (name, image) in enumerate(images.items()):
        part = events.part(number / len(images), (number + 1) / len(images))
        try:
            kept[name] = matched(as_series(image), truth, resample)
            evaluations[name] = evaluate(
                kept[name], truth, mask=mask, scale=scale, window=window, events=part
            )
        except BadInput as error:
            raise BadInput(f"{name}: {error.message}", error.hint) from error
    return Comparison(
        truth,
        kept,
        evaluations,
        baseline,
        paired_against(evaluations, baseline),
        scale_of(truth, scale),
        window,
        mask_array(mask, truth.grid),
        None if input is None else as_series(input),
    )


def paired_against(
    evaluations: Mapping[str, Evaluation], baseline: str, figures: tuple[str, ...] = TESTED
) -> dict[str, dict[str, PairedTest]]:
    """Paired tests of every other method against ``baseline`` over the frames."""
    other = evaluations[baseline]
    return {
        name: {f: paired_tests(scores.values(f), other.values(f)) for f in figures}
        for name, scores in evaluations.items()
        if name != baseline
    }


def to_csv(
    evaluations: Mapping[str, Evaluation], qualities: Mapping[str, Quality] | None = None
) -> str:
    """One line for each method and frame: ``method,frame,time,psnr,ssim,nrmse,mae,diff_sd``.

    Args:
        evaluations: figures against the reference by method.
        qualities: figures without one by method: more columns, and empty cells where a method has
            only one of both.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    qualities = qualities or {}
    more = figures_of(qualities)
    compared = FIGURES if evaluations else ()
    writer.writerow(["method", "frame", "time", *compared, *more])
    for name in dict.fromkeys([*evaluations, *qualities]):
        scores = evaluations[name].frames if name in evaluations else []
        judged = qualities[name].frames if name in qualities else []
        for frame, quality in zip_longest(scores, judged):
            cells = [getattr(frame, figure, math.nan) for figure in compared]
            cells += [getattr(quality, figure, math.nan) for figure in more]
            one = frame or quality
            writer.writerow([name, one.index, _cell(one.time), *map(_cell, cells)])
    return stream.getvalue()


def _cell(value: float) -> str:
    if math.isnan(value):
        return ""
    return "inf" if math.isinf(value) else f"{value:.8g}"
