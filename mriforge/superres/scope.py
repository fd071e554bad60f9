"""Whether an image is within what a model has seen; sentences for the user where it is not.

From the model's card alone, without torch: panels show this before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from mriforge.models.card import ModelCard
from mriforge.superres.wish import Target
from mriforge.volume import Grid

_SLACK = 1.3
"""Voxel sizes up to this factor beyond those seen are not worth a warning."""
_APPEARANCE = {
    "noise": (1.5, "noise", "% of bright tissue"),
    "variation": (1.25, "contrast (standard deviation of the tissue)", "% of its mean"),
    "brightness": (1.25, "typical brightness of the tissue", "% of the brightest"),
}
"""By name in a card's ranges: how far beyond them is no matter, what it is, and in what units."""
_LITTLE_NOISE = 0.002
"""Noise below this part of bright tissue is none."""
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
        *_slices(card, low),
        *_matrix(low),
    ]


def unlike_training(card: ModelCard, figures: Mapping[str, float]) -> list[str]:
    """One sentence for each way in which an image looks unlike those that the model has seen.

    Args:
        card: of a model; one without ranges is not compared with.
        figures: of the image, see :func:`mriforge.metrics.noise.appearance`.
    """
    found = []
    for name, (slack, what, unit) in _APPEARANCE.items():
        seen, value = card.ranges.get(name), figures.get(name)
        if seen is None or value is None:
            continue
        least, most = min(seen), max(seen)
        if name == "noise" and value < max(most * slack, _LITTLE_NOISE):
            continue  # less noise harms no model
        if least / slack <= value <= most * slack:
            continue
        found.append(
            f"The {what} is {100 * value:.2g} {unit}, {'more' if value > most else 'less'} than "
            f"the {100 * least:.2g} to {100 * most:.2g} % that the model has seen."
        )
    return found


def _slices(card: ModelCard, low: Grid) -> list[str]:
    """How many slices there are, and how far apart."""
    count = low.stored_shape[2]
    seen = card.ranges.get("slices")
    if seen and count == 1 and min(seen) > 1:
        return ["The image is a single slice; the model has only seen several together."]
    apart = card.ranges.get("slice_mm")
    if not apart or count == 1:
        return []
    distance = low.spacing[2]
    if min(apart) / _SLACK <= distance <= max(apart) * _SLACK:
        return []
    return [
        f"The slices are {distance:.3g} mm apart; the model has seen {min(apart):.3g} to "
        f"{max(apart):.3g} mm."
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
