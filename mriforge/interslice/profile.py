"""The slice profile of a scan: told, in its header, seen in its spectrum, learned, or assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.interslice.profile_learnt import LearntSettings, learn_profile
from mriforge.interslice.profile_spectral import PLAUSIBLE, spectral_fit
from mriforge.physics.profiles import FWHM_PER_SIGMA, Profile, box, gaussian, read_profile
from mriforge.volume import Volume

WISHES = ("auto", "gaussian", "box", "estimate", "learnt")
"""What :func:`find_profile` understands besides the name of a file."""


_FEWEST_BLOCKS = 4
"""Pieces of the image whose spectra have to agree: fewer say little, and not how little."""

_UNKNOWN_SD = 0.3
"""Of a width that is only assumed: slices are as wide as they are apart, or have gaps."""


@dataclass(frozen=True)
class KnownProfile:
    """A slice profile and where it is known from.

    Attributes:
        profile: position in mm across the slices.
        source: ``"told"``, ``"header"``, ``"estimated"``, ``"learnt"`` or ``"assumed"``.
        fwhm_mm: full width at half maximum; of a learned or measured one, that of the Gaussian
            with the same standard deviation.
        spacing_mm: distance of the slices.
        relative_sd: standard deviation of ``fwhm_mm`` over itself; None where it is not known.
        note: why nothing better is known, or what was noticed; empty or one sentence.
        details: further figures of the estimate, for the report.
    """

    profile: Profile
    source: str
    fwhm_mm: float
    spacing_mm: float
    relative_sd: float | None = None
    note: str = ""
    details: dict = field(default_factory=dict)

    def sentence(self) -> str:
        """One or two sentences for the log and the report."""
        shape = f"Slice profile: {self.profile.name}, {self.fwhm_mm:.2f} mm wide (FWHM"
        if self.relative_sd is not None:
            shape += f", give or take {100 * self.relative_sd:.0f} %, of which the less is used"
        share = f"{100 * self.fwhm_mm / self.spacing_mm:.0f} %"
        origin = {
            "told": "as told",
            "header": "from the header",
            "estimated": "estimated from the scan's spectrum",
            "learnt": "learned from the scan",
            "assumed": "assumed",
        }[self.source]
        text = f"{shape}; {share} of the slice spacing of {self.spacing_mm:.2f} mm), {origin}."
        return f"{text} {self.note}".strip()

    @property
    def cautious(self) -> Profile:
        """The profile to work with: an uncertain one is taken a standard deviation narrower.

        Too wide a profile sharpens too much and can be worse than interpolation, too narrow a one
        only sharpens less.
        """
        narrower = 1.0 - (self.relative_sd or 0.0)
        profile = self.profile
        return Profile(profile.name, profile.position * narrower, profile.cumulative)

    def describe(self) -> dict:
        """For reports and provenance, JSON."""
        return {
            "profile": self.profile.name,
            "used_fwhm_mm": self.fwhm_mm * (1.0 - (self.relative_sd or 0.0)),
            "source": self.source,
            "fwhm_mm": self.fwhm_mm,
            "slice_spacing_mm": self.spacing_mm,
            "relative_sd": self.relative_sd,
            "note": self.note,
            **self.details,
        }


def find_profile(
    image: Volume,
    axis: int,
    *,
    wish: str | Path = "auto",
    thickness_mm: float | None = None,
    learnt: LearntSettings | None = None,
    events: Events | None = None,
) -> KnownProfile:
    """The slice profile of ``image``.

    ``"auto"`` takes the first that there is: the thickness that was told, that of a DICOM header if
    it is plausible, an estimate from the spectrum, a Gaussian as wide as the slices are apart.

    Args:
        image: a stack of slices.
        axis: stored axis across the slices (i, j, k = 0, 1, 2).
        wish: ``"auto"``; ``"gaussian"`` or ``"box"`` (of the thickness told or in the header, else
            of the slice spacing); ``"estimate"``; ``"learnt"``; or the name of a file for
            :func:`~mriforge.physics.profiles.read_profile`.
        thickness_mm: slice thickness that is known: FWHM of a Gaussian, width of a box.
        learnt: budget of ``"learnt"``.
        events: hears what was found, and can cancel.

    Raises:
        BadInput: no such axis or file, an impossible thickness, or a scan that is too small to
            learn from.
        Cancelled: the job was.
    """
    events = events or Events()
    if axis not in (0, 1, 2):
        raise BadInput(f"The slice axis is 0, 1 or 2 (i, j, k as stored), not {axis}.")
    spacing = image.grid.spacing[axis]
    _check_thickness(thickness_mm, spacing)
    if thickness_mm is not None and str(wish) in ("estimate", "learnt"):
        raise BadInput(
            f"A slice thickness is given, and the profile shall be found too ({wish}).",
            "Leave one of them out.",
        )
    if wish == "learnt":
        found = _learnt(image, axis, learnt, events)
    elif wish == "estimate" or (wish == "auto" and thickness_mm is None):
        header, doubt = (None, "") if wish == "estimate" else _header(image, axis)
        found = _known("gaussian", header, spacing, "header") if header else None
        found = found or _estimated(image, axis, doubt)
    elif wish in ("auto", "gaussian", "box"):
        found = _of_shape("box" if wish == "box" else "gaussian", image, axis, thickness_mm)
    else:
        found = _from_file(Path(wish), image, axis)
    events.log(found.sentence())
    return found


def profile_width(profile: Profile) -> float:
    """FWHM in mm of the Gaussian with the standard deviation of ``profile``."""
    edges, mass = profile.position, np.diff(profile.cumulative)
    left, right = edges[:-1], edges[1:]
    mean = (mass * (left + right) / 2).sum()
    # Weight is even within a step.
    square = (mass * (left**2 + left * right + right**2) / 3).sum()
    return FWHM_PER_SIGMA * math.sqrt(max(0.0, float(square - mean**2)))


def _check_thickness(thickness: float | None, spacing: float) -> None:
    if thickness is None:
        return
    if not (math.isfinite(thickness) and thickness > 0):
        raise BadInput(f"The slice thickness of {thickness:g} mm is not positive.")
    if not thickness <= 2 * PLAUSIBLE[1] * spacing:
        raise BadInput(
            f"Slices {thickness:g} mm thick are not plausible {spacing:g} mm apart.",
            "The thickness is in millimetres; leave it out to have it estimated.",
        )


def _known(shape: str, width: float, spacing: float, source: str, note: str = "") -> KnownProfile:
    profile = box(width) if shape == "box" else gaussian(width / FWHM_PER_SIGMA)
    return KnownProfile(profile, source, float(width), spacing, note=note)


def _header(image: Volume, axis: int) -> tuple[float | None, str]:
    """Slice thickness in the header, mm; or None and why what is there is not believed."""
    value = image.metadata.get("slice_thickness_mm")
    if value is None:
        return None, ""
    spacing = image.grid.spacing[axis]
    try:
        thickness = float(value)
    except (TypeError, ValueError):
        return None, f"The header's slice thickness '{value}' is not a number."
    # DICOM stacks are read with the slices along k; the thickness says nothing of other axes.
    if axis != 2:
        return None, ""
    if not PLAUSIBLE[0] * spacing <= thickness <= PLAUSIBLE[1] * spacing:
        return None, f"The header's slice thickness of {thickness:g} mm was not believed."
    return thickness, ""


def _of_shape(shape: str, image: Volume, axis: int, thickness: float | None) -> KnownProfile:
    spacing = image.grid.spacing[axis]
    if thickness is not None:
        return _known(shape, thickness, spacing, "told")
    header, doubt = _header(image, axis)
    if header is not None:
        return _known(shape, header, spacing, "header")
    return _known(shape, spacing, spacing, "assumed", doubt)


def _estimated(image: Volume, axis: int, doubt: str) -> KnownProfile:
    spacing = image.grid.spacing[axis]
    fit = spectral_fit(image, axis)
    why_not = fit.why_not or ("the image is too small" if fit.blocks < _FEWEST_BLOCKS else "")
    if why_not:
        note = f"{doubt} The scan itself says too little: {why_not}.".strip()
        known = _known("gaussian", spacing, spacing, "assumed", note)
        return replace(known, relative_sd=_UNKNOWN_SD)
    details = {"spectral_blocks": fit.blocks, "directional_preference": fit.preference}
    return KnownProfile(
        fit.profile, "estimated", fit.fwhm_mm, spacing, fit.relative_sd, doubt, details
    )


def _learnt(
    image: Volume, axis: int, settings: LearntSettings | None, events: Events
) -> KnownProfile:
    found = learn_profile(image, axis, settings, events)
    details = {"steps": found.steps, "stopped": found.stopped}
    return KnownProfile(
        found.profile, "learnt", found.fwhm_mm, image.grid.spacing[axis], details=details
    )


def _from_file(path: Path, image: Volume, axis: int) -> KnownProfile:
    if path.suffix == "" and not path.exists():
        raise BadInput(
            f"There is no slice profile '{path}'.",
            f"Choose one of {', '.join(WISHES)}, or the name of a file.",
        )
    spacing = image.grid.spacing
    # A single column is at the spacing of the pixels: that is what the slices become.
    profile = read_profile(path, min(spacing[a] for a in range(3) if a != axis))
    return KnownProfile(profile, "told", profile_width(profile), spacing[axis])
