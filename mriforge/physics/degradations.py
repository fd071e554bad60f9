"""One named low-resolution model per paper: they are different operators, not variants of one.

Marks in the sources: [S] stated by the paper, [R] read in its public code, [?] stated nowhere,
the value here is a proposal.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.physics.blur import GaussianBlur
from mriforge.physics.fermi import FermiCrop
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.operator import LinearOperator
from mriforge.physics.slices import SliceProfile
from mriforge.physics.truncation import KspaceZeroFill, TruncateLinear
from mriforge.volume import Grid


class Degradation(StrEnum):
    """Names of the low-resolution models; :data:`SOURCES` says where each comes from."""

    KSPACE_CROP = "kspace_crop"
    KSPACE_ZEROFILL = "kspace_zerofill"
    KSPACE_TRUNCATE_LINEAR = "kspace_truncate_linear"
    KSPACE_CROP_ANISO = "kspace_crop_aniso"
    FERMI_CROP = "fermi_crop"
    GAUSSIAN_BLUR = "gaussian_blur"
    GAUSSIAN_BLUR_FIXED = "gaussian_blur_fixed"
    SLICE_PROFILE = "slice_profile"


SOURCES: dict[Degradation, str] = {
    Degradation.KSPACE_CROP: "Sarasaen et al. 2021: per slice, centre of k-space kept by MRUnder's "
    "centre-ratio rule, no padding; 25, 10 or 6.25 % [S][R].",
    Degradation.KSPACE_ZEROFILL: "Chen 2021, chapter 3 (two axes halved) and the GAN-CPCE and "
    "GAN-CIRCLE comparison (central 25 % per slice): outer k-space zero, same matrix [S].",
    Degradation.KSPACE_TRUNCATE_LINEAR: "Chen 2021, chapter 4: truncated k-space, linearly "
    "interpolated back to the matrix [S]; sampling positions aligned [?].",
    Degradation.KSPACE_CROP_ANISO: "Chen 2021, chapter 5 (coronary): central quarter of k-space "
    "along anterior-posterior and superior-inferior, no padding [S].",
    Degradation.FERMI_CROP: "Huang et al. 2021, comparator: outer 75 % of k-space removed with a "
    "Fermi window [S]; k0 = 0.9 and w = 0.05 of the kept radius [?].",
    Degradation.GAUSSIAN_BLUR: "The SA-INR pre-training paper, as in SynthSR: Gaussian of sigma = "
    "0.75 LR/HR voxels [S], cut at 2.5 sigma [R], then subsampled about the image's middle [?].",
    Degradation.GAUSSIAN_BLUR_FIXED: "Huang et al. 2021, comparator: Gaussian of sigma = 1.5 sharp "
    "voxels, then every second one, in plane [S].",
    Degradation.SLICE_PROFILE: "Thick slices as in SMORE and ECLARE: Gaussian with its full width "
    "at half maximum equal to the thickness [R]; gap, overlap, box and measured profiles added.",
}


def _kspace(
    operator: Callable[..., LinearOperator], grid: Grid, keep: float, axes: tuple[int, ...]
) -> LinearOperator:
    return operator(grid, KspaceCrop.from_fraction(grid, keep, axes).low.stored_shape)


def _kspace_crop(
    grid: Grid, *, keep: float = 0.0625, axes: tuple[int, ...] = (0, 1)
) -> LinearOperator:
    return _kspace(KspaceCrop, grid, keep, axes)


def _kspace_zerofill(
    grid: Grid, *, keep: float = 0.25, axes: tuple[int, ...] = (0, 1)
) -> LinearOperator:
    return _kspace(KspaceZeroFill, grid, keep, axes)


def _kspace_truncate_linear(
    grid: Grid, *, keep: float = 0.25, axes: tuple[int, ...] = (0, 1)
) -> LinearOperator:
    return _kspace(TruncateLinear, grid, keep, axes)


def _fermi_crop(
    grid: Grid, *, keep: float = 0.25, axes: tuple[int, ...] = (0, 1)
) -> LinearOperator:
    return _kspace(FermiCrop, grid, keep, axes)


def patient_axes(grid: Grid, world: tuple[int, ...]) -> tuple[int, ...]:
    """Stored axes that run closest to LPS axes ``world`` (1 = AP, 2 = SI), each used once."""
    along = np.abs(grid.direction_matrix)
    free, chosen = [0, 1, 2], []
    for axis in world:
        best = max(free, key=lambda stored: along[axis, stored])
        free.remove(best)
        chosen.append(best)
    return tuple(chosen)


def _kspace_crop_aniso(
    grid: Grid, *, factor: float = 4.0, axes: tuple[int, ...] | None = None
) -> LinearOperator:
    shape = list(grid.stored_shape)
    for axis in patient_axes(grid, (1, 2)) if axes is None else axes:
        if shape[axis] > 1:
            shape[axis] = max(1, round(shape[axis] / factor))
    return KspaceCrop(grid, tuple(shape))


def _gaussian_blur(
    grid: Grid, *, ratio: float = 4.0, axes: tuple[int, ...] = (2,), sigma: float = 0.75
) -> LinearOperator:
    return GaussianBlur(grid, dict.fromkeys(axes, ratio), sigma)


def _gaussian_blur_fixed(
    grid: Grid, *, ratio: float = 2.0, axes: tuple[int, ...] = (0, 1), sigma_voxels: float = 1.5
) -> LinearOperator:
    return GaussianBlur(grid, dict.fromkeys(axes, ratio), sigma_voxels / ratio, truncate=3.5)


def _slice_profile(grid: Grid, *, thickness: float, **settings: Any) -> LinearOperator:
    return SliceProfile(grid, thickness, **settings)


_FACTORIES: dict[Degradation, Callable[..., LinearOperator]] = {
    Degradation.KSPACE_CROP: _kspace_crop,
    Degradation.KSPACE_ZEROFILL: _kspace_zerofill,
    Degradation.KSPACE_TRUNCATE_LINEAR: _kspace_truncate_linear,
    Degradation.KSPACE_CROP_ANISO: _kspace_crop_aniso,
    Degradation.FERMI_CROP: _fermi_crop,
    Degradation.GAUSSIAN_BLUR: _gaussian_blur,
    Degradation.GAUSSIAN_BLUR_FIXED: _gaussian_blur_fixed,
    Degradation.SLICE_PROFILE: _slice_profile,
}


def make_operator(name: str | Degradation, grid: Grid, **settings: Any) -> LinearOperator:
    """The named low-resolution model of images on ``grid``.

    Args:
        name: a :class:`Degradation` or its value.
        grid: of the sharp image.
        **settings: ``keep`` (fraction of k-space) and ``axes`` (stored, i, j, k = 0, 1, 2) of
            the k-space models; ``factor`` and ``axes`` of ``kspace_crop_aniso``; ``ratio``,
            ``axes`` and ``sigma`` (``sigma_voxels``) of the blurs; ``thickness``, ``gap``,
            ``axis`` and ``profile`` of ``slice_profile``. Defaults are the papers'.

    Raises:
        BadInput: unknown name or setting, or one that does not fit the grid.
    """
    try:
        factory = _FACTORIES[Degradation(name)]
    except ValueError:
        raise BadInput(
            f"There is no degradation '{name}'.", f"Known are {', '.join(Degradation)}."
        ) from None
    try:
        return factory(grid, **settings)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise BadInput(f"The degradation '{name}' does not fit its settings: {error}.") from error
