"""Non-uniform Fourier transform by Kaiser-Bessel gridding, in torch, for any device.

Beatty, Nishimura and Pauly 2005: convolution with a Kaiser-Bessel kernel between the points and
an oversampled Cartesian grid, a fast Fourier transform, and division by the kernel's transform,
which is known in closed form. The kernel's values are kept as a sparse table, one row for a
point; going back, as its transpose. A product with a sparse table is a weighted sum of rows of
the grid, which torch has as ``embedding_bag`` on CPU and CUDA: images are held as adjacent real
numbers, so that one row serves all of them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.sparse import csr_matrix
from torch.nn.functional import embedding_bag

_OVERSAMPLING = 2.0
_TABLE_ENTRIES = 1 << 26  # kept, at 8 bytes; beyond that they are computed at each use
_BLOCK_ENTRIES = 1 << 23
_IMAGES_AT_ONCE = 32


class Gridding:
    """Points to images and back, for complex ``(b, ny, nx)`` and ``(b, M)``.

    Args:
        points: ``(M, 2)`` positions ``(kx, ky)`` in cycles per pixel.
        shape: ``(ny, nx)`` in pixels.
        tolerance: relative error to aim at, 1e-2 to 1e-12; sets the width of the kernel.
    """

    def __init__(
        self, points: torch.Tensor, shape: tuple[int, int], tolerance: float = 1e-4
    ) -> None:
        # MPS has no float64.
        self._accurate = torch.float32 if points.device.type == "mps" else torch.float64
        self._points = points
        self._shape = shape
        self.width = _width(tolerance)
        self.grid = tuple(
            max(_even_fast(math.ceil(_OVERSAMPLING * n)), 2 * self.width) for n in shape
        )
        self._betas = tuple(
            # Beatty et al. 2005, equation 5.
            math.pi * math.sqrt((self.width / (k / n)) ** 2 * (k / n - 0.5) ** 2 - 0.8)
            for n, k in zip(shape, self.grid, strict=True)
        )
        self._tables: dict[tuple, list[_Table]] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Samples ``(b, M)`` of images ``(b, ny, nx)``."""
        found = images.new_empty((images.shape[0], self._points.shape[0]))
        for start in range(0, images.shape[0], _IMAGES_AT_ONCE):
            some = images[start : start + _IMAGES_AT_ONCE]
            rows = _to_rows(torch.fft.fft2(self._pad(some / self._deapodisation(some))))
            for table in self._blocks(False, some.dtype):
                found[start : start + len(some), table.points] = _from_rows(table.apply(rows))
        return found

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        """Images ``(b, ny, nx)`` of samples ``(b, M)``."""
        found = data.new_empty((data.shape[0], *self._shape))
        for start in range(0, data.shape[0], _IMAGES_AT_ONCE):
            some = data[start : start + _IMAGES_AT_ONCE]
            rows = None
            for table in self._blocks(True, some.dtype):
                part = table.apply(_to_rows(some[:, table.points]))
                rows = part if rows is None else rows.add_(part)
            spectrum = _from_rows(rows).reshape(len(some), *self.grid)
            images = self._crop(torch.fft.ifft2(spectrum, norm="forward"))
            found[start : start + len(some)] = images / self._deapodisation(some)
        return found

    def _pad(self, images: torch.Tensor) -> torch.Tensor:
        """On the large grid, with pixel ``n // 2`` at its origin."""
        padded = images.new_zeros((*images.shape[:-2], *self.grid))
        for small_y, large_y in _halves(self._shape[0], self.grid[0]):
            for small_x, large_x in _halves(self._shape[1], self.grid[1]):
                padded[..., large_y, large_x] = images[..., small_y, small_x]
        return padded

    def _crop(self, padded: torch.Tensor) -> torch.Tensor:
        images = padded.new_empty((*padded.shape[:-2], *self._shape))
        for small_y, large_y in _halves(self._shape[0], self.grid[0]):
            for small_x, large_x in _halves(self._shape[1], self.grid[1]):
                images[..., small_y, small_x] = padded[..., large_y, large_x]
        return images

    def _deapodisation(self, like: torch.Tensor) -> torch.Tensor:
        """The kernel's Fourier transform at the pixels ``(ny, nx)``."""
        lines = []
        for n, k, beta in zip(self._shape, self.grid, self._betas, strict=True):
            place = (torch.arange(n, dtype=torch.float64) - n // 2) / k
            root = torch.sqrt(beta**2 - (math.pi * self.width * place) ** 2)
            scale = self.width / float(torch.special.i0(torch.tensor(beta, dtype=torch.float64)))
            lines.append(scale * torch.sinh(root) / root)
        whole = lines[0][:, None] * lines[1]
        return whole.to(dtype=like.dtype.to_real()).to(like.device)

    def _blocks(self, adjoint: bool, dtype: torch.dtype) -> list[_Table] | _Remade:
        key = (adjoint, dtype)
        if key in self._tables:
            return self._tables[key]
        total = self._points.shape[0]
        remade = _Remade(self, adjoint, dtype, max(1, _BLOCK_ENTRIES // self.width**2))
        if total * self.width**2 <= _TABLE_ENTRIES:
            self._tables[key] = list(remade)
        return self._tables.get(key, remade)

    def _table(self, points: slice, adjoint: bool, dtype: torch.dtype) -> _Table:
        first, weights = [], []
        for axis, size, beta in ((1, self.grid[0], self._betas[0]), (0, *self._across)):
            place = self._points[points, axis].to(self._accurate) * size
            start = torch.ceil(place - self.width / 2)
            steps = torch.arange(self.width, device=place.device, dtype=torch.int32)
            away = (start - place).to(dtype.to_real())[:, None] + steps
            weights.append(_kaiser_bessel(away, self.width, beta))
            first.append(((start.to(torch.int32)[:, None] + steps) % size).to(torch.int32))
        cells = first[0][:, :, None] * self.grid[1] + first[1][:, None, :]
        values = weights[0][:, :, None] * weights[1][:, None, :]
        count = cells.shape[0]
        cells, values = cells.reshape(count, -1), values.reshape(count, -1)
        if adjoint:
            return _Table.transposed(points, cells, values, self.grid[0] * self.grid[1])
        return _Table.of_points(points, cells, values)

    @property
    def _across(self) -> tuple[int, float]:
        return self.grid[1], self._betas[1]


def keeps_its_table(samples: int, tolerance: float) -> bool:
    """Whether the table of so many points is kept: then nothing is faster after its first use."""
    return samples * _width(tolerance) ** 2 <= _TABLE_ENTRIES


def _width(tolerance: float) -> int:
    # A Kaiser-Bessel kernel gains one digit with each further cell at oversampling 2
    # (Barnett et al. 2019, equation 3.9).
    return min(16, max(3, math.ceil(-math.log10(tolerance)) + 1))


class _Remade:
    """Tables made one after the other, when they are too large to be kept."""

    def __init__(self, owner: Gridding, adjoint: bool, dtype: torch.dtype, length: int) -> None:
        self._arguments = (adjoint, dtype)
        self._owner, self._length = owner, length

    def __iter__(self):
        total = self._owner._points.shape[0]
        for start in range(0, total, self._length):
            piece = slice(start, min(start + self._length, total))
            yield self._owner._table(piece, *self._arguments)


class _Table:
    """A sparse real matrix by rows: ``ends`` tells where each row's entries begin."""

    def __init__(
        self, points: slice, columns: torch.Tensor, values: torch.Tensor, ends: torch.Tensor
    ) -> None:
        self.points = points
        self._columns, self._values, self._ends = columns, values, ends

    @classmethod
    def of_points(cls, points: slice, cells: torch.Tensor, values: torch.Tensor) -> _Table:
        ends = torch.arange(
            0, cells.numel() + 1, cells.shape[1], dtype=torch.int32, device=cells.device
        )
        return cls(points, cells.reshape(-1), values.reshape(-1), ends)

    @classmethod
    def transposed(
        cls, points: slice, cells: torch.Tensor, values: torch.Tensor, size: int
    ) -> _Table:
        if cells.device.type == "cpu":  # by counting: several times faster than by sorting
            ends = np.arange(0, cells.numel() + 1, cells.shape[1], dtype=np.int32)
            entries = (values.reshape(-1).numpy(), cells.reshape(-1).numpy(), ends)
            turned = csr_matrix(entries, shape=(len(cells), size)).tocsc()
            parts = (turned.indices, turned.data, turned.indptr)
            return cls(points, *map(torch.from_numpy, parts))
        return cls.by_sorting(points, cells, values, size)

    @classmethod
    def by_sorting(
        cls, points: slice, cells: torch.Tensor, values: torch.Tensor, size: int
    ) -> _Table:
        flat = cells.reshape(-1)
        ends = torch.zeros(size + 1, dtype=torch.int32, device=cells.device)
        ends[1:] = torch.bincount(flat, minlength=size).cumsum(0)
        order = torch.argsort(flat)
        rows = (order // cells.shape[1]).to(torch.int32)
        return cls(points, rows, values.reshape(-1)[order], ends)

    def apply(self, rows: torch.Tensor) -> torch.Tensor:
        """``(out, r)`` sums of rows ``(in, r)``, real."""
        if rows.device.type == "mps":
            return self._with_index_add(rows)
        return embedding_bag(
            self._columns,
            rows,
            self._ends,
            mode="sum",
            per_sample_weights=self._values,
            include_last_offset=True,
        )

    def _with_index_add(self, rows: torch.Tensor) -> torch.Tensor:
        counts = self._ends.diff()
        target = torch.repeat_interleave(torch.arange(len(counts), device=rows.device), counts)
        found = rows.new_zeros((len(counts), rows.shape[1]))
        step = max(1, _BLOCK_ENTRIES // rows.shape[1])
        for start in range(0, len(target), step):
            piece = slice(start, start + step)
            values = rows[self._columns[piece]] * self._values[piece, None]
            found.index_add_(0, target[piece], values)
        return found


def _kaiser_bessel(away: torch.Tensor, width: int, beta: float) -> torch.Tensor:
    """``I0(beta sqrt(1 - (2 away / width)^2)) / I0(beta)`` inside, zero outside."""
    square = 1 - (2 * away / width) ** 2
    root = torch.sqrt(square.clamp(min=0))
    # i0e and the exponential apart: no overflow in single precision.
    top = torch.special.i0e(beta * root) * torch.exp(beta * (root - 1))
    bottom = torch.special.i0e(torch.tensor(beta, dtype=torch.float64)).item()
    return torch.where(square >= 0, top / bottom, torch.zeros_like(top))


def _halves(small: int, large: int) -> list[tuple[slice, slice]]:
    middle = small // 2
    return [
        (slice(middle, small), slice(0, small - middle)),
        (slice(0, middle), slice(large - middle, large)),
    ]


def _to_rows(values: torch.Tensor) -> torch.Tensor:
    """Complex ``(b, ...)`` as real ``(..., 2 b)``."""
    flat = torch.view_as_real(values.resolve_conj().reshape(values.shape[0], -1))
    return flat.permute(1, 0, 2).reshape(flat.shape[1], -1)


def _from_rows(rows: torch.Tensor) -> torch.Tensor:
    """Real ``(n, 2 b)`` as complex ``(b, n)``."""
    pairs = rows.reshape(rows.shape[0], -1, 2).permute(1, 0, 2)
    return torch.view_as_complex(pairs.contiguous())


def _even_fast(size: int) -> int:
    """The next even size that has small prime factors only."""
    return 2 * next_fast_len((size + 1) // 2, real=True)
