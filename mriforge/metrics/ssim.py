"""Structural similarity in 3-D with its full-resolution map, fast and in little memory.

Wang et al. 2004 with the conventions of scikit-image's ``structural_similarity(full=True)``:
reflected borders, the sample covariance, K1 = 0.01, K2 = 0.03, and a mean over the voxels whose
window lies wholly inside the image. ``"uniform7"`` is the 7x7x7 box that Sarasaen et al. 2021 used
(scikit-image's default on a 3-D array), ``"gaussian"`` has sigma 1.5 and 11 taps per axis.

The tiles run on plain threads: NumPy works outside the interpreter lock, and unlike an OpenMP
team such threads do not spin for each other when the machine is busy with a training.

Axes shorter than the window are left out of it: a single slice is compared with a 2-D window, a
stack of six slices slice by slice. When no axis is long enough the window shrinks to the largest
odd size that fits the longest axis.
"""

from __future__ import annotations

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mriforge.errors import BadInput

WINDOWS = {"uniform7": 7, "gaussian": 11}
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
_TILE_VOXELS = 400_000  # of one channel, margins included; six such make a thread's workspace
_FLOAT32_ROUNDING = 1.0e-4  # largest E[a^2] rounding, relative to C2, at which float32 is used
_MAX_THREADS = 8
_DEPTH = 16  # slices of one tile


