"""Random anatomy: a tissue map of someone becomes one of someone else, lying otherwise.

After the spatial part of SynthSeg (Billot et al. 2023, Medical Image Analysis 86:102789): affine
pose and an integrated stationary velocity field; and, beyond it, organs that grow or shrink.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mriforge.anatomy import NUMBER, ORGAN_OF_TISSUE, TissueMap
from mriforge.errors import BadInput

_NODES_MM = 12.0
"""Distance of the nodes at which fields are known; linear in between."""
_SQUARINGS = 5
_RESIZED = (1, 2, 3, 4, 5, 6, 7, 8)
"""Labels of organs with a middle to grow about: neither spinal cord nor vertebrae."""
_TRIES = 5


@dataclass(frozen=True)
class DeformSpec:
    """How far a person may differ from the map.

    Attributes:
        rotation: about each axis, degrees, plus or minus.
        scaling: factor of each axis.
        shift: along each axis, mm, plus or minus.
        warp: root mean square displacement of the smooth deformation, mm, 0 to this.
        warp_scale: how far the smooth deformation is alike, mm (sigma of the smoothing).
        organs: at most so many organs grow or shrink.
        organ_scaling: linear factor of those organs.
        crop_probability: of seeing only a part of the map.
        crop_slices: part of the slices then seen.
        crop_plane: part of the rows and of the columns then seen; above 1, air is added.
        arms: probability of arms beside the body, more or less of them in the field of view.
    """

    rotation: float = 6.0
    scaling: tuple[float, float] = (0.85, 1.15)
    shift: float = 12.0
    warp: float = 6.0
    warp_scale: tuple[float, float] = (25.0, 60.0)
    organs: int = 3
    organ_scaling: tuple[float, float] = (0.8, 1.25)
    crop_probability: float = 0.5
    crop_slices: tuple[float, float] = (0.55, 1.0)
    crop_plane: tuple[float, float] = (0.9, 1.15)
    arms: float = 0.15

    @classmethod
    def none(cls) -> DeformSpec:
        """Nothing changes."""
        return cls(0.0, (1.0, 1.0), 0.0, 0.0, (25.0, 60.0), 0, (1.0, 1.0), 0.0, arms=0.0)

    def weaker(self) -> DeformSpec:
        """Half of everything but the crop."""
        scaling, organ = (
            tuple(math.sqrt(factor) for factor in limits)
            for limits in (self.scaling, self.organ_scaling)
        )
        return replace(
            self,
            rotation=self.rotation / 2,
            scaling=scaling,
            shift=self.shift / 2,
            warp=self.warp / 2,
            organ_scaling=organ,
        )


def deform(
    tissues: TissueMap,
    rng: np.random.Generator,
    spec: DeformSpec | None = None,
    *,
    device: torch.device | str = "cpu",
) -> TissueMap:
    """Another anatomy in another pose, on the same grid or a window of it.

    Slices that would come from above or below the map are left out; beside it there is air.

    Labels are interpolated by the vote of the eight voxels around, weighed linearly. An organ that
    is in the map is in the result, unless the window leaves it out: what would squeeze an organ
    away is tried again, half as strong.

    Args:
        tissues: the map; it is not changed.
        rng: random numbers.
        spec: how far to go.
        device: where to compute; the random numbers do not depend on it.

    Raises:
        BadInput: the map has nothing but air.
    """
    spec = DeformSpec() if spec is None else spec
    if not tissues.array.any():
        raise BadInput(
            f"The tissue map of {tissues.subject} has nothing but air.",
            "Take a map with a body in it.",
        )
    there = organs_in(tissues.array)
    moved = tissues
    for _ in range(_TRIES):
        index = source_index(tissues, rng, spec, device)
        tried = cut(replace(tissues, array=pulled(tissues.array, index)), known_slices(index))
        if there <= organs_in(tried.array):
            moved = tried
            break
        spec = spec.weaker()
    result = cut(moved, draw_window(moved.array.shape, rng, spec))
    return with_arms(result, rng) if rng.random() < spec.arms else result


def organs_in(tissues: np.ndarray) -> set[int]:
    """Labels of organs that a map has."""
    return set(ORGAN_OF_TISSUE[np.unique(tissues)].tolist())


def known_slices(index: Tensor) -> tuple[tuple[int, int], ...]:
    """The window of slices that come from within the map, by the mean of their source."""
    _, nz, ny, nx = index.shape
    source = index[0].mean(dim=(1, 2)).cpu().numpy()
    known = np.flatnonzero((source > -1) & (source < nz))
    first, last = (known[0], known[-1] + 1) if known.size else (0, nz)
    return (int(first), int(last)), (0, ny), (0, nx)


def draw_window(
    shape: tuple[int, ...], rng: np.random.Generator, spec: DeformSpec
) -> tuple[tuple[int, int], ...]:
    """First and last voxel (exclusive) of each axis that are seen; may lie outside the map."""
    if rng.random() >= spec.crop_probability:
        return tuple((0, size) for size in shape)
    window = []
    for size, limits in zip(
        shape, (spec.crop_slices, spec.crop_plane, spec.crop_plane), strict=True
    ):
        seen = max(1, round(size * rng.uniform(*limits)))
        first = round((size - seen) * rng.random())
        window.append((first, first + seen))
    return tuple(window)


def cut(tissues: TissueMap, window: tuple[tuple[int, int], ...]) -> TissueMap:
    """The window of a map; air where it lies outside."""
    shape = tissues.array.shape
    if window == tuple((0, size) for size in shape):
        return tissues
    inner = tuple(slice(max(0, a), min(n, b)) for (a, b), n in zip(window, shape, strict=True))
    outer = [(max(0, -a), max(0, b - n)) for (a, b), n in zip(window, shape, strict=True)]
    array = np.pad(tissues.array[inner], outer)
    first = tuple(float(a) for a, _ in window[::-1])
    grid = tissues.grid.resampled(array.shape[::-1], tissues.grid.spacing, first)
    return replace(tissues, array=array, grid=grid)


def with_arms(tissues: TissueMap, rng: np.random.Generator) -> TissueMap:
    """Arms beside the body: bone in muscle in fat in skin; the field of view may cut them."""
    voxel = tissues.grid.spacing
    room = max(1, round(rng.uniform(20, 100) / voxel[0]))
    nz, ny, nx = tissues.array.shape
    wide = cut(tissues, ((0, nz), (0, ny), (-room, nx + room)))
    columns = np.flatnonzero(wide.array.any(axis=(0, 1)))
    rows = np.flatnonzero(wide.array.any(axis=(0, 2)))
    height = (np.arange(nz) - nz / 2)[:, None, None] * voxel[2]
    y, x = (np.arange(n) * v for n, v in zip(wide.array.shape[1:], voxel[1::-1], strict=True))
    radius, fat = rng.uniform(32, 50), rng.uniform(3, 12)
    for edge, side in ((columns[0], -1), (columns[-1], 1)):
        centre = edge * voxel[0] + side * (radius + rng.uniform(2, 15))
        centre = centre + side * np.abs(height) * rng.uniform(0, 0.05)
        row = rows.mean() * voxel[1] + rng.uniform(-15, 40) + height * rng.uniform(-0.1, 0.1)
        away = np.hypot(x[None, None, :] - centre, (y[None, :, None] - row) * rng.uniform(0.8, 1))
        free = wide.array == 0
        for reach, key in (
            (radius, "skin"),
            (radius - max(2.0, voxel[0]), "subcutaneous_fat"),
            (radius - fat - max(2.0, voxel[0]), "muscle"),
            (11.0, "cortical_bone"),
            (8.0, "other_bone"),
        ):
            wide.array[free & (away < reach)] = NUMBER[key]
    return wide


def source_index(
    tissues: TissueMap, rng: np.random.Generator, spec: DeformSpec, device: torch.device | str
) -> Tensor:
    """Where each voxel comes from: indices ``(3, z, y, x)`` into the map, float32.

    The pose is linear, so it is as exact at the nodes, linear in between, as at every voxel.
    """
    shape = tissues.array.shape
    voxel = np.array(tissues.grid.spacing[::-1])
    extent = (np.array(shape) - 1) * voxel
    count = [max(2, math.ceil(length / _NODES_MM) + 1) for length in extent]
    line = [
        np.linspace(-length / 2, length / 2, n) for length, n in zip(extent, count, strict=True)
    ]
    nodes = np.stack(np.meshgrid(*line, indexing="ij"))
    matrix, shift = draw_pose(rng, spec)
    velocity = smooth_velocity(nodes.shape[1:], extent, rng, spec)
    velocity += growth(tissues, nodes, matrix, shift, rng, spec)
    moved = nodes + integrated(velocity, extent, device)
    source = np.tensordot(matrix, moved, 1) + shift[:, None, None, None]
    index = (source + extent[:, None, None, None] / 2) / voxel[:, None, None, None]
    coarse = torch.from_numpy(index.astype(np.float32))[None].to(device)
    return functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0]


def draw_pose(rng: np.random.Generator, spec: DeformSpec) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and shift from seen to source positions, (z, y, x) mm about the middle."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-1, 1, 3) * spec.rotation)):
        first, second = [a for a in range(3) if a != axis]
        one = np.eye(3)
        one[first, first] = one[second, second] = math.cos(angle)
        one[first, second], one[second, first] = -math.sin(angle), math.sin(angle)
        turn = turn @ one
    scale = rng.uniform(*spec.scaling, 3)
    return np.diag(1 / scale) @ turn, rng.uniform(-1, 1, 3) * spec.shift


def smooth_velocity(
    shape: tuple[int, ...], extent: np.ndarray, rng: np.random.Generator, spec: DeformSpec
) -> np.ndarray:
    """Velocity in mm at the nodes, ``(3, z, y, x)``: smoothed noise of one random strength."""
    strength = spec.warp * rng.random()
    sigma = rng.uniform(*spec.warp_scale)
    field = rng.standard_normal((3, *shape))
    for axis, (n, length) in enumerate(zip(shape, extent, strict=True)):
        distance = np.subtract.outer(np.arange(n), np.arange(n)) * length / max(1, n - 1)
        weight = np.exp(-0.5 * (distance / sigma) ** 2)
        # Each node keeps its variance, those at the edge too.
        weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True))
        field = np.moveaxis(np.tensordot(weight, field, (1, axis + 1)), 0, axis + 1)
    return field * strength / math.sqrt(3)


def growth(
    tissues: TissueMap,
    nodes: np.ndarray,
    matrix: np.ndarray,
    shift: np.ndarray,
    rng: np.random.Generator,
    spec: DeformSpec,
) -> np.ndarray:
    """Velocity in mm that lets some organs grow or shrink about their middle.

    It is radial, full within the organ's ellipsoid and fades out to twice its size.
    """
    field = np.zeros_like(nodes)
    labels = ORGAN_OF_TISSUE[tissues.array[::2, ::2, ::2]]
    there = [label for label in np.unique(labels).tolist() if label in _RESIZED]
    wanted = min(len(there), int(rng.integers(0, spec.organs + 1)))
    voxel = np.array(tissues.grid.spacing[::-1])
    middle = (np.array(tissues.array.shape) - 1) / 2
    back = np.linalg.inv(matrix)
    for label in rng.choice(there, wanted, replace=False) if wanted else ():
        factor = math.exp(rng.uniform(*np.log(spec.organ_scaling)))
        points = (2.0 * np.argwhere(labels == label) - middle) * voxel
        points = (points - shift) @ back.T
        centre = points.mean(axis=0)
        spread = np.cov(points.T) if len(points) > 3 else np.zeros((3, 3))
        spread = spread + np.eye(3) * voxel.max() ** 2
        offset = nodes - centre[:, None, None, None]
        # A filled ellipsoid of semi-axis a has the variance a^2 / 5.
        radius = np.sqrt(np.einsum("izyx,ij,jzyx->zyx", offset, np.linalg.inv(5 * spread), offset))
        fade = np.clip(2 - radius, 0, 1)
        field -= math.log(factor) * offset * fade**2 * (3 - 2 * fade)
    return field


def integrated(velocity: np.ndarray, extent: np.ndarray, device: torch.device | str) -> np.ndarray:
    """Displacement in mm of a stationary velocity field, by scaling and squaring.

    Arsigny et al. 2006 (MICCAI 4190:924): the flow of unit time is invertible.
    """
    if not velocity.any():
        return velocity
    unit = torch.from_numpy((2 / np.maximum(extent, 1e-6)).astype(np.float32)).to(device)
    step = torch.from_numpy(velocity.astype(np.float32)).to(device) / 2**_SQUARINGS
    # grid_sample wants positions -1 .. 1, last axis first.
    lines = [torch.linspace(-1, 1, n, device=device) for n in step.shape[1:]]
    still = torch.stack(torch.meshgrid(*lines, indexing="ij"))
    for _ in range(_SQUARINGS):
        where = (still + step * unit[:, None, None, None]).flip(0).permute(1, 2, 3, 0)
        further = functional.grid_sample(
            step[None], where[None], padding_mode="border", align_corners=True
        )
        step = step + further[0]
    return step.cpu().numpy().astype(np.float64)


def pulled(array: np.ndarray, index: Tensor) -> np.ndarray:
    """Labels at fractional indices ``(3, z, y, x)``.

    Beyond the first and last slice they go on; beside the map there is air.
    """
    size = array.shape
    stride = (size[1] * size[2], size[2], 1)
    labels = torch.from_numpy(np.ascontiguousarray(array)).to(index.device).reshape(-1)
    mixed = torch.from_numpy(_mixed(array)).to(index.device).reshape(-1)
    nearest, lowest, beside = 0, 0, None
    for axis in range(3):
        line = index[axis]
        if axis:
            out = (line < -0.5) | (line > size[axis] - 0.5)
            beside = out if beside is None else beside | out
        line = line.clamp(0, size[axis] - 1)
        nearest = nearest + torch.round(line).int() * stride[axis]
        lowest = lowest + line.int() * stride[axis]
    result = labels[nearest]
    border = mixed[lowest].nonzero(as_tuple=True)
    result[border] = _vote(labels, index[(slice(None), *border)], size, stride)
    return result.masked_fill_(beside, 0).cpu().numpy()


def _mixed(array: np.ndarray) -> np.ndarray:
    """Whether a voxel and its seven followers differ, bool ``(z, y, x)``."""
    low = high = array
    for axis in range(3):
        after = [
            np.concatenate([a.take(range(1, a.shape[axis]), axis), a.take([-1], axis)], axis)
            for a in (low, high)
        ]
        low, high = np.minimum(low, after[0]), np.maximum(high, after[1])
    return low != high


def _vote(labels: Tensor, index: Tensor, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """The label of most trilinear weight at each of the positions ``(3, n)``."""
    last = torch.tensor(size, device=index.device)[:, None] - 1
    index = torch.minimum(index.clamp_min(0), last)
    low = index.floor()
    part = index - low
    low = low.long()
    names, weights = [], []
    for corner in range(8):
        where, weight = 0, 1.0
        for axis in range(3):
            up = corner >> axis & 1
            where = where + (low[axis] + up).clamp_max(size[axis] - 1) * stride[axis]
            weight = weight * (part[axis] if up else 1 - part[axis])
        names.append(labels[where])
        weights.append(weight)
    name, weight = torch.stack(names), torch.stack(weights)
    total = torch.stack([(weight * (name == one)).sum(dim=0) for one in names])
    return name.gather(0, total.argmax(dim=0, keepdim=True))[0]
