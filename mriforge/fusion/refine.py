"""Where a stack, or each of its slices, lies in a sharp image: Gauss-Newton on the residual.

The image is blurred once across the slices by their own profile; then every voxel of the stack is
a point sample of it, and six numbers say how the samples move. Kuklisova-Murgasova et al. 2012
("Reconstruction of fetal brain MRI ...") alternate the same two steps, registration to the
current volume and reconstruction of it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mriforge.events import Events
from mriforge.fusion.geometry import moved_points, rigid
from mriforge.fusion.stack import Stack
from mriforge.physics.profiles import Profile
from mriforge.volume import Grid

_SAMPLES = 120_000
_PER_SLICE = 3_000
_RADIUS_MM = 50.0
"""A rotation counts as what it moves at this distance."""
_DONE_MM = 0.003
_STEPS = 12
_SLICE_SD_MM = 1.5
"""What a slice is expected to have moved against its stack; pulls slices with little in them to
their neighbours' place. [?]"""
_LEAST_PER_SLICE = 300


def blurred_across(image: Tensor, grid: Grid, normal: np.ndarray, profile: Profile) -> Tensor:
    """``image`` averaged along the LPS unit vector ``normal`` by a slice profile.

    In k-space, so that any direction is exact; the image is continued by zeros.
    """
    reach = [
        int(
            np.ceil(
                profile.reach * abs(float(grid.direction_matrix[:, a] @ normal)) / grid.spacing[a]
            )
        )
        for a in range(3)
    ]
    padding = [n for a in range(3) for n in (reach[a], reach[a])]  # x first, as torch wants it
    wide = torch.nn.functional.pad(image, padding)
    frequencies = [
        torch.fft.fftfreq(wide.shape[2 - a], grid.spacing[a], dtype=torch.float64).numpy()
        for a in range(3)
    ]
    frequencies[0] = torch.fft.rfftfreq(wide.shape[2], grid.spacing[0], dtype=torch.float64).numpy()
    along = grid.direction_matrix.T @ normal
    x, y, z = (f * c for f, c in zip(frequencies, along, strict=True))
    wave = z[:, None, None] + y[:, None] + x
    table = np.linspace(-np.abs(wave).max() - 1e-9, np.abs(wave).max() + 1e-9, 2001)
    edges = np.linspace(profile.position[0], profile.position[-1], 201)
    mass = np.diff(profile.below(edges))
    response = np.exp(-2j * np.pi * table[:, None] * (edges[1:] + edges[:-1]) / 2) @ mass
    # A profile with its weight at +u takes what lies at +u: the conjugate of shifting by u.
    filtered = np.interp(wave, table, response.real) - 1j * np.interp(wave, table, response.imag)
    spectrum = torch.fft.rfftn(wide) * torch.from_numpy(filtered.astype(np.complex64))
    result = torch.fft.irfftn(spectrum, s=wide.shape)
    rx, ry, rz = reach
    return result[
        rz : rz + image.shape[0], ry : ry + image.shape[1], rx : rx + image.shape[2]
    ].contiguous()


