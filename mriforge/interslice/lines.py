"""Training pairs made of the scan's own pixels, line by line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.interslice.rows import Rows, sub_slice_matrix
from mriforge.interslice.scan import Scan
from mriforge.recipes.schema import SliceSpec
from mriforge.training.patches import Batch

FEWEST = 4
"""Thick rows that a line must give to be learned from."""

_PHASES = 16
_WHOLE = 1e-6


@dataclass(frozen=True)
class LineInput:
    """What a row-wise network is given.

    Attributes:
        low: ``(batch, 1, n, w)`` thick rows.
        cubic: ``(batch, 1, N, w)`` the same, interpolated.
        to_fine: ``(N, n * pieces)``, or None where the pieces are the fine rows already.
    """

    low: Tensor
    cubic: Tensor
    to_fine: Tensor | None


@dataclass(frozen=True)
class _View:
    """In-plane images with the lines along one of their axes, and where there is something to see.

    Attributes:
        images: ``(image, line, column)``.
        slices: thick rows of a patch.
        columns: its columns.
        cells: number of cells (image, row, column) that patches are drawn from.
        step: rows and columns of a cell.
        chances: of each cell, cumulative; more where there is structure.
    """

    images: Tensor
    slices: int
    columns: int
    cells: tuple[int, int, int]
    step: tuple[int, int]
    chances: np.ndarray

    @classmethod
    def of(cls, images: Tensor, ratio: float, spec: SliceSpec) -> _View:
        lines, columns = images.shape[1], min(images.shape[2], spec.columns)
        slices = min(spec.slices, int((lines - 1) / ratio))
        window = (min(lines, math.ceil(slices * ratio)), columns)
        step = (max(1, window[0] // 4), max(1, window[1] // 4))
        mean, square = (
            torch.nn.functional.avg_pool2d(v[:, None], window, step)[:, 0]
            for v in (images, images.square())
        )
        spread = (square - mean.square()).clamp(min=0).sqrt()
        chance = (spread + 0.1 * mean.abs() + 1e-4).cpu().double().numpy()
        total = np.cumsum(chance.ravel())
        return cls(images, slices, columns, chance.shape, step, total / total[-1])

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
        """Image, first fine row and first column of ``count`` patches."""
        cells = np.searchsorted(self.chances, rng.random(count), side="right")
        cells = np.minimum(cells, len(self.chances) - 1)
        images, rows, columns = np.unravel_index(cells, self.cells)
        rows = rows * self.step[0] + rng.integers(0, self.step[0], count)
        columns = columns * self.step[1] + rng.integers(0, self.step[1], count)
        return images, rows, np.clip(columns, 0, self.images.shape[2] - self.columns)


@dataclass(frozen=True)
class LineMatrices:
    """The fixed matrices of a line, in single precision."""

    rows: Rows
    acquire: Tensor
    cubic: Tensor
    to_fine: Tensor | None

    @classmethod
    def of(cls, rows: Rows, pieces: int, device: torch.device | str = "cpu") -> LineMatrices:
        """Of ``rows``, for a network that gives ``pieces`` values per slice."""
        parts = (rows.acquire(), rows.cubic())
        return cls(
            rows,
            *(matrix.float().to(device) for matrix in parts),
            pieces_to_fine(rows, pieces, device) if pieces else None,
        )


def pieces_to_fine(rows: Rows, pieces: int, device: torch.device | str) -> Tensor | None:
    """:func:`sub_slice_matrix`, or None where the pieces are the fine rows already."""
    matrix = sub_slice_matrix(rows, pieces)
    if matrix.shape[0] == matrix.shape[1] and torch.equal(matrix, torch.eye(len(matrix)).double()):
        return None
    return matrix.float().to(device)


class LineSampler:
    """Patches of the scan's in-plane images, made thick along either axis as the scan is.

    Batch ``step`` is always the same one for the same number.

    Args:
        scan: learns from ``scan.learning()`` of every frame.
        spec: size of the patches.
        batch: patches in a batch; all are made thick along the same axis with the same offset.
        pieces: see :class:`LineMatrices`.
    """

    epoch_steps: int | None = None

    def __init__(
        self,
        scan: Scan,
        spec: SliceSpec,
        *,
        batch: int,
        pieces: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.spec, self.size = scan.rows, spec, batch
        self.pieces, self.seed, self.device = pieces, seed, torch.device(device)
        self.whole = abs(self.rows.ratio - round(self.rows.ratio)) < _WHOLE
        parts = [scan.frames[:, block] for block in scan.learning()]
        images = torch.cat(parts, dim=1).flatten(0, 1).to(self.device)
        self.views = [
            _View.of(view.contiguous(), self.rows.ratio, spec)
            for view in (images, images.transpose(1, 2))
            if view.shape[1] >= FEWEST * self.rows.ratio
        ]
        if not self.views:
            raise BadInput(
                "The image is too small in plane to learn from.",
                f"It has to be at least {math.ceil(FEWEST * self.rows.ratio)} pixels wide.",
            )
        self._matrices = lru_cache(maxsize=2 * _PHASES)(self._make)

    def _make(self, size: int, offset: float) -> LineMatrices:
        return LineMatrices.of(self.rows.made_thick(size, offset), self.pieces, self.device)

    def _offset(self, rng: np.random.Generator) -> float:
        """One of the sub-voxel offsets that the scan's own slices have."""
        offset = float(self.rows.centres[int(rng.integers(self.rows.low))] % 1.0)
        return offset if self.whole else round(offset * _PHASES) / _PHASES % 1.0

    def batch(self, step: int) -> Batch:
        """Batch number ``step``; its input is a :class:`LineInput`."""
        rng = np.random.default_rng([self.seed, step])
        view = self.views[int(rng.integers(len(self.views)))]
        made = self._matrices(view.images.shape[1], self._offset(rng))
        mirrored, swapped = rng.random(2) < 0.5
        images, rows, columns = view.draw(rng, self.size)
        index = columns[:, None] + np.arange(view.columns)
        index = torch.from_numpy(index[:, ::-1].copy() if swapped else index)
        pick = torch.from_numpy(images)[:, None]
        lines = view.images[pick, :, index.to(self.device)].transpose(1, 2)
        starts = np.round((rows - made.rows.centres[0]) / self.rows.ratio).astype(int)
        starts = np.clip(starts, 0, made.rows.low - view.slices)
        if mirrored:  # before the slices are made: their offsets stay those of the scan
            lines, starts = lines.flip(1), made.rows.low - view.slices - starts
        if not self.whole:
            # The fine samples fall differently between other slices.
            starts[:] = starts[0]
        return self._cut(lines, starts, made, view.slices)

    def _cut(self, lines: Tensor, starts: np.ndarray, made: LineMatrices, slices: int) -> Batch:
        """Whole lines are made thick, then cut: ends of a patch are not ends of the line."""
        low = made.acquire @ lines
        cubic = made.cubic @ low
        ratio = self.rows.ratio
        edge = np.ceil(made.rows.centres[starts] - ratio / 2 - _WHOLE).astype(int)
        count = min(math.floor(slices * ratio + _WHOLE), lines.shape[1])
        first = np.clip(edge, 0, lines.shape[1] - count)
        pick = torch.arange(len(lines), device=self.device)[:, None]
        wide = torch.from_numpy(first[:, None] + np.arange(count)).to(self.device)
        thick = torch.from_numpy(starts[:, None] + np.arange(slices)).to(self.device)
        to_fine = self._local(made, int(starts[0]), int(first[0]), slices, count)
        entry = LineInput(low[pick, thick][:, None], cubic[pick, wide][:, None], to_fine)
        return Batch(entry, lines[pick, wide][:, None])

    def _local(
        self, made: LineMatrices, start: int, first: int, slices: int, count: int
    ) -> Tensor | None:
        """``to_fine`` of the patch alone."""
        if not self.pieces:
            return None
        centres = made.rows.centres[start : start + slices] - first
        rows = Rows(centres, count, made.rows.profile)
        return pieces_to_fine(rows, self.pieces, self.device)
