"""How the answers of several views become one, and where they disagree.

Three views: a label that two of them give wins; when all three differ the axial view decides
(Chen 2021, 7.2.6, says "a simple majority voting strategy" and nothing of ties). Two views have no
majority where they differ: the axial view decides, or the first where it takes no part.

Probabilities are whole numbers (:data:`mriforge.segment.predict.FULL` is one), so that sums do not
depend on their order.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from mriforge.events import Events

LEADING = "axial"
"""The view that decides where there is no majority."""


def vote(views: dict[str, np.ndarray]) -> np.ndarray:
    """The label that most views give each voxel.

    Args:
        views: labels ``(z, y, x)`` by view, one to three.

    Returns:
        labels ``(z, y, x)``. Ties: see the top of this file.
    """
    names = list(views)
    first = LEADING if LEADING in views else names[0]
    others = [views[name] for name in names if name != first]
    if len(others) == 2:
        return np.where(others[0] == others[1], others[0], views[first])
    return views[first].copy()


def agreement(answer: np.ndarray, views: dict[str, np.ndarray]) -> np.ndarray:
    """How many views give the label of the answer, ``(z, y, x)``, uint8."""
    count = np.zeros(answer.shape, dtype=np.uint8)
    for labels in views.values():
        count += labels == answer
    return count


def entropy(total: np.ndarray, events: Events | None = None) -> np.ndarray:
    """Entropy of the mean of the views' probabilities, relative to its maximum.

    ``-sum_c p_c ln p_c / ln(classes)`` with ``p`` the mean over the views: 0 where one label is
    certain, 1 where all are equally likely. It does not tell views that disagree from views that
    are unsure alike: three that give one label 0.6 and another 0.4 each have 0.28, two that are
    certain of one label beside one that is certain of another 0.27.

    Args:
        total: sum over the views, ``(classes, z, y, x)``, whole numbers.

    Returns:
        ``(z, y, x)``, float32, 0 to 1.
    """
    result = np.empty(total.shape[1:], dtype=np.float32)
    for z in range(total.shape[1]):  # one slice at a time stays in the cache
        if events is not None:
            events.check_cancelled()
        shares = torch.from_numpy(np.ascontiguousarray(total[:, z])).float()
        whole = shares.sum(0).clamp_(min=1)
        found = whole.log() - torch.special.xlogy(shares, shares).sum(0) / whole
        result[z] = (found / math.log(len(total))).clamp_(0, 1).numpy()
    return result
