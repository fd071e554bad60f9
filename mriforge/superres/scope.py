"""Whether an image is within what a model has seen; sentences for the user where it is not.

From the model's card alone, without torch: panels show this before anything runs.
"""

from __future__ import annotations

from mriforge.models.card import ModelCard
from mriforge.superres.wish import Target
from mriforge.volume import Grid

_SLACK = 1.3
"""Voxel sizes up to this factor beyond those seen are not worth a warning."""
_FEW_VOXELS = 24
"""In-plane matrix below which a k-space centre holds little to learn from."""


def outside_scope(card: ModelCard, low: Grid, target: Target) -> list[str]:
    """One sentence for each way in which the task differs from what the model was trained for.

    Args:
        card: of a model for super-resolution.
        low: grid of the image to sharpen.
        target: what is wanted, from :func:`mriforge.superres.wish.plan_target`.
    """
    return [
        *_fraction(card, target.kspace_fraction(low)),
        *_axes(card, low, target),
        *_voxel_size(card, target.working),
        *_matrix(low),
    ]


def doubtful_range(low: float, high: float, modality: str | None = None) -> list[str]:
    """Sentences about voxels that a model for MR magnitude images does not expect.

    Args:
        low, high: smallest and largest voxel.
        modality: DICOM modality, if it is known.
    """
    found = []
    if modality not in (None, "", "MR"):
        found.append(f"The image is {modality}, not MR.")
    if low < 0:
        found.append(
            "The image has negative values: it is no magnitude image (phase, difference, or CT)."
        )
    if low == high:
        found.append("Every voxel has the same value.")
    return found


def _fraction(card: ModelCard, fraction: float) -> list[str]:
    degradation = card.settings.get("degradation", {})
    seen = [*degradation.get("keep", [])]
    if degradation.get("keep_range_probability"):
        seen += degradation.get("keep_range", [])
    if not seen or min(seen) * 0.98 <= fraction <= max(seen) * 1.02:
        return []
    beyond = "coarser" if fraction < min(seen) else "finer"
    return [
        f"The image holds {100 * fraction:.3g} % of the wanted k-space; the model has seen "
        f"{100 * min(seen):.3g} to {100 * max(seen):.3g} % (this image is {beyond})."
    ]


def _axes(card: ModelCard, low: Grid, target: Target) -> list[str]:
    """In-plane models are not for thick slices; the slice axis is the depth of the tensor."""
    if card.settings.get("degradation", {}).get("operator") != "kspace_crop":
        return []
    if target.stored_shape[2] == low.stored_shape[2]:
        return []
    return [
        "Finer slices are wanted, but the model was trained to sharpen within slices only: "
        "between them it will do little more than interpolate."
    ]


def _voxel_size(card: ModelCard, working: Grid) -> list[str]:
    seen = [entry["spacing_mm"] for entry in card.trained_on if entry.get("spacing_mm")]
    if not seen:
        return []
    # Training also sees coarser matrices of the same field of view.
    rescale = card.settings.get("augmentation", {}).get("rescale", [1.0, 1.0])
    low = min(min(spacing[:2]) for spacing in seen)
    high = max(max(spacing[:2]) for spacing in seen) / min(rescale)
    found = []
    inplane = working.spacing[:2]
    if min(inplane) < low / _SLACK or max(inplane) > high * _SLACK:
        found.append(
            f"The wanted voxels of {inplane[0]:.3g} x {inplane[1]:.3g} mm are outside the "
            f"{low:.3g} to {high:.3g} mm that the model has seen."
        )
    return found


def _matrix(low: Grid) -> list[str]:
    nx, ny, _ = low.stored_shape
    if min(nx, ny) >= _FEW_VOXELS:
        return []
    return [f"Slices of {nx} x {ny} voxels hold little to learn from."]
