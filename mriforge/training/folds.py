"""Cross-validation by subjects: which group of them is held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mriforge.errors import BadInput
from mriforge.recipes.schema import ValidationSpec
from mriforge.training.data import Dataset


def groups(subjects: Sequence[str], folds: int, seed: int = 0) -> list[list[str]]:
    """Different subjects dealt into ``folds`` groups whose sizes differ by one at most.

    Raises:
        BadInput: fewer subjects than groups, or fewer than two groups.
    """
    known = sorted(set(subjects))
    if folds < 2 or len(known) < folds:
        raise BadInput(
            f"{len(known)} subjects cannot be dealt into {folds} groups.",
            "Use at least two groups, and at least one subject for each.",
        )
    order = np.random.default_rng(seed).permutation(len(known))
    return [sorted(known[int(i)] for i in order[start::folds]) for start in range(folds)]


def refolded(data: Dataset, spec: ValidationSpec, seed: int = 0) -> Dataset:
    """``data`` with group ``spec.fold`` of its subjects held out; as it is without folds.

    Raises:
        BadInput: as :func:`groups`, or there is no such group.
    """
    if not spec.folds:
        return data
    everything = [*data.train, *data.validation]
    dealt = groups([volume.subject for volume in everything], spec.folds, seed)
    if not 1 <= spec.fold <= spec.folds:
        raise BadInput(f"There is no group {spec.fold} of {spec.folds}.", "They count from 1.")
    held = set(dealt[spec.fold - 1])
    return Dataset(
        [volume for volume in everything if volume.subject not in held],
        [volume for volume in everything if volume.subject in held],
    )
