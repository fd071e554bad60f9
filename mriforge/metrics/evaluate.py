"""An image, or several methods' images, against a reference: figures per frame, maps, tests.

One scale for everything: image and reference are both divided by the largest value of the
reference over the whole series, and the data range of PSNR and SSIM is then 1. Scaling each image
by its own maximum would hide amplitude errors; scaling each frame by its own would make frames
incomparable.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.metrics import similarity
from mriforge.metrics.ssim import ssim
from mriforge.metrics.statistics import confidence_interval, t_quantile
from mriforge.volume import Grid, Image, Series, as_series, like_input

FIGURES = ("psnr", "ssim", "nrmse", "mae", "diff_sd")
"""The figures in their order everywhere; PSNR in dB, the others without unit."""

HIGHER_IS_BETTER = {"psnr": True, "ssim": True, "nrmse": False, "mae": False, "diff_sd": False}


@dataclass(frozen=True)
class FrameScores:
    """The figures of one frame.

    Attributes:
        index: number of the frame, from 0.
        time: its time in the series' unit.
        psnr, ssim, nrmse, mae, diff_sd: see :mod:`mriforge.metrics.similarity`; on the one scale.
        ssim_interval, psnr_interval: 95 % interval of the figure over the slices of the frame
            (``None`` for fewer than two slices): how evenly the quality is spread.
    """

    index: int
    time: float
    psnr: float
    ssim: float
    nrmse: float
    mae: float
    diff_sd: float
    ssim_interval: tuple[float, float] | None = None
    psnr_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found; ``psnr`` ... ``diff_sd`` are means over frames.

    Attributes:
        frames: one entry per frame.
        scale: the value that both images were divided by, in the reference's units.
        window: the SSIM window.
        masked: whether a mask was used.
        time_name, time_unit: what the frames' times are.
        ssim_map: where it was asked for; float32, 1 where the images agree.
        difference_map: image minus reference in the images' own units, float32.
    """

    frames: list[FrameScores]
    scale: float
    window: str = "uniform7"
    masked: bool = False
    time_name: str = "time"
    time_unit: str = "s"
    ssim_map: Image | None = None
    difference_map: Image | None = None

    def values(self, figure: str) -> np.ndarray:
        """One figure of every frame."""
        return np.array([getattr(frame, figure) for frame in self.frames])

    def mean(self, figure: str) -> float:
        """Mean over frames; infinite if a frame's PSNR is."""
        return float(self.values(figure).mean())

    def sd(self, figure: str) -> float:
        """Standard deviation over frames (N - 1); not a number for one frame."""
        values = self.values(figure)
        if len(values) < 2 or not np.isfinite(values).all():
            return math.nan
        return float(values.std(ddof=1))

    def interval(self, figure: str) -> tuple[float, float]:
        """95 % interval of the mean over frames."""
        values = self.values(figure)
        if not np.isfinite(values).all():
            return math.nan, math.nan
        return confidence_interval(values)

    @property
    def psnr(self) -> float:
        return self.mean("psnr")

    @property
    def ssim(self) -> float:
        return self.mean("ssim")

    @property
    def nrmse(self) -> float:
        return self.mean("nrmse")

    @property
    def mae(self) -> float:
        return self.mean("mae")

    @property
    def diff_sd(self) -> float:
        return self.mean("diff_sd")

    def to_json(self) -> dict[str, Any]:
        """JSON types. Figures that are infinite (equal images) or do not exist are ``None``."""
        result: dict[str, Any] = {figure: _finite(self.mean(figure)) for figure in FIGURES}
        result["frames"] = [
            {key: _finite(value) for key, value in asdict(frame).items()} for frame in self.frames
        ]
        result["sd"] = {figure: _finite(self.sd(figure)) for figure in FIGURES}
        result["interval95"] = {figure: _finite(self.interval(figure)) for figure in FIGURES}
        result["scale"] = self.scale
        result["data_range"] = 1.0
        result["ssim_window"] = self.window
        result["masked"] = self.masked
        if any(frame.psnr == math.inf for frame in self.frames):
            result["note"] = "PSNR is infinite where image and reference are equal."
        return result


