"""Breathing between the images of a series, undone with the help of the signal model.

Images of different inversion times look so different that they can hardly be registered to each
other. The fitted model, though, says what every image should look like: each one is registered to
its own synthetic image, the model is fitted anew to what was registered, and so on (model-driven
registration: Buonaccorsi 2007; Hatipoglu 2010; Tagliafico and Sourbron's mdreg). Slice by slice.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.events import Events

TRANSFORMS = ("rigid", "bspline")
_ROUNDS = {"rigid": 12, "bspline": 4}
_STILL = {"rigid": 0.03, "bspline": 0.2}
"""Mean change of the displacements from one round to the next, in pixels, below which it ends."""
_CONTROL_MM = 40.0
"""Between control points of a free deformation: organs move as wholes."""
_BRIGHT = 99.0
"""Percentile at which brightness is cut for the comparison: fat close to a coil is no landmark."""
_LEAST_PIXELS = 32
_THREADS = 8
"""Images registered at a time, each by one thread: sums over threads differ from run to run."""
_PIXELS = 8192
"""That a free deformation compares at most; so few control points need no more."""


@dataclass(frozen=True)
class Registered:
    """A series with its motion undone.

    Attributes:
        series: ``(T, z, y, x)`` float32.
        displacement_mm: ``(T, z)`` mean length of what every image was moved by.
        changes_mm: mean change of the displacements in every round.
        info: JSON types, for the provenance.
    """

    series: np.ndarray
    displacement_mm: np.ndarray
    changes_mm: list[float]
    info: dict[str, Any] = field(default_factory=dict)


def register_series(
    series: np.ndarray,
    spacing_mm: Sequence[float],
    synthesize: Callable[[np.ndarray], np.ndarray],
    transform: str = "bspline",
    rounds: int | None = None,
    events: Events | None = None,
) -> Registered:
    """Moves every image onto what the model says it should look like.

    Args:
        series: ``(T, z, y, x)`` real images.
        spacing_mm: pixel size ``(x, y)`` in mm.
        synthesize: fits the model to a series and returns the series that it describes, of the
            same shape.
        transform: ``rigid`` or ``bspline``.
        rounds: at most so many times; default 12 rigid ones, 4 free deformations.
        events: progress and cancellation.

    Raises:
        BadInput: slices too small to be registered.
    """
    if transform not in TRANSFORMS:
        raise ValueError(f"{transform!r} is not one of {TRANSFORMS}")
    if min(series.shape[2:]) < _LEAST_PIXELS:
        raise BadInput(
            f"Slices of {series.shape[3]} x {series.shape[2]} pixels are too small to be "
            "registered.",
            "Leave the registration out.",
        )
    events, rounds = events or Events(), rounds or _ROUNDS[transform]
    original = np.ascontiguousarray(series, np.float32)
    current, fields = original, np.zeros((*series.shape, 2), np.float32)
    images, slices = series.shape[:2]
    found: dict[tuple[int, int], Any] = {}
    changes: list[float] = []
    for turn in range(rounds):
        wanted = np.asarray(synthesize(current), np.float32)
        moved, before = np.empty_like(original), fields.copy()
        work = [divmod(number, slices) for number in range(images * slices)]

        def one(place: tuple[int, int], wanted: np.ndarray = wanted) -> tuple:
            return _register(
                wanted[place], original[place], spacing_mm, transform, found.get(place)
            )

        with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1)) as pool:
            for number, (place, made) in enumerate(zip(work, pool.map(one, work), strict=True)):
                if events.cancelled:
                    pool.shutdown(cancel_futures=True)
                events.check_cancelled()
                done = (turn + (number + 1) / len(work)) / rounds
                events.progress(done, f"registering, round {turn + 1}")
                moved[place], fields[place], found[place] = made
        if original.min() >= 0:
            moved.clip(0, out=moved)
        current = moved
        changes.append(float(np.linalg.norm(fields - before, axis=-1).mean()))
        events.metric(round=turn + 1, change_mm=changes[-1])
        if changes[-1] < _STILL[transform] * min(spacing_mm):
            break
    lengths = np.linalg.norm(fields, axis=-1).mean((2, 3))
    info = {
        "transform": transform,
        "rounds": len(changes),
        "change_mm": [round(change, 3) for change in changes],
        "displacement_mm": np.round(lengths.mean(1), 2).tolist(),
    }
    return Registered(current, lengths, changes, info)


def _register(
    fixed: np.ndarray,
    moving: np.ndarray,
    spacing_mm: Sequence[float],
    kind: str,
    before: Any = None,
) -> tuple[np.ndarray, np.ndarray, Any]:
    """The moved image ``(y, x)``, its displacements ``(y, x, 2)`` in mm, and the transform.

    ``before`` is the transform of the round before; it is improved at the finest level only.
    """
    import SimpleITK as sitk

    target, source = (_image(picture, spacing_mm) for picture in (fixed, moving))
    if np.ptp(fixed) == 0 or np.ptp(moving) == 0:
        return moving, np.zeros((*moving.shape, 2), np.float32), before
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    if kind == "rigid":
        _prepare_rigid(method, target, source, before)
    else:
        _prepare_bspline(method, target, spacing_mm, before)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    compared = [_image(_cut(picture), spacing_mm) for picture in (fixed, moving)]
    try:
        found = method.Execute(*compared)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BadInput(f"An image could not be registered ({reason}).") from error
    moved = sitk.Resample(source, target, found, sitk.sitkBSpline, 0.0, sitk.sitkFloat32)
    shift = sitk.TransformToDisplacementField(
        found, sitk.sitkVectorFloat32, target.GetSize(), target.GetOrigin(), target.GetSpacing()
    )
    return sitk.GetArrayFromImage(moved), sitk.GetArrayFromImage(shift), found


def _prepare_rigid(method: Any, target: Any, source: Any, before: Any) -> None:
    import SimpleITK as sitk

    start = before or sitk.CenteredTransformInitializer(
        target, source, sitk.Euler2DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100)
    method.SetShrinkFactorsPerLevel([2, 1] if before is None else [1])
    method.SetSmoothingSigmasPerLevel([1, 0] if before is None else [0])
    method.SetInitialTransform(start, inPlace=True)


def _prepare_bspline(method: Any, target: Any, spacing_mm: Sequence[float], before: Any) -> None:
    import SimpleITK as sitk

    sizes = [n * s for n, s in zip(target.GetSize(), spacing_mm, strict=True)]
    mesh = [max(2, round(size / _CONTROL_MM)) for size in sizes]
    start = before or sitk.BSplineTransformInitializer(target, mesh, order=3)
    # LBFGSB keeps state between its calls and must not run in several threads; this may.
    method.SetOptimizerAsLBFGS2(
        solutionAccuracy=1e-6,
        numberOfIterations=30 if before is None else 10,
        deltaConvergenceTolerance=0.0,
        lineSearchMaximumEvaluations=10,
    )
    # Fewer pixels by shrinking, not by ITK's sampling: its random numbers are shared by threads.
    fine = max(1, math.ceil(math.sqrt(target.GetNumberOfPixels() / _PIXELS)))
    method.SetShrinkFactorsPerLevel([2 * fine, fine] if before is None else [fine])
    method.SetSmoothingSigmasPerLevel([fine, fine / 2] if before is None else [fine / 2])
    method.SetInitialTransform(start, inPlace=True)


def _image(picture: np.ndarray, spacing_mm: Sequence[float]) -> Any:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(picture, np.float32))
    image.SetSpacing([float(s) for s in spacing_mm])
    return image


def _cut(picture: np.ndarray) -> np.ndarray:
    low, high = np.percentile(picture, (0, _BRIGHT))
    return np.clip(picture, low, high if high > low else picture.max())