class _Samples:
    """A blurred image that can be asked at points, with its gradient in mm."""

    def __init__(self, image: Tensor, grid: Grid) -> None:
        self.grid = grid
        self.splines = ndimage.spline_filter(image.numpy(), order=3, output=np.float32)

    def at(self, world: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values ``(n,)``, gradients ``(n, 3)`` along LPS per mm, and which points are inside."""
        index = self.grid.world_to_index(world)
        last = np.array(self.grid.stored_shape) - 1
        inside = np.all((index >= 1) & (index <= last - 1), axis=1)
        values = self._values(index)
        slopes = []
        for axis in range(3):
            step = np.zeros(3)
            step[axis] = 0.5
            difference = self._values(index + step) - self._values(index - step)
            slopes.append(difference / self.grid.spacing[axis])
        return values, np.stack(slopes, axis=1) @ self.grid.direction_matrix.T, inside

    def _values(self, index: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(
            self.splines, index[:, ::-1].T, order=3, mode="nearest", prefilter=False
        )


def refine(
    stack: Stack,
    image: Tensor,
    grid: Grid,
    *,
    each_slice: bool = False,
    seen: Tensor | None = None,
    events: Events | None = None,
) -> tuple[Stack, float]:
    """The stack where it fits ``image`` best.

    Args:
        stack: at most a few mm and degrees away; one contrast with the image.
        image: ``(z, y, x)``, sharp, on ``grid``.
        each_slice: six numbers for every slice instead of for the stack.
        seen: ``(z, y, x)``, bool; where the image is known.

    Returns:
        the moved stack, and the intensity of the image relative to the stack's.
    """
    events = events or Events()
    samples = _Samples(blurred_across(image, grid, stack.normal, stack.profile), grid)
    index, values, slices = _chosen(stack, each_slice)
    header = stack.grid.index_to_world(index)
    known = None if seen is None else seen.numpy()
    count = len(stack.transforms) if each_slice else 1
    group = slices if each_slice else np.zeros(len(slices), int)
    gain = 1.0
    for _ in range(_STEPS):
        events.check_cancelled()
        world = moved_points(stack.transforms[slices], header)
        predicted, slope, inside = samples.at(world)
        if known is not None:
            place = np.rint(grid.world_to_index(world)).astype(int)
            place = np.clip(place, 0, np.array(grid.stored_shape) - 1)
            inside &= known[place[:, 2], place[:, 1], place[:, 0]]
        if inside.sum() < 100:
            break
        gain = float((predicted * values)[inside].sum() / (predicted[inside] ** 2).sum())
        residual = values - gain * predicted
        centres = _centres(stack, each_slice)
        columns = _jacobian(slope * gain, world - centres[group])
        step = _steps(columns[inside], residual[inside], group[inside], count, each_slice)
        motion = np.stack(
            [rigid(s[:3] / _RADIUS_MM, s[3:], c) for s, c in zip(step, centres, strict=True)]
        )
        stack = stack.moved(motion if each_slice else motion[0])
        if np.abs(step).max() < _DONE_MM:
            break
    return stack, gain


def _chosen(stack: Stack, each_slice: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stored indices ``(n, 3)`` of voxels with signal, their values, and their slices."""
    place = np.argwhere(stack.foreground.numpy())[:, ::-1]
    random = np.random.default_rng(0)
    most = _PER_SLICE * len(stack.transforms) if each_slice else _SAMPLES
    if len(place) > most:
        place = place[np.sort(random.choice(len(place), most, replace=False))]
    values = stack.data.numpy()[place[:, 2], place[:, 1], place[:, 0]]
    return place.astype(float), values, place[:, stack.axis]


def _centres(stack: Stack, each_slice: bool) -> np.ndarray:
    """About what is rotated, in the common world: the middle of the stack or of each slice."""
    if not each_slice:
        return moved_points(stack.transform, stack.centre)[None]
    index = np.tile((np.array(stack.grid.stored_shape) - 1) / 2, (len(stack.transforms), 1))
    index[:, stack.axis] = np.arange(len(index))
    return moved_points(stack.transforms, stack.grid.index_to_world(index))


def _jacobian(slope: np.ndarray, arm: np.ndarray) -> np.ndarray:
    """``(n, 6)``: change of the prediction for a rotation (mm at the radius) and a shift (mm)."""
    return np.concatenate([np.cross(arm, slope) / _RADIUS_MM, slope], axis=1)


def _steps(
    columns: np.ndarray, residual: np.ndarray, group: np.ndarray, count: int, each_slice: bool
) -> np.ndarray:
    """Gauss-Newton steps ``(count, 6)`` in mm; large residuals count less (Cauchy)."""
    spread = 1.4826 * float(np.median(np.abs(residual))) + 1e-9
    weight = 1 / (1 + (residual / (2.5 * spread)) ** 2)
    normal, right = np.zeros((count, 6, 6)), np.zeros((count, 6))
    for i in range(6):
        right[:, i] = np.bincount(group, weight * columns[:, i] * residual, count)
        for j in range(i, 6):
            normal[:, i, j] = np.bincount(group, weight * columns[:, i] * columns[:, j], count)
            normal[:, j, i] = normal[:, i, j]
    ridge = (spread / _SLICE_SD_MM) ** 2 * (20.0 if each_slice else 1e-3)
    normal += ridge * np.eye(6)
    step = np.linalg.solve(normal, right[..., None])[..., 0]
    if each_slice:
        step[np.bincount(group, minlength=count) < _LEAST_PER_SLICE] = 0.0
    longest = np.abs(step).max(axis=1, keepdims=True)
    return step * np.minimum(1.0, 3.0 / np.maximum(longest, 1e-9))