@dataclass(frozen=True)
class _Window:
    """A separable window: taps along each array axis (``None``: axis left out)."""

    taps: tuple[tuple[float, ...] | None, ...]
    uniform: bool

    @property
    def radius(self) -> tuple[int, ...]:
        return tuple(0 if t is None else len(t) // 2 for t in self.taps)

    @property
    def total(self) -> float:
        """Sum of all weights as they are applied (the box is applied unnormalised)."""
        return math.prod(sum(t) for t in self.taps if t is not None)

    @property
    def count(self) -> int:
        return math.prod(len(t) for t in self.taps if t is not None)


def _window(shape: tuple[int, ...], name: str) -> _Window:
    if name not in WINDOWS:
        raise BadInput(
            f"There is no SSIM window called {name!r}.", f"Choose one of {', '.join(WINDOWS)}."
        )
    size = WINDOWS[name]
    if max(shape) < size:
        size = max(shape) - 1 + max(shape) % 2
    if name == "uniform7":
        taps = (1.0,) * size
    else:
        weights = [math.exp(-0.5 * (k - size // 2) ** 2 / _SIGMA**2) for k in range(size)]
        taps = tuple(w / sum(weights) for w in weights)
    return _Window(tuple(taps if n >= size else None for n in shape), name == "uniform7")


def ssim(
    x: np.ndarray,
    y: np.ndarray,
    *,
    data_range: float = 1.0,
    window: str = "uniform7",
    mask: np.ndarray | None = None,
    sample_covariance: bool = True,
    threads: int | None = None,
) -> tuple[float, np.ndarray]:
    """Mean structural similarity of two images, and the map it is the mean of.

    Args:
        x, y: images ``(z, y, x)`` or ``(y, x)`` of one shape, any real dtype.
        data_range: the intensity span that counts as full contrast, in the images' units.
        window: ``"uniform7"`` or ``"gaussian"``.
        mask: same shape; the mean is then over the voxels where it is true, border included.
        sample_covariance: divide by N - 1 (scikit-image's default) instead of N.
        threads: how many tiles at once; default the processors this process may use, at most 8.

    Returns:
        ``(mean, map)``: the map is float32 of the images' shape. Without a mask the mean leaves
        out the border that the window does not fit into, as scikit-image does.

    Raises:
        BadInput: shapes differ, an unknown window, an empty mask, a data range that is not
            positive.
    """
    if x.shape != y.shape or x.ndim not in (2, 3) or x.size == 0:
        raise BadInput(f"SSIM needs two images of one size, not {x.shape} and {y.shape}.")
    if not (math.isfinite(data_range) and data_range > 0):
        raise BadInput(f"The data range of SSIM is a positive number, not {data_range!r}.")
    flat = x.ndim == 2
    if flat:
        x, y = x[None], y[None]
    kind = _window(x.shape, window)
    result = np.empty(x.shape, np.float32)
    norm = kind.count / (kind.count - 1) if sample_covariance and kind.count > 1 else 1.0
    _Job(x, y, kind, float(data_range), norm, result).run(threads or _default_threads())
    if flat:
        result = result[0]
    return _mean(result, mask, kind.radius[1:] if flat else kind.radius), result


def _mean(values: np.ndarray, mask: np.ndarray | None, radius: tuple[int, ...]) -> float:
    if mask is None:
        inner = tuple(slice(r, n - r) for r, n in zip(radius, values.shape, strict=True))
        return float(values[inner].mean(dtype=np.float64))
    if mask.shape != values.shape:
        raise BadInput(f"The mask has shape {mask.shape} but the images {values.shape}.")
    inside = mask.astype(bool)
    if not inside.any():
        raise BadInput("The mask is empty.", "Give a mask with at least one voxel inside.")
    return float(values[inside].mean(dtype=np.float64))


def _default_threads() -> int:
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:
        available = os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        available = min(available, int(limit))
    return min(available, _MAX_THREADS)


def _centre_and_span(image: np.ndarray) -> tuple[float, float]:
    """Middle of the image's values and their largest distance from it."""
    low, high = float(image.min()), float(image.max())
    centre = (low + high) / 2
    if image.dtype.kind == "f" and image.dtype.itemsize <= 4:
        centre = float(np.float32(centre))
    return centre, max(high - centre, centre - low)


class _Job:
    """One SSIM map: the tiles of it, and what every tile needs to know.

    The sum a = x + y and the difference b = x - y carry all five moments in four filters:
    4 mu_x mu_y = mu_a^2 - mu_b^2, 4 cov_xy = var_a - var_b, and so on. Rounding of var_a cancels
    wherever the images agree, which five separate moments do not give. A centre is subtracted
    first, and where the values still spread too far for float32 the tiles are float64.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        kind: _Window,
        data_range: float,
        norm: float,
        result: np.ndarray,
    ) -> None:
        self.images = (x, y)
        self.kind, self.data_range, self.norm, self.result = kind, data_range, norm, result
        (cx, span_x), (cy, span_y) = _centre_and_span(x), _centre_and_span(y)
        self.centres = (cx, cy)
        rounding = (span_x + span_y) ** 2 * 2.0**-24 / (_K2 * data_range) ** 2
        self.dtype = np.float64 if rounding > _FLOAT32_ROUNDING else np.float32
        depth = min(x.shape[0], _DEPTH)
        width = x.shape[2] + 2 * kind.radius[2]
        rows = _TILE_VOXELS // ((depth + 2 * kind.radius[0]) * width) - 2 * kind.radius[1]
        self.tile = (depth, min(x.shape[1], max(rows, 8)), x.shape[2])
        self._local = threading.local()

    def run(self, threads: int) -> None:
        depth, rows, _ = self.result.shape
        corners = [
            (z, y, 0) for z in range(0, depth, self.tile[0]) for y in range(0, rows, self.tile[1])
        ]
        if threads == 1 or len(corners) == 1:
            for corner in corners:
                self._fill(corner)
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._fill, corners))

    def _buffers(self) -> np.ndarray:
        """Four moments and two spare channels, made once in each thread."""
        if not hasattr(self._local, "buffers"):
            padded = math.prod(n + 2 * r for n, r in zip(self.tile, self.kind.radius, strict=True))
            self._local.buffers = np.empty((6, padded), self.dtype)
        return self._local.buffers

    def _fill(self, corner: tuple[int, int, int]) -> None:
        """The map of one tile."""
        limits = zip(self.tile, self.result.shape, corner, strict=True)
        size = tuple(min(n, s - c) for n, s, c in limits)
        buffers = self._buffers()
        padded = self._load(corner, size, buffers)
        values = self._combine(_filter(buffers, padded, self.kind))
        step = values.itemsize
        strides = (padded[1] * padded[2] * step, padded[2] * step, step)
        place = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        self.result[place] = np.lib.stride_tricks.as_strided(values, size, strides)

    def _load(
        self, corner: tuple[int, int, int], size: tuple[int, ...], buffers: np.ndarray
    ) -> tuple[int, ...]:
        """a, b, a^2, b^2 of one tile with its reflected margin into the first four channels.

        Returns:
            The padded shape of the tile.
        """
        radius = self.kind.radius
        block, place = [], []
        for c, n, r, s in zip(corner, size, radius, self.result.shape, strict=True):
            first, end = max(0, c - r), min(s, c + n + r)
            block.append(slice(first, end))
            place.append(slice(r - (c - first), r - (c - first) + end - first))
        padded = tuple(n + 2 * r for n, r in zip(size, radius, strict=True))
        voxels = math.prod(padded)
        pair = buffers[4:, :voxels].reshape(2, *padded)
        for channel, image in enumerate(self.images):
            single = image.dtype.itemsize <= 2 or image.dtype == np.float32
            work = np.float32 if single and self.dtype == np.float32 else np.float64
            inner = pair[channel][tuple(place)]
            centre = work(self.centres[channel])
            np.subtract(image[tuple(block)], centre, out=inner, dtype=work, casting="same_kind")
        for axis in range(3):
            _reflect(np.moveaxis(pair, axis + 1, 0), place[axis])
        a, b, a_squared, b_squared, u, v = buffers[:, :voxels]
        np.add(u, v, out=a)
        np.subtract(u, v, out=b)
        np.multiply(a, a, out=a_squared)
        np.multiply(b, b, out=b_squared)
        return padded

    def _combine(self, sums: list[np.ndarray]) -> np.ndarray:
        """SSIM from the window sums of a, b, a^2, b^2; works in place."""
        total, norm = self.kind.total, self.norm
        mean_a, mean_b, var_a, var_b, spare = sums
        cx, cy = self.centres
        for mean, variance, centre in ((mean_a, var_a, cx + cy), (mean_b, var_b, cx - cy)):
            mean *= 1 / total
            variance *= norm / total
            np.multiply(mean, mean, out=spare)
            spare *= norm
            variance -= spare
            np.maximum(variance, 0, out=variance)
            mean += centre
            mean *= mean
        mean_a += 2 * (_K1 * self.data_range) ** 2
        var_a += 2 * (_K2 * self.data_range) ** 2
        value = np.subtract(mean_a, mean_b, out=spare)
        mean_a += mean_b
        np.subtract(var_a, var_b, out=mean_b)
        value *= mean_b
        var_a += var_b
        mean_a *= var_a
        value /= mean_a
        return value


def _reflect(view: np.ndarray, known: slice) -> None:
    """Fill both margins of the first axis with the mirror image of what is next to them."""
    before, end = known.start, known.stop
    after = view.shape[0] - end
    if before:
        view[:before] = view[before : 2 * before][::-1]
    if after:
        view[end:] = view[end - after : end][::-1]


def _filter(buffers: np.ndarray, pad_shape: tuple[int, ...], kind: _Window) -> list[np.ndarray]:
    """Weighted sums of the four moments over the window that starts at each flat index.

    Reading the padded tile as one flat line makes every shifted addition one contiguous pass for
    all axes; the few sums that run over a row's end are not used by anyone.

    Returns:
        The four sums and a free buffer of their length.
    """
    rows = list(buffers)
    strides = (pad_shape[1] * pad_shape[2], pad_shape[2], 1)
    passes = [(s, t) for s, t in zip(strides, kind.taps, strict=True) if t is not None]
    for channel in range(4):
        source, out, pairs = rows[channel], rows[4], rows[5]
        length = math.prod(pad_shape)
        for stride, taps in passes:
            if kind.uniform and len(taps) == 7:
                _box7(source, pairs, out, stride, length)
            else:
                _symmetric(source, pairs, out, stride, length, taps)
            length -= (len(taps) - 1) * stride
            source, out = out, source
        rows[channel], rows[4] = source, out
    return [row[:length] for row in rows[:5]]


def _box7(source: np.ndarray, pairs: np.ndarray, out: np.ndarray, stride: int, length: int) -> None:
    """Sum of seven in four passes: 2 + 2 = 4, 4 + 2 + 1 = 7."""
    n2, n4, n7 = length - stride, length - 3 * stride, length - 6 * stride
    np.add(source[:n2], source[stride:length], out=pairs[:n2])
    np.add(pairs[:n4], pairs[2 * stride : 2 * stride + n4], out=out[:n4])
    out[:n7] += pairs[4 * stride : 4 * stride + n7]
    out[:n7] += source[6 * stride : 6 * stride + n7]


def _symmetric(
    source: np.ndarray,
    pairs: np.ndarray,
    out: np.ndarray,
    stride: int,
    length: int,
    taps: tuple[float, ...],
) -> None:
    """Weighted sum with symmetric taps of odd number: one product for each pair."""
    last = len(taps) - 1
    n = length - last * stride
    target, pair = out[:n], pairs[:n]
    middle = last // 2 * stride
    np.multiply(source[middle : middle + n], taps[last // 2], out=target)
    for k in range(last // 2):
        low, high = k * stride, (last - k) * stride
        np.add(source[low : low + n], source[high : high + n], out=pair)
        pair *= taps[k]
        target += pair