def _finite(value: Any) -> Any:
    """JSON form of a figure, an interval or an index."""
    if isinstance(value, tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def evaluate(
    image: Image,
    reference: Image,
    *,
    mask: Image | np.ndarray | None = None,
    scale: str | float = "max",
    window: str = "uniform7",
    resample: bool = False,
    maps: bool = False,
    events: Events | None = None,
) -> Evaluation:
    """Compare an image with its reference, frame by frame.

    Args:
        image, reference: volumes or series on one grid with equally many frames.
        mask: volume (or array ``(z, y, x)``) on that grid; non-zero is inside.
        scale: ``"max"`` (of the reference over all frames) or a number to divide by.
        window: SSIM window, see :mod:`mriforge.metrics.ssim`.
        resample: bring an image on another grid to the reference's (linear) instead of refusing.
        maps: keep the SSIM and the difference map of every frame.
        events: progress and cancelling.

    Raises:
        BadInput: grids or numbers of frames differ, voxels are not finite, the mask is empty or
            the reference has no positive voxel.
    """
    events = events or Events()
    series, truth = as_series(image), as_series(reference)
    series = matched(series, truth, resample)
    check_finite(series, "image")
    check_finite(truth, "reference")
    inside = mask_array(mask, truth.grid)
    divisor = scale_of(truth, scale)
    shape = truth.array.shape
    maps_array = np.empty((2, *shape), np.float32) if maps else None
    frames = []
    for index in range(len(truth)):
        events.check_cancelled()
        events.progress(index / len(truth), f"comparing frame {index + 1} of {len(truth)}")
        pair = series.array[index], truth.array[index]
        time = float(truth.times[index])
        scores, similarity_map = _frame(index, time, pair, inside, divisor, window)
        frames.append(scores)
        if maps_array is not None:
            maps_array[0, index] = similarity_map
            np.subtract(*pair, out=maps_array[1, index], dtype=np.float64, casting="same_kind")
    found = [None, None]
    if maps_array is not None:
        for slot, what in enumerate(("SSIM map", "difference map")):
            kept = Series(
                maps_array[slot],
                truth.grid,
                truth.times,
                truth.time_name,
                truth.time_unit,
                {"content": what, "scale": divisor, "ssim_window": window},
            )
            found[slot] = like_input(kept, reference)
    about = (divisor, window, inside is not None, truth.time_name, truth.time_unit)
    return Evaluation(frames, *about, *found)


def _frame(
    index: int,
    time: float,
    pair: tuple[np.ndarray, np.ndarray],
    inside: np.ndarray | None,
    scale: float,
    window: str,
) -> tuple[FrameScores, np.ndarray]:
    """Figures of one frame, and its SSIM map."""
    x, y = pair
    # SSIM and PSNR do not change when images and data range are divided by one number.
    mean_ssim, similarity_map = ssim(x, y, data_range=scale, window=window, mask=inside)
    gap = similarity.difference(x, y)
    chosen = gap if inside is None else gap[inside]
    squared = float(np.mean(np.square(chosen)))
    psnr = similarity.psnr_of(squared, scale)
    scores = FrameScores(
        index,
        time,
        psnr,
        mean_ssim,
        similarity.nrmse(x, y, mask=inside),
        float(np.abs(chosen).mean()) / scale,
        float(chosen.std()) / scale,
        _ssim_interval(similarity_map, inside, mean_ssim),
        _psnr_interval(gap, inside, psnr),
    )
    return scores, similarity_map


def _slice_means(array: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    if inside is None:
        return array.mean(axis=(1, 2), dtype=np.float64)
    return np.array([s[m].mean(dtype=float) for s, m in zip(array, inside, strict=True) if m.any()])


def _ssim_interval(
    similarity_map: np.ndarray, inside: np.ndarray | None, centre: float
) -> tuple[float, float] | None:
    means = _slice_means(similarity_map, inside)
    if len(means) < 2:
        return None
    half = t_quantile(len(means)) * means.std(ddof=1) / math.sqrt(len(means))
    return float(centre - half), float(min(1.0, centre + half))


def _psnr_interval(
    gap: np.ndarray, inside: np.ndarray | None, centre: float
) -> tuple[float, float] | None:
    """From the slices' mean squared errors, by the delta method in dB: defined for any spread."""
    means = _slice_means(np.square(gap), inside)
    if len(means) < 2 or not math.isfinite(centre):
        return None
    error = means.std(ddof=1) / math.sqrt(len(means)) / means.mean()
    half = 10 / math.log(10) * t_quantile(len(means)) * error
    return float(centre - half), float(centre + half)


def scale_of(reference: Series, scale: str | float) -> float:
    """The one number that image and reference are divided by.

    Raises:
        BadInput: an unknown rule, or the number is not positive.
    """
    if scale == "max":
        value = float(reference.array.max())
        if not value > 0:
            raise BadInput(
                "The reference has no positive voxel, so PSNR and SSIM have no scale.",
                "Use the magnitude image as the reference.",
            )
        return value
    if isinstance(scale, str):
        raise BadInput(f"There is no scale called {scale!r}.", "Use 'max' or a positive number.")
    if not (math.isfinite(scale) and scale > 0):
        raise BadInput(f"The scale is a positive number, not {scale!r}.")
    return float(scale)


def check_finite(series: Series, what: str) -> None:
    """Raises BadInput when voxels are complex, not numbers or infinite."""
    if series.array.dtype.kind not in "biuf":
        raise BadInput(
            f"The voxels of the {what} are not real numbers.", "Use the magnitude image."
        )
    low, high = float(series.array.min()), float(series.array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BadInput(
            f"The {what} has voxels that are not numbers (NaN or infinite).",
            "Replace them, for example by 0, and save it again.",
        )


def matched(image: Series, reference: Series, resample: bool = False) -> Series:
    """The image on the reference's grid; refuses what cannot be compared voxel by voxel."""
    if len(image) != len(reference):
        raise BadInput(
            f"The image has {len(image)} frames but the reference {len(reference)}.",
            "Compare series with the same frames, or extract the frame that belongs together.",
        )
    if image.grid.matches(reference.grid, 0.01 * min(reference.grid.spacing)):
        return image
    if not resample:
        reason = grid_difference(image.grid, reference.grid)
        raise BadInput(
            f"Image and reference are not on one grid: {reason}.",
            "Make the image on the reference's grid (superres --like), or resample it first.",
        )
    from mriforge.physics.interpolation import resample as to_grid

    array = np.stack([to_grid(frame, reference.grid, order=1).array for frame in image])
    return Series(array, reference.grid, image.times, image.time_name, image.time_unit)


def grid_difference(image: Grid, reference: Grid) -> str:
    """What differs between two grids, in words: size, voxel size, orientation, position."""

    def cross(values: tuple) -> str:
        return "x".join(f"{v:.4g}" for v in values)

    found = []
    if image.shape != reference.shape:
        found.append(
            f"the size differs ({cross(image.stored_shape)} and "
            f"{cross(reference.stored_shape)} voxels)"
        )
    if not np.allclose(image.spacing, reference.spacing, rtol=1e-3):
        found.append(
            f"the voxel size differs ({cross(image.spacing)} and {cross(reference.spacing)} mm)"
        )
    turn = image.direction_matrix.T @ reference.direction_matrix
    angle = math.degrees(math.acos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    if angle > 0.05:
        found.append(f"the orientation differs (by {angle:.3g} degrees)")
    shift = float(np.linalg.norm(np.subtract(image.origin, reference.origin)))
    if not found or shift > 0.01 * min(reference.spacing):
        found.append(f"the position differs (first voxels are {shift:.3g} mm apart)")
    return ", ".join(found)


def mask_array(mask: Image | np.ndarray | None, grid: Grid) -> np.ndarray | None:
    """The mask as booleans ``(z, y, x)``, checked."""
    if mask is None:
        return None
    if isinstance(mask, np.ndarray):
        array = mask
    else:
        series = as_series(mask)
        if len(series) != 1:
            raise BadInput(f"The mask has {len(series)} frames.", "Give a mask of one frame.")
        if not series.grid.matches(grid, 0.01 * min(grid.spacing)):
            raise BadInput(
                f"The mask is not on the images' grid: {grid_difference(series.grid, grid)}.",
                "Resample the mask to the reference.",
            )
        array = series.array[0]
    if array.shape != grid.shape:
        raise BadInput(f"The mask has shape {array.shape} but the reference {grid.shape}.")
    inside = array != 0
    if not inside.any():
        raise BadInput("The mask is empty.", "Give a mask with at least one voxel inside.")
    return inside
