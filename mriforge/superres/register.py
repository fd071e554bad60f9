"""Rigid alignment of two images (SimpleITK): a prior and the image, or two stacks."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.physics.interpolation import to_itk
from mriforge.volume import Grid, Volume


def register_rigid(moving: Volume, fixed: Volume, events: Events | None = None) -> Volume:
    """``moving`` rotated and shifted onto ``fixed``; only its grid changes, voxels are kept.

    Args:
        moving: the prior, of any contrast.
        fixed: one frame of the image to sharpen.

    Raises:
        BadInput: the images have too few slices, or nothing in common.
    """
    if min(moving.grid.shape) < 4 or min(fixed.grid.shape) < 4:
        raise BadInput(
            "Registration needs at least four slices in both images.",
            "Leave it out: fine-tuning does not need it.",
        )
    try:
        found, information = find_rigid(moving, fixed, events=events)
    except RuntimeError as error:
        raise BadInput(
            "The prior could not be registered: the images do not overlap or share no structure.",
            "Leave registration out: fine-tuning does not need it.",
        ) from error
    if events is not None:
        events.log(f"Registration ended at mutual information {information:.3f}.")
    return moved(moving, found.GetInverse())


def find_rigid(
    moving: Volume,
    fixed: Volume,
    *,
    correlation: bool = False,
    from_header: bool = False,
    events: Events | None = None,
) -> tuple[sitk.Transform, float]:
    """The rigid motion from points of ``fixed`` to points of ``moving`` (LPS mm), coarse to fine.

    Args:
        correlation: compare by correlation (one contrast) instead of mutual information (any).
        from_header: start at the positions in the headers; default: at the middles of the images.

    Returns:
        the transform, and the similarity that it reached.

    Raises:
        RuntimeError: SimpleITK found too little overlap.
        Cancelled: the caller asked to stop.
    """
    method = sitk.ImageRegistrationMethod()
    if correlation:
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 150)
    method.SetOptimizerScalesFromPhysicalShift()
    # Shrinking needs at least a few voxels left along every axis.
    coarse = [f for f in (4, 2, 1) if min(fixed.grid.shape) // f >= 4] or [1]
    method.SetShrinkFactorsPerLevel(coarse)
    method.SetSmoothingSigmasPerLevel([float(f - 1) for f in coarse])
    fixed_itk, moving_itk = to_itk(fixed), to_itk(moving)
    if events is not None:
        method.AddCommand(
            sitk.sitkIterationEvent, lambda: events.cancelled and method.StopRegistration()
        )
    start = sitk.CenteredTransformInitializer(
        fixed_itk,
        moving_itk,
        sitk.Euler3DTransform(),
        sitk.CenteredTransformInitializerFilter.GEOMETRY,
    )
    if from_header:
        start = sitk.Euler3DTransform(start)
        start.SetTranslation((0.0, 0.0, 0.0))
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(fixed_itk, moving_itk)
    if events is not None:
        events.check_cancelled()
    return found, -method.GetMetricValue()


def moved(volume: Volume, transform: sitk.Transform) -> Volume:
    """``volume`` with its grid carried by a rigid ``transform`` of LPS points."""
    grid = volume.grid
    origin = np.asarray(transform.TransformPoint(grid.origin))
    axes = [
        np.asarray(transform.TransformPoint(tuple(grid.index_to_world(unit)))) - origin
        for unit in np.eye(3)
    ]
    direction = np.stack([axis / s for axis, s in zip(axes, grid.spacing, strict=True)], axis=1)
    # Rounding of the transform would otherwise make the axes slightly oblique to each other.
    u, _, v = np.linalg.svd(direction)
    return Volume(
        volume.array,
        Grid(grid.shape, grid.spacing, tuple(origin), tuple((u @ v).ravel())),
        volume.metadata,
    )
