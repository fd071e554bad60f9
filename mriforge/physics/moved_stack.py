"""A stack of thick slices in any position against a sharp image, by three passes along axes.

A rigid motion, or an oblique stack, moves every voxel off the sharp image's grid. Interpolating
in three dimensions needs 64 weights for a point and the slice profile ten times as many. Here the
map is factored into two sparse passes:

1. across the slices: every plane collects its slice profile along the image's own columns (X, Y),
   which leaves as many planes as there are slices;
2. within each plane: cubic splines in two dimensions, at the pixels.

The transpose is exact, and each slice may have a position of its own. A slice that is tilted
against the image's axes is cut into several thinner planes, so that a column crosses the profile
where the slice really is. The image counts as an interpolating cubic spline. Up to a tilt of about
25 degrees from the nearest axis that is close to exact; beyond, the columns sample the finest
detail along the slope less densely than the image does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.physics.operator import LinearOperator
from mriforge.physics.profiles import FWHM_PER_SIGMA, Profile, gaussian
from mriforge.physics.separable import apply_along
from mriforge.physics.solve import cgls
from mriforge.physics.splines import bspline, mirrored, spline_coefficients, spline_taps
from mriforge.volume import Grid

_PIECE = 0.3
"""Sharp voxels by which tilt may displace the two ends of a plane before it is cut in two."""
_MARGIN = 4
_ROUNDING = 1e-6
_TABLE = 512
"""Places between two voxels for which the weights across the slices are known."""


def slice_axis_of(grid: Grid) -> int:
    """Stored axis across the slices: that of the largest spacing, the last one among equals."""
    return max(range(3), key=lambda axis: (round(grid.spacing[axis], 4), axis))


def slice_normals(low: Grid, transforms: np.ndarray, axis: int) -> np.ndarray:
    """Unit LPS vectors across the slices after ``transforms`` ``(n, 4, 4)``: ``(n, 3)``."""
    return transforms[:, :3, :3] @ low.direction_matrix[:, axis]


class MovedStack(LinearOperator):
    """Thick slices of a sharp image at any rigid position.

    Args:
        high: grid of the sharp image.
        low: grid of the stack as its header says.
        profile: across the slices, mm; default a Gaussian whose full width at half maximum is the
            slice spacing.
        transforms: rigid 4x4 matrices that carry LPS points (mm) from where the header says to
            where they are in ``high``'s world: ``(4, 4)``, or ``(slices, 4, 4)`` in stored order.
        axis: stored axis across the slices; default that of the largest spacing.
        pixel: mm; width of the box that a pixel integrates within the slice. Default: what is
            missing from the sharp voxel to the pixel, ``sqrt(pixel^2 - voxel^2)``.

    Attributes:
        seen: ``low.shape``, bool; voxels whose middle lies inside ``high``. The others come out as
            0. Beyond its ends the image is continued by its reflection, so that a constant stays
            a constant.

    Raises:
        BadInput: the stack lies outside the sharp image.
    """

    def __init__(
        self,
        high: Grid,
        low: Grid,
        profile: Profile | None = None,
        transforms: np.ndarray | None = None,
        axis: int | None = None,
        pixel: float | None = None,
    ) -> None:
        self.high, self.low = high, low
        self.axis = slice_axis_of(low) if axis is None else axis
        self.profile = profile or gaussian(low.spacing[self.axis] / FWHM_PER_SIGMA)
        count = low.stored_shape[self.axis]
        given = np.eye(4) if transforms is None else np.asarray(transforms, dtype=float)
        self.transforms = np.broadcast_to(given, (count, 4, 4)).copy()
        plan = _Plan.of(self, pixel)
        self._plan = plan
        self._across = _across(plan, self)
        # A whole profile is so much wider than a voxel that how the image runs between voxels
        # makes no difference; thin planes have to interpolate.
        self._column_spline = None if plan.pieces == 1 else spline_coefficients(plan.size[0])
        self._spline = {
            a: spline_coefficients(n) for a, n in zip((-2, -1), plan.window, strict=True)
        }
        self._within = _within(plan)
        self.seen = _inside(self)
        if not bool(self.seen.any()):
            raise BadInput(
                "The stack lies outside the image that it should be a part of.",
                "Check that all scans are of the same session and body region.",
            )

    def A(self, image: Tensor) -> Tensor:
        return _each(self._forward, image, self.low.shape)

    def A_adjoint(self, data: Tensor) -> Tensor:
        return _each(self._backward, data, self.high.shape)

    def A_dagger(self, data: Tensor) -> Tensor:
        return cgls(self, data)

    def _forward(self, image: Tensor) -> Tensor:
        plan = self._plan
        image_of_splines = image.cpu()
        if self._column_spline is not None:
            image_of_splines = apply_along(self._column_spline, image_of_splines, plan.column)
        planes = self._across @ image_of_splines.numpy().reshape(-1)
        planes = torch.from_numpy(planes.reshape(plan.planes, *plan.window))
        for axis, matrix in self._spline.items():
            planes = apply_along(matrix, planes, axis)
        values = self._within @ planes.numpy().reshape(-1)
        values = torch.from_numpy(values.reshape(plan.slices, plan.pieces, *plan.inplane))
        stack = values.sum(dim=1).permute(plan.to_array)
        return (stack * self.seen).to(image)

    def _backward(self, data: Tensor) -> Tensor:
        plan = self._plan
        stack = (data.cpu() * self.seen).permute(plan.from_array)
        shape = (plan.slices, plan.pieces, *plan.inplane)
        values = self._within.T @ stack[:, None].expand(shape).numpy().reshape(-1)
        planes = torch.from_numpy(values.reshape(plan.planes, *plan.window))
        for axis, matrix in self._spline.items():
            planes = apply_along(matrix.T, planes, axis)
        image = self._across.T @ planes.numpy().reshape(-1)
        image = torch.from_numpy(image.reshape(self.high.shape))
        if self._column_spline is not None:
            image = apply_along(self._column_spline.T, image, plan.column)
        return image.to(data)


def _each(apply: Callable[[Tensor], Tensor], tensor: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """``apply`` to every volume of a tensor with leading axes."""
    if tensor.ndim == 3:
        return apply(tensor)
    lead = tensor.shape[:-3]
    results = [apply(volume) for volume in tensor.reshape(-1, *tensor.shape[-3:])]
    return torch.stack(results).reshape(*lead, *shape)


def _inside(op: MovedStack) -> Tensor:
    """``low.shape``, bool: which voxels have their middle in a voxel of the image."""
    into = np.linalg.inv(op.high.affine()) @ op.transforms @ op.low.affine()
    size = np.array(op.high.stored_shape)
    result = np.empty(op.low.stored_shape, bool)
    axes = [np.arange(n)[:, None] for n in op.low.stored_shape]
    for number, matrix in enumerate(into):
        a, b = (axis for axis in range(3) if axis != op.axis)
        at = (
            axes[a][:, None] * matrix[:3, a]
            + axes[b][None] * matrix[:3, b]
            + number * matrix[:3, op.axis]
            + matrix[:3, 3]
        )
        inside = np.all((at >= -0.5 - _ROUNDING) & (at <= size - 0.5 + _ROUNDING), axis=-1)
        np.moveaxis(result, op.axis, 0)[number] = inside
    return torch.from_numpy(np.ascontiguousarray(result.transpose(2, 1, 0)))


@dataclass(frozen=True)
class _Plan:
    """Which axis is which, and where every plane lies.

    Stack axes are (c, b, a): across the slices, then the in-plane axes so that ``a`` runs along
    the image's X and ``b`` along its Y. Image axes (Z, Y, X) likewise, Z across the slices.

    Attributes:
        column: tensor axis of the image that is Z: -1, -2 or -3.
        size, stride: of the image along (Z, Y, X), in voxels and in elements of its array.
        start, window: first (Y, X) column used and how many.
        inplane: pixels (b, a).
        affine: ``(planes, 3, 4)``; image index (X, Y, Z) of stack pixel (a, b, plane): columns a,
            b, offset.
        step: ``(planes,)`` mm across the slice for one voxel along Z, signed.
        edges: ``(planes, 2)``; the part of the profile that a plane stands for, mm.
        offset: ``(planes,)``; mm from the slice's middle to the plane.
        width: (b, a); in-plane box in voxels along (Y, X).
        to_array, from_array: permutations between (c, b, a) and the stack's (z, y, x).
    """

    column: int
    size: tuple[int, int, int]
    stride: tuple[int, int, int]
    start: tuple[int, int]
    window: tuple[int, int]
    inplane: tuple[int, int]
    slices: int
    pieces: int
    affine: np.ndarray
    step: np.ndarray
    edges: np.ndarray
    offset: np.ndarray
    width: tuple[float, float]
    to_array: tuple[int, ...]
    from_array: tuple[int, ...]

    @property
    def planes(self) -> int:
        return self.slices * self.pieces

    @classmethod
    def of(cls, op: MovedStack, pixel: float | None) -> _Plan:
        high, low, c = op.high, op.low, op.axis
        normals = slice_normals(low, op.transforms, c)
        # The image axes do not change from slice to slice: the mean tilt decides.
        cosines = high.direction_matrix.T @ normals.mean(axis=0)
        z = int(np.argmax(np.abs(cosines)))
        x, y = (axis for axis in range(3) if axis != z)
        a, b = (axis for axis in range(3) if axis != c)
        into = np.linalg.inv(high.affine()) @ op.transforms @ low.affine()
        if abs(into[0][x, a]) < abs(into[0][x, b]):
            a, b = b, a
        pieces, edges, offset = _cut(op, cosines[z])
        slices = low.stored_shape[c]
        across = np.linalg.inv(high.affine()[:3, :3]) @ normals.T  # image indices for 1 mm
        shift = into[:, :3, 3, None] + into[:, :3, c, None] * np.arange(slices)[:, None, None]
        centre = shift + across.T[:, :, None] * offset[None, None, :]  # (slices, 3, pieces)
        linear = np.broadcast_to(into[:, None, :3, [a, b]], (slices, pieces, 3, 2))
        affine = np.concatenate([linear, np.moveaxis(centre, 2, 1)[..., None]], axis=-1)
        affine = affine.reshape(-1, 3, 3)[:, [x, y, z]]
        step = high.spacing[z] * (normals @ high.direction_matrix[:, z])
        inplane = (low.stored_shape[b], low.stored_shape[a])
        strides = (1, high.stored_shape[0], high.stored_shape[0] * high.stored_shape[1])
        size = tuple(high.stored_shape[axis] for axis in (z, y, x))
        start, window = _window(affine, inplane, size)
        order = [2 - axis for axis in (c, b, a)]  # array axes of (c, b, a)
        return cls(
            -1 - z, size, tuple(strides[axis] for axis in (z, y, x)), start, window, inplane,
            slices, pieces, affine, np.repeat(step, pieces), np.tile(edges, (slices, 1)),
            np.tile(offset, slices),
            tuple(_width(pixel, low.spacing[p], high.spacing[q]) for p, q in ((b, y), (a, x))),
            tuple(np.argsort(order).tolist()), tuple(order),
        )  # fmt: skip


def _width(pixel: float | None, low: float, high: float) -> float:
    if pixel is not None:
        return pixel / high
    wide = math.sqrt(max(0.0, low**2 - high**2)) / high
    return wide if wide > 0.05 else 0.0


def _cut(op: MovedStack, cosine: float) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of planes for a slice, their edges ``(n, 2)`` and middles ``(n,)`` in mm."""
    profile = op.profile
    mass = np.abs(np.diff(profile.cumulative))
    share = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
    middle = (profile.position[1:] + profile.position[:-1]) / 2
    width = 2 * math.sqrt(max(0.0, float((mass * (middle**2)).sum() / mass.sum())))
    tilt = math.sqrt(max(0.0, 1 - cosine**2)) / max(abs(cosine), 1e-3)
    pieces = max(1, math.ceil(tilt * width / (_PIECE * min(op.high.spacing)) - 1e-6))
    inner = np.interp(np.arange(1, pieces) / pieces, share, profile.position)
    edges = np.concatenate([[profile.position[0]], inner, [profile.position[-1]]])
    centres = []
    for low, high in pairwise(edges):
        part = np.where((middle >= low) & (middle <= high), mass, 0.0)
        whole = part.sum()
        centres.append(float((part * middle).sum() / whole) if whole else (low + high) / 2)
    return pieces, np.stack([edges[:-1], edges[1:]], axis=1), np.array(centres)


