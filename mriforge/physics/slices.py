"""Thick slices: profile, thickness, gap and overlap, at any ratio."""

from __future__ import annotations

import math

from mriforge.errors import BadInput
from mriforge.physics.blur import centred_positions, subsampled_grid
from mriforge.physics.profiles import FWHM_PER_SIGMA, Profile, box, gaussian, profile_matrix
from mriforge.physics.separable import SeparableOperator
from mriforge.volume import Grid

_ROUNDING = 1e-6


class SliceProfile(SeparableOperator):
    """A stack of thick slices across one stored axis of the sharp image.

    Slices are ``thickness + gap`` apart; a negative gap is an overlap. As many whole slices as
    fit into the image are planned, centred in it; what is left over stays uncovered on both
    sides. A voxel counts as evenly filled, and weighs what its extent covers of the profile.

    Args:
        high: grid of the sharp image.
        thickness: mm; the full width at half maximum of a Gaussian, the width of a box.
        gap: mm between slices.
        axis: stored axis (i, j, k = 0, 1, 2) that the slices are stacked along.
        profile: ``"gaussian"``, ``"box"``, or a measured :class:`Profile` (its own width then
            counts, and ``thickness`` only plans the slices).

    Raises:
        BadInput: slices thinner or closer together than the voxels, or thicker than the image.
    """

    def __init__(
        self,
        high: Grid,
        thickness: float,
        gap: float = 0.0,
        axis: int = 2,
        profile: str | Profile = "gaussian",
    ) -> None:
        size, voxel = high.stored_shape[axis], high.spacing[axis]
        self._check(thickness, gap, size, voxel)
        self.thickness, self.gap, self.axis = float(thickness), float(gap), axis
        self.spacing = self.thickness + self.gap
        self.profile = self._profile(profile)
        room = size * voxel - self.thickness
        count = 1 + math.floor(room / self.spacing + _ROUNDING)
        ratio = self.spacing / voxel
        centres = centred_positions(size, count, ratio)
        matrix = profile_matrix(self.profile, centres, size, voxel)
        low = subsampled_grid(high, {axis: count}, {axis: ratio})
        super().__init__(high, low, {-1 - axis: matrix})

    @property
    def overlap(self) -> float:
        """How much neighbouring slices overlap, mm."""
        return max(0.0, -self.gap)

    def _profile(self, profile: str | Profile) -> Profile:
        if isinstance(profile, Profile):
            return profile
        if profile == "box":
            return box(self.thickness)
        if profile == "gaussian":
            return gaussian(self.thickness / FWHM_PER_SIGMA)
        raise ValueError(f"profile is 'gaussian', 'box' or a Profile, not {profile!r}")

    @staticmethod
    def _check(thickness: float, gap: float, size: int, voxel: float) -> None:
        if not (math.isfinite(thickness) and math.isfinite(gap)):
            raise BadInput(f"A slice of {thickness} mm with a gap of {gap} mm is not possible.")
        if thickness < voxel * (1 - _ROUNDING):
            raise BadInput(
                f"Slices of {thickness:g} mm are thinner than the image's voxels of {voxel:g} mm.",
                f"Give a slice thickness of at least {voxel:g} mm, or another axis.",
            )
        if thickness + gap < voxel * (1 - _ROUNDING):
            raise BadInput(
                f"Slices {thickness + gap:g} mm apart are closer together than the image's voxels "
                f"of {voxel:g} mm.",
                "Slice spacing is thickness plus gap; let the slices overlap less.",
            )
        if thickness > size * voxel * (1 + _ROUNDING):
            raise BadInput(
                f"A slice of {thickness:g} mm is thicker than the whole image of "
                f"{size * voxel:g} mm.",
                "Give a smaller slice thickness, or another axis.",
            )
