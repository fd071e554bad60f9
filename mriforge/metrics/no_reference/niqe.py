"""NIQE: how far an image's statistics are from those of sharp images, learnt without opinions.

Mittal, Soundararajan, Bovik 2013 ("Making a completely blind image quality analyzer", IEEE SPL
20:209). The image is cut into patches; each gives 36 features, 18 at its own resolution and 18 at
half of it: shape and scale of the distribution of its MSCN coefficients, and shape, mean and both
scales of that of the products of neighbours in four directions. A pristine model is the mean and
the covariance of these over patches of sharp images that are in focus: whose local deviation is
more than 0.75 of the largest in their slice. The score is the distance of two Gaussians (equation
10)::

    sqrt((m1 - m2)^T ((S1 + S2) / 2)^-1 (m1 - m2))

with the mean and covariance of the judged image's patches, sharp or not. Lower is better.

Conventions that the published measure leaves open or that differ from it:

* The published model describes photographs; ours is fitted on MR slices (:func:`fit_niqe`). Scores
  of different models, and of different patch sizes, must not be compared.
* Patches are 32 pixels wide and there is one every 16, not 96 side by side: MR slices are small.
* Given a mask, only patches of which more than half lies inside are looked at. In MR half of an
  image is air, which has nothing to do with its quality.
* Both shape and scale of the coefficients themselves come from the asymmetric fit, as in the
  authors' program. Products never wrap around the patch, as they do there.
* Half the resolution is made by a bicubic kernel stretched by two, mirrored at the borders.
* Patches without any structure have no features and are left out.

Sharp slices have some noise. An image with less of it than the model's, a denoised or an averaged
one, comes nearer to the model when a little noise is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from mriforge.errors import BadInput
from mriforge.metrics.no_reference.gaussians import Aggd, fit_aggd
from mriforge.metrics.no_reference.mscn import (
    DIRECTIONS,
    as_images,
    local_statistics,
    neighbour_products,
)

FEATURES = 36
PATCH, STEP = 32, 16
SHARPNESS = 0.75
LEAST_PATCHES = 4
"""Fewer in a slice say nothing about it."""


@dataclass(frozen=True)
class NiqeModel:
    """What sharp images look like.

    Attributes:
        mean: ``(36,)`` of the features.
        covariance: ``(36, 36)``.
        patch, step: width of the patches and distance of their corners, in pixels; both even.
        sharpness: which part of the largest local deviation of its slice a patch had to have.
        patches, slices: how many the model was fitted on.
        provenance: where the slices came from: subjects, files, licences, planes.
    """

    mean: np.ndarray
    covariance: np.ndarray
    patch: int = PATCH
    step: int = STEP
    sharpness: float = SHARPNESS
    patches: int = 0
    slices: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)


def half(images: np.ndarray) -> np.ndarray:
    """``(..., rows // 2, columns // 2)``: a bicubic kernel (a = -1/2) stretched by two.

    Sample ``j`` lies at ``2 j + 1/2``, between two pixels; a last odd row or column is left out
    after it has been seen.
    """
    distances = np.abs(np.arange(-3, 5) - 0.5) / 2
    near = 1.5 * distances**3 - 2.5 * distances**2 + 1
    far = -0.5 * distances**3 + 2.5 * distances**2 - 4 * distances + 2
    weights = np.where(distances <= 1, near, far)
    weights /= weights.sum()
    for axis in (-2, -1):
        # With eight weights scipy centres on the fifth: origin -1 puts the fourth at the pixel.
        images = ndimage.correlate1d(images, weights, axis=axis, mode="reflect", origin=-1)
        size = images.shape[axis]
        images = np.take(images, np.arange(0, size - size % 2, 2), axis=axis)
    return images


def patch_features(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    patch: int = PATCH,
    step: int = STEP,
    constant: float = 1.0,
    sharper_than: float = 0.0,
) -> np.ndarray:
    """The features of the patches of a slice or a stack.

    Args:
        image: ``(rows, columns)`` or ``(slices, rows, columns)``.
        mask: of its shape; patches that lie more than half outside are left out.
        patch, step: width of the patches and distance of their corners; both even.
        constant: ``C`` of the coefficients.
        sharper_than: only patches whose mean local deviation is more than this part of the
            largest among the patches of their slice.

    Returns:
        ``(patches, 36)``; no rows where no patch has features.

    Raises:
        BadInput: slices smaller than a patch, pixels that are no numbers, odd patches.
    """
    if patch % 2 or step % 2 or patch < 16 or step < 2:
        raise BadInput(f"Patches need even sizes of at least 16 pixels, not {patch} by {step}.")
    images = as_images(image, smallest=patch)
    inside = np.ones(images.shape, bool) if mask is None else np.asarray(mask, bool)
    if inside.size != images.size:
        raise BadInput(f"The mask has shape {np.shape(mask)} but the image {np.shape(image)}.")
    found = [np.empty((0, FEATURES))]
    for one, where in zip(images, inside.reshape(images.shape), strict=True):
        found.append(_slice_features(one, where, (patch, step), constant, sharper_than))
    return np.concatenate(found)


def _slice_features(
    image: np.ndarray,
    inside: np.ndarray,
    layout: tuple[int, int],
    constant: float,
    sharper_than: float,
) -> np.ndarray:
    patch, step = layout
    used = _patches(inside, patch, step).mean(axis=(1, 2)) > 0.5
    if not used.any():
        return np.empty((0, FEATURES))
    scales = []
    for level, array in enumerate((image, half(image))):
        mean, deviation = local_statistics(array)
        cut = patch >> level, step >> level
        if level == 0 and sharper_than > 0:
            sharpness = _patches(deviation, *cut).mean(axis=(1, 2))
            used &= sharpness > sharper_than * sharpness[used].max()
        scales.append(_features(_patches((array - mean) / (deviation + constant), *cut)[used]))
    features = np.concatenate(scales, axis=1)
    return features[np.isfinite(features).all(axis=1)]


def _patches(image: np.ndarray, patch: int, step: int) -> np.ndarray:
    """``(patches, patch, patch)``, row by row."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (patch, patch))
    return windows[::step, ::step].reshape(-1, patch, patch)


def _features(coefficients: np.ndarray) -> np.ndarray:
    """The 18 features of one resolution, ``(patches, 18)``."""
    fit = _fit(coefficients)
    columns = [fit.shape, (fit.left_scale + fit.right_scale) / 2]
    for step in DIRECTIONS.values():
        fit = _fit(neighbour_products(coefficients, step))
        columns += [fit.shape, fit.mean, fit.left_scale, fit.right_scale]
    return np.stack(columns, axis=1)


def _fit(patches: np.ndarray) -> Aggd:
    return fit_aggd(patches.reshape(len(patches), -1))


def fit_niqe(
    slices: Iterable[np.ndarray | tuple[np.ndarray, np.ndarray]],
    *,
    patch: int = PATCH,
    step: int = STEP,
    sharpness: float = SHARPNESS,
    constant: float = 1.0,
    provenance: Mapping[str, Any] | None = None,
) -> NiqeModel:
    """The pristine model of sharp slices.

    Args:
        slices: slices ``(rows, columns)`` of any sizes, scaled so that bright tissue is 255;
            or pairs of a slice and its mask.
        patch, step, constant: as of :func:`patch_features`.
        sharpness: as of :class:`NiqeModel`.
        provenance: kept in the model.

    Raises:
        BadInput: fewer sharp patches than the covariance of 36 features needs.
    """
    found, count = [np.empty((0, FEATURES))], 0
    for item in slices:
        image, mask = item if isinstance(item, tuple) else (item, None)
        features = patch_features(
            image, mask, patch=patch, step=step, constant=constant, sharper_than=sharpness
        )
        found.append(features)
        count += len(features) > 0
    features = np.concatenate(found)
    if len(features) <= FEATURES:
        raise BadInput(
            f"The slices have {len(features)} sharp patches of {patch} pixels; a NIQE model needs "
            f"more than {FEATURES}, better thousands.",
            "Give more or larger slices.",
        )
    covariance = np.cov(features, rowvar=False)
    return NiqeModel(
        features.mean(axis=0),
        covariance,
        patch,
        step,
        sharpness,
        len(features),
        count,
        dict(provenance or {}),
    )


def niqe(
    image: np.ndarray,
    model: NiqeModel,
    mask: np.ndarray | None = None,
    *,
    constant: float = 1.0,
    sharp_only: bool = False,
) -> float:
    """Distance of an image from the model; the lower, the better.

    Args:
        image: a slice, or a stack whose patches are judged together; bright tissue is 255.
        model: the pristine model, from :func:`fit_niqe` or a file.
        mask: of the image's shape, see the module.
        constant: ``C``.
        sharp_only: choose patches as for the model. The slices of the model itself then have
            distance 0.

    Returns:
        not a number where fewer than :data:`LEAST_PATCHES` patches have features: constant
        images, nothing but background.

    Raises:
        BadInput: see :func:`patch_features`.
    """
    features = patch_features(
        image,
        mask,
        patch=model.patch,
        step=model.step,
        constant=constant,
        sharper_than=model.sharpness if sharp_only else 0.0,
    )
    if len(features) < LEAST_PATCHES:
        return float("nan")
    gap = features.mean(axis=0) - model.mean
    middle = (model.covariance + np.cov(features, rowvar=False)) / 2
    return float(np.sqrt(max(0.0, gap @ np.linalg.pinv(middle, hermitian=True) @ gap)))