def _window(
    affine: np.ndarray, inplane: tuple[int, int], size: tuple[int, int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The image's columns (Y, X) that any plane touches."""
    corners = np.array([[a, b, 1.0] for a in (0, inplane[1] - 1) for b in (0, inplane[0] - 1)])
    reached = affine[:, :2] @ corners.T
    start, window = [], []
    for row, n in ((1, size[1]), (0, size[2])):
        low = int(np.clip(math.floor(reached[:, row].min()) - _MARGIN, 0, n - 1))
        high = int(np.clip(math.ceil(reached[:, row].max()) + _MARGIN, low, n - 1))
        start.append(low)
        window.append(high - low + 1)
    return (start[0], start[1]), (window[0], window[1])


def _across(plan: _Plan, op: MovedStack) -> sparse.csr_matrix:
    """Pass 1: ``(planes * Y * X, voxels)``, the profile along the image's columns."""
    reach = max(np.abs(plan.edges - plan.offset[:, None]).max() / np.abs(plan.step).min(), 0.0)
    taps = 2 * math.ceil(reach + (0.5 if plan.pieces == 1 else 2)) + 1
    rows = plan.window[0] * plan.window[1]
    data = np.empty((plan.planes, rows, taps), np.float32)
    column = np.empty((plan.planes, rows, taps), np.int32)
    y, x = np.mgrid[: plan.window[0], : plan.window[1]]
    y, x = y.reshape(-1) + plan.start[0], x.reshape(-1) + plan.start[1]
    base = (y * plan.stride[1] + x * plan.stride[2]).astype(np.int32)
    for plane in range(plan.planes):
        (xa, xb, x0), (ya, yb, y0), (za, zb, z0) = plan.affine[plane]
        # Where the column (X, Y) meets the plane: the in-plane coordinates are eliminated.
        det = xa * yb - xb * ya
        along_x, along_y = (za * yb - zb * ya) / det, (zb * xa - za * xb) / det
        height = z0 + along_x * (x - x0) + along_y * (y - y0)
        height = np.clip(height, -0.5, plan.size[0] - 0.5)
        nearest = np.floor(height + 0.5).astype(np.int32)
        table = _response(op.profile, plan, plane, taps)
        # The table's row says where between two voxels the plane is.
        row = np.rint((height - nearest + 0.5) * _TABLE).astype(np.int32)
        index = nearest[:, None] + np.arange(-(taps // 2), taps // 2 + 1, dtype=np.int32)
        data[plane] = table[row]
        column[plane] = mirrored(index, plan.size[0]) * plan.stride[0] + base[:, None]
    return _csr(data, column, taps, int(np.prod(op.high.shape)))


def _response(profile: Profile, plan: _Plan, plane: int, taps: int) -> np.ndarray:
    """``(_TABLE + 1, taps)``: weights across a plane for each place between two voxels."""
    low, high = plan.edges[plane]
    step, offset = plan.step[plane], plan.offset[plane]
    place = np.arange(_TABLE + 1) / _TABLE - 0.5
    tap = np.arange(-(taps // 2), taps // 2 + 1)
    if plan.pieces == 1:
        # What the extent of each voxel covers of the profile, as everywhere in this room.
        edges = (np.arange(taps + 1) - taps // 2 - 0.5 - place[:, None]) * step
        return (np.diff(profile.below(edges + offset), axis=1) * np.sign(step)).astype(np.float32)
    # The part of the profile as many thin slabs: the spline is averaged over each.
    edges = np.linspace(low, high, max(2, math.ceil(16 * (high - low) / abs(step))) + 1)
    mass = np.diff(profile.below(edges))
    middle = ((edges[1:] + edges[:-1]) / 2 - offset) / step
    distance = tap[None, :, None] - place[:, None, None] - middle
    return (bspline(distance) @ mass).astype(np.float32)


def _within(plan: _Plan) -> sparse.csr_matrix:
    """Pass 2: ``(planes * pixels, planes * Y * X)``, cubic splines within the planes."""
    pixels_b, pixels_a = plan.inplane
    rows_y, rows_x = plan.window
    b, a = np.arange(pixels_b)[:, None], np.arange(pixels_a)
    data, column = [], []
    for plane in range(plan.planes):
        (xa, xb, x0), (ya, yb, y0), _ = plan.affine[plane]
        weight_y, tap_y = spline_taps(y0 + ya * a + yb * b - plan.start[0], rows_y, plan.width[0])
        weight_x, tap_x = spline_taps(x0 + xa * a + xb * b - plan.start[1], rows_x, plan.width[1])
        data.append((weight_y[..., :, None] * weight_x[..., None, :]).reshape(-1))
        place = plane * rows_y * rows_x + tap_y[..., :, None] * rows_x + tap_x[..., None, :]
        column.append(place.reshape(-1).astype(np.int32))
    taps = weight_y.shape[-1] * weight_x.shape[-1]
    return _csr(np.concatenate(data), np.concatenate(column), taps, plan.planes * rows_y * rows_x)


def _csr(data: np.ndarray, column: np.ndarray, taps: int, columns: int) -> sparse.csr_matrix:
    rows = data.size // taps
    kind = np.int32 if data.size < 2**31 and columns < 2**31 else np.int64
    starts = np.arange(rows + 1, dtype=np.int64) * taps
    parts = (
        data.astype(np.float32, copy=False).reshape(-1),
        column.astype(kind, copy=False).reshape(-1),
        starts.astype(kind),
    )
    return sparse.csr_matrix(parts, shape=(rows, columns), copy=False)
