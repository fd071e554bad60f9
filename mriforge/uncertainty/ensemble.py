"""How far the answers of a method differ that ought to be the same.

The acquisition does not notice some flips and exchanges of axes (see
:func:`mriforge.superres.problem.symmetries_of`); a network does. Other models may be asked as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from mriforge.superres.problem import Problem


def spread(
    problem: Problem,
    count: int,
    *,
    first: Tensor | None = None,
    cancel: Callable[[], object] | None = None,
    progress: Callable[[float], object] | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Answers of the method to the turned image, turned back; and of other models likewise.

    Three images are held, however many answers there are (Welford 1962, Technometrics 4:419).

    Args:
        problem: the image and its methods.
        count: turns asked of every method, the plain one included; fewer where there are fewer.
        first: the method's plain answer, where it is known.
        cancel: raises when the job has to stop; asked before every answer.
        progress: hears the done fraction.

    Returns:
        the plain answer, the standard deviation of all answers at each voxel (divided by n - 1;
        zero for a single answer), and their number.
    """
    turns = problem.symmetries[: max(1, count)]
    asked = list(itertools.product(problem.sharpeners, turns))
    plain = mean = total = None
    for number, (sharpen, turn) in enumerate(asked):
        if cancel is not None:
            cancel()
        if number == 0 and first is not None:
            answer = first
        else:
            answer = turn.undo(sharpen(turn.apply(problem.low)))
        if plain is None:
            plain, mean, total = answer, answer.double(), torch.zeros_like(answer).double()
        else:
            gap = answer - mean
            mean += gap / (number + 1)
            total += gap * (answer - mean)
        if progress is not None:
            progress((number + 1) / len(asked))
    deviation = (total / max(1, len(asked) - 1)).clamp(min=0).sqrt().to(plain)
    return plain, deviation, len(asked)
