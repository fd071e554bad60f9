"""A method on the user's own scan: made coarser once more, sharpened, compared with what it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.metrics.similarity import psnr_of
from mriforge.metrics.statistics import holm, paired_tests
from mriforge.superres.problem import Problem, Trials
from mriforge.uncertainty.voxels import air, boxes_of
from mriforge.volume import some_of

METHOD = "method"
_TISSUE = 0.5
"""Share of a patch that has to be tissue."""
_FEWEST, _FRAMES = 6, 3


@dataclass(frozen=True)
class SelfCheck:
    """What was found.

    Attributes:
        figures: ``methods`` by title (``psnr``, ``rmse``, in parts of bright tissue), ``against``
            by baseline (``gain_db``, ``better_patches``, ``wilcoxon_p`` corrected by Holm,
            ``statement``), ``patches``, ``sentence``; JSON types only.
        pictures: one slice of the truth and of every answer, ``(rows, columns)``.
    """

    figures: dict[str, Any]
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


def self_check(trials: Trials, events: Events | None = None) -> SelfCheck:
    """Degrades the scan by the operator that it is to be freed of, and sharpens it again.

    Args:
        trials: what sharpens, see :func:`mriforge.superres.job.prepare`.

    Raises:
        BadInput: the scan is too small, or its acquisition cannot be repeated.
        Cancelled: the caller asked to stop.
    """
    events = events or Events()
    squares: dict[str, list[np.ndarray]] = {}
    pictures: dict[str, np.ndarray] = {}
    frames = some_of(trials.frames, _FRAMES)
    for number, frame in enumerate(frames):
        for problem in trials.own(frame):
            events.check_cancelled()
            events.progress(number / len(frames), "sharpening the scan made coarser")
            answers = _answers(problem)
            for name, values in _per_patch(problem, answers).items():
                squares.setdefault(name, []).append(values)
            if not pictures:
                pictures = _slices(problem, answers)
    joined = {name: np.concatenate(parts) for name, parts in squares.items()}
    count = len(joined.get(METHOD, ()))
    if count < _FEWEST:
        raise BadInput(
            f"The image holds {count} patches of tissue: too few to compare methods on it.",
            "Choose a larger image.",
        )
    events.progress(1.0)
    return SelfCheck(_figures(joined), pictures)


def _answers(problem: Problem) -> dict[str, Tensor]:
    answers = {METHOD: problem.solved()}
    return answers | {name: one(problem.low) for name, one in problem.baselines.items()}


def _per_patch(problem: Problem, answers: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Mean squared error of every patch of tissue, by title."""
    outside = air(problem, problem.truth)
    boxes = [b for b in boxes_of(problem) if 1 - outside[b].mean() >= _TISSUE]
    found = {}
    for name, answer in answers.items():
        square = (answer - problem.truth).square().numpy()
        found[name] = np.array([float(square[box].mean()) for box in boxes])
    return found


def _slices(problem: Problem, answers: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The slice across the axis with fewest samples that holds most signal."""
    truth = problem.truth.numpy()
    axis = int(np.argmin(truth.shape))
    others = tuple(a for a in range(3) if a != axis)
    index = int(np.argmax(np.square(truth).sum(axis=others)))
    images = {"scan": truth} | {name: answer.numpy() for name, answer in answers.items()}
    return {name: image.take(index, axis) for name, image in images.items()}


def _figures(squares: Mapping[str, np.ndarray]) -> dict[str, Any]:
    method = squares[METHOD]
    methods = {
        name: {"psnr": psnr_of(float(v.mean())), "rmse": float(np.sqrt(v.mean()))}
        for name, v in squares.items()
    }
    names = [name for name in squares if name != METHOD]
    tests = {n: paired_tests(np.sqrt(method), np.sqrt(squares[n])) for n in names}
    corrected = holm([tests[name].wilcoxon_p for name in names])
    against = {}
    for name, p in zip(names, corrected, strict=True):
        against[name] = {
            "gain_db": methods[METHOD]["psnr"] - methods[name]["psnr"],
            "better_patches": float((method < squares[name]).mean()),
            "wilcoxon_p": float(p) if np.isfinite(p) else None,
            "statement": tests[name].statement,
        }
    figures = {"patches": len(method), "methods": methods, "against": against}
    return {**figures, "sentence": _sentence(figures)}


def _sentence(figures: Mapping[str, Any]) -> str:
    against = figures["against"]
    best = min(against, key=lambda name: against[name]["gain_db"])
    gain, p = against[best]["gain_db"], against[best]["wilcoxon_p"]
    sure = p is not None and p < 0.05
    text = f"On this scan, made coarser once more, the method is {abs(gain):.2f} dB "
    text += f"{'better' if gain >= 0 else 'worse'} than the best interpolation ({best})"
    if not sure:
        return f"{text}, which may be chance ({figures['patches']} patches)."
    return f"{text}, {against[best]['better_patches']:.0%} of {figures['patches']} patches."
