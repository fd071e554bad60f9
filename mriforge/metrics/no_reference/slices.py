"""Volumes slice by slice: which slices, which part of them, on which scale.

Chen 2021 (chapter 4) scores "only the 2D slices where the foreground (brain region) occupies more
than 25% of the whole image" and averages over them; so do we. Everything that makes images
comparable comes from one volume, the reference where there is one: the foreground, and with it the
slices and patches, and the number that all images are divided by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from mriforge.errors import BadInput
from mriforge.metrics.no_reference.mscn import mscn_distance
from mriforge.metrics.no_reference.niqe import NiqeModel, niqe
from mriforge.metrics.no_reference.piqe import BLOCK, piqe
from mriforge.volume import Grid

PLANES = ("sagittal", "coronal", "axial")
LEAST_FOREGROUND = 0.25
BRIGHT = 255.0
_PERCENTILE = 99.5


@dataclass(frozen=True)
class SliceScores:
    """Scores of one volume; lists have one entry for each slice that was judged.

    Attributes:
        plane: which slices.
        indices: their numbers along the array axis.
        scores: by figure: ``niqe``, ``piqe`` and, where it was asked for, ``brisque``; not a
            number where a slice has none.
        mscn_distance: to the reference's slices, all pixels of the foreground together; None
            without a reference.
    """

    plane: str
    indices: list[int]
    scores: dict[str, np.ndarray]
    mscn_distance: float | None = None

    def count(self, figure: str) -> int:
        """How many slices have a score."""
        return int(np.isfinite(self.scores[figure]).sum())

    def mean(self, figure: str) -> float:
        """Mean over the slices with a score; not a number where there is none."""
        values = self.scores[figure]
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")


def plane_axis(grid: Grid, plane: str) -> int:
    """The array axis that slices of the plane (or the one nearest to it) are stacked along.

    Raises:
        BadInput: there is no plane of that name.
    """
    if plane not in PLANES:
        raise BadInput(
            f"There is no plane called '{plane}'.", f"Choose one of {', '.join(PLANES)}."
        )
    return 2 - _stored_axes(grid)[PLANES.index(plane)]


def usual_plane(grid: Grid) -> str:
    """The plane of a single slice, of thick slices, or else of the first array axis."""
    axis = 0
    spacing = grid.spacing[::-1]
    if 1 in grid.shape:
        axis = grid.shape.index(1)
    elif max(spacing) > 1.2 * min(spacing):
        axis = int(np.argmax(spacing))
    return PLANES[_stored_axes(grid).index(2 - axis)]


def _stored_axes(grid: Grid) -> list[int]:
    """The stored axis along left-right, front-back and feet-head, each used once."""
    _, stored = linear_sum_assignment(-np.abs(grid.direction_matrix))
    return [int(axis) for axis in stored]


def foreground(array: np.ndarray) -> np.ndarray:
    """Booleans of the array's shape: brighter than half of Otsu's threshold, holes filled.

    The threshold (Otsu 1979) is that of the smoothed volume, so that noise of the background does
    not count; half of it, because it may lie between dark and bright tissue. Holes are filled in
    slices along the first axis.

    Args:
        array: ``(slices, rows, columns)``, finite.
    """
    smooth = ndimage.gaussian_filter(np.asarray(array, np.float32), (0, 1, 1))
    counts, edges = np.histogram(smooth, 256)
    if edges[-1] <= edges[0] or np.ptp(smooth) == 0:
        return np.zeros(smooth.shape, bool)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts).astype(float)
    moment = np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = moment / below - (moment[-1] - moment) / above
        between = np.where((below > 0) & (above > 0), below * above * gap**2, 0)
    lowest = float(edges[0])
    threshold = lowest + (float(centres[int(np.argmax(between))]) - lowest) / 2
    inside = smooth > threshold
    return np.stack([ndimage.binary_fill_holes(one) for one in inside])


def scale_of(array: np.ndarray, inside: np.ndarray) -> float:
    """The value that counts as bright: the 99.5th percentile of the foreground.

    The largest value of an MR image is that of some vessel; it would decide about the constants
    of all measures.

    Raises:
        BadInput: nothing is positive.
    """
    values = array[inside] if inside.any() else array
    value = float(np.percentile(values, _PERCENTILE))
    if not value > 0:
        raise BadInput(
            "The image has no positive voxels to scale it by.", "Use the magnitude image."
        )
    return value


@dataclass(frozen=True)
class Chosen:
    """Which slices of a volume are judged.

    Attributes:
        plane: their plane.
        axis: the array axis that they are stacked along.
        indices: their numbers.
        inside: ``(slices, rows, columns)``, their foreground.
        scale: what counts as bright, in the volume's units.
    """

    plane: str
    axis: int
    indices: list[int]
    inside: np.ndarray
    scale: float

    def of(self, array: np.ndarray) -> np.ndarray:
        """These slices of a volume ``(z, y, x)``, bright tissue 255; float64."""
        slices = np.moveaxis(array, self.axis, 0)[self.indices]
        return slices * np.float64(BRIGHT / self.scale)


def choose_slices(
    array: np.ndarray,
    grid: Grid,
    *,
    mask: np.ndarray | None = None,
    plane: str | None = None,
    every: int = 1,
) -> Chosen:
    """The slices whose foreground is more than 25 % of them (Chen 2021).

    Args:
        array: ``(z, y, x)``, real and finite.
        grid, mask, plane: as of :func:`score_slices`.
        every: only every so many of them.

    Raises:
        BadInput: slices smaller than 16 pixels, no positive voxels, an unknown plane.
    """
    plane = plane or usual_plane(grid)
    axis = plane_axis(grid, plane)
    source = np.moveaxis(array, axis, 0)
    if min(source.shape[1:]) < BLOCK:
        rows, columns = source.shape[1:]
        raise BadInput(
            f"The {plane} slices have {rows} x {columns} pixels; at least {BLOCK} x {BLOCK} are "
            "needed to judge them.",
            "Choose another plane.",
        )
    inside = foreground(source) if mask is None else np.moveaxis(np.asarray(mask, bool), axis, 0)
    found = np.flatnonzero(inside.mean(axis=(1, 2)) > LEAST_FOREGROUND)[::every]
    scale = scale_of(source, inside)
    return Chosen(plane, axis, [int(i) for i in found], inside[found], scale)


def score_slices(
    array: np.ndarray,
    grid: Grid,
    model: NiqeModel,
    *,
    reference: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    plane: str | None = None,
    brisque: Callable[[np.ndarray], float] | None = None,
    check: Callable[[], None] | None = None,
) -> SliceScores:
    """Judge one volume slice by slice.

    Args:
        array: ``(z, y, x)``, real.
        grid: of the volume.
        model: pristine model of NIQE.
        reference: a volume on the same grid. It does not change what the figures are; foreground
            and scale are taken from it, and the MSCN distance is to it.
        mask: what counts as foreground instead, ``(z, y, x)``.
        plane: ``axial``, ``coronal`` or ``sagittal``; default :func:`usual_plane`.
        brisque: scores a slice, see :class:`mriforge.metrics.no_reference.brisque.Brisque`.
        check: called before every slice, e.g. to raise when cancelled.

    Raises:
        BadInput: voxels that are no numbers, slices smaller than 16 pixels, an image without
            positive voxels.
    """
    for one in (array, reference):
        if one is not None and not (one.dtype.kind in "biuf" and np.isfinite(one).all()):
            raise BadInput(
                "There are voxels that are not real numbers.", "Replace them, e.g. by 0."
            )
    chosen = choose_slices(array if reference is None else reference, grid, mask=mask, plane=plane)
    stack, inside = chosen.of(array), chosen.inside
    judges: dict[str, Callable] = {"niqe": _niqe_of(model, stack.shape[1:]), "piqe": piqe}
    if brisque is not None:
        judges["brisque"] = lambda image, _: brisque(image)
    scores = {name: np.full(len(stack), np.nan) for name in judges}
    for number in range(len(stack)):
        if check is not None:
            check()
        for name, judge in judges.items():
            scores[name][number] = judge(stack[number], inside[number])
    distance = None
    if reference is not None:
        other = chosen.of(reference)
        distance = mscn_distance(stack, other, inside, inside) if len(stack) else float("nan")
    return SliceScores(chosen.plane, chosen.indices, scores, distance)


def _niqe_of(model: NiqeModel, shape: tuple[int, ...]) -> Callable:
    """NIQE where a patch fits into the slices, and nothing where none does."""
    if min(shape) < model.patch:
        return lambda image, inside: float("nan")
    return lambda image, inside: niqe(image, model, inside)
