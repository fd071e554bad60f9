"""MR images made from tissue maps: random anatomy, contrast and scanner (after SynthSeg)."""

from __future__ import annotations

import numpy as np
import torch

from mriforge.anatomy import TissueMap
from mriforge.synthesis.deform import DeformSpec, deform
from mriforge.synthesis.render import RenderSpec, render
from mriforge.volume import Volume

__all__ = ["DeformSpec", "RenderSpec", "deform", "render", "synthesise"]


def synthesise(
    tissues: TissueMap,
    seed: int,
    *,
    deform_spec: DeformSpec | None = None,
    render_spec: RenderSpec | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Volume, np.ndarray]:
    """An image of a new anatomy, and its organ labels; a function of ``seed``.

    Args:
        tissues: where the anatomy comes from.
        seed: of all randomness, 0 or more.
        deform_spec: how far the anatomy may differ (``DeformSpec.none()``: not at all).
        render_spec: what the image may look like.
        device: where to compute.

    Returns:
        the image, float32, and labels ``(z, y, x)`` uint8 on its grid.

    Raises:
        BadInput: the map has nothing but air.
    """
    body, scanner = (np.random.default_rng([int(seed), part]) for part in (0, 1))
    moved = deform(tissues, body, deform_spec, device=device)
    return render(moved, scanner, render_spec, device=device), moved.labels()
