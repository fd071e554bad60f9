"""Volume and Series: voxels that never lose their geometry.

Axes: a volume's array is ``(z, y, x)``, a series' ``(t, z, y, x)``. Spacing, origin and direction
follow SimpleITK: ``(x, y, z)`` order, millimetres, LPS (x to the patient's Left, y to Posterior,
z to Superior). ``Grid.affine("RAS")`` gives the NIfTI convention; both are always named.

"Stored axes" are numbered i, j, k = 0, 1, 2 as on the command line: stored axis ``a`` is array
axis ``2 - a`` of a volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mriforge.errors import BadInput

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SPACING_MM = (1e-6, 1e6)
_FARTHEST_MM = 1e9
"""No scanner makes smaller or larger voxels, or puts them farther away; damaged headers do."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume are.

    Attributes:
        shape: number of voxels ``(z, y, x)``.
        spacing: voxel size in mm ``(x, y, z)``.
        origin: LPS position in mm of the centre of voxel ``(0, 0, 0)``.
        direction: 3x3, row-major; column ``a`` is the LPS unit vector of stored axis ``a``.

    Raises:
        BadInput: when spacing is not positive, or spacing or origin is not a length that can be
            (1e-6 to 1e6 mm, and 1e9 mm), or direction is not orthonormal.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
            object.__setattr__(self, "spacing", tuple(float(s) for s in self.spacing))
            object.__setattr__(self, "origin", tuple(float(o) for o in self.origin))
            flat = np.asarray(self.direction, dtype=float).reshape(-1)
            object.__setattr__(self, "direction", tuple(flat.tolist()))
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"The geometry is not made of numbers ({error}).") from error
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise BadInput(f"A volume needs three axes of at least one voxel, not {self.shape}.")
        self._check_numbers()
        matrix = self.direction_matrix
        if not np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-3):
            raise BadInput(
                "The image axes are not perpendicular (sheared grid).",
                "Resample the image to a rectangular grid first.",
            )

    def _check_numbers(self) -> None:
        if (len(self.spacing), len(self.origin), len(self.direction)) != (3, 3, 9):
            raise BadInput("A grid needs three voxel sizes, three positions and nine cosines.")
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise BadInput(
                f"The voxel size {self.spacing} mm is not positive.",
                "Correct the header of the file.",
            )
        if not all(_SPACING_MM[0] <= s <= _SPACING_MM[1] for s in self.spacing):
            raise BadInput(
                f"The voxel size {self.spacing} mm cannot be.", "Correct the header of the file."
            )
        if not np.all(np.isfinite(self.origin)):
            raise BadInput("The image position in the header is not finite.")
        if max(map(abs, self.origin)) > _FARTHEST_MM:
            raise BadInput(
                f"The image position {self.origin} mm cannot be.", "Correct the header of the file."
            )

    @property
    def direction_matrix(self) -> np.ndarray:
        """3x3 matrix whose columns are the LPS directions of the stored axes."""
        return np.asarray(self.direction).reshape(3, 3)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Number of voxels ``(i, j, k)`` = ``(x, y, z)``."""
        return self.shape[::-1]

    def affine(self, convention: str = "LPS") -> np.ndarray:
        """4x4 matrix from stored index ``(i, j, k)`` to mm, in ``"LPS"`` or ``"RAS"``."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction_matrix * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        if convention == "LPS":
            return matrix
        if convention == "RAS":
            return _LPS_TO_RAS @ matrix
        raise ValueError(f"convention is 'LPS' or 'RAS', not {convention!r}")

    @classmethod
    def from_affine(cls, shape: tuple[int, int, int], affine: np.ndarray, convention: str) -> Grid:
        """Grid of ``shape`` (z, y, x) from a 4x4 index-to-mm matrix in ``convention``."""
        matrix = np.asarray(affine, dtype=float)
        if convention == "RAS":
            matrix = _LPS_TO_RAS @ matrix
        elif convention != "LPS":
            raise ValueError(f"convention is 'LPS' or 'RAS', not {convention!r}")
        if not np.all(np.isfinite(matrix)):
            raise BadInput("The image position in the header is not finite.")
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if np.any(spacing <= 0):
            raise BadInput(
                "The header gives a voxel size of zero.", "Correct the header of the file."
            )
        return cls(
            shape, tuple(spacing), tuple(matrix[:3, 3]), tuple((matrix[:3, :3] / spacing).ravel())
        )

    def index_to_world(self, index: np.ndarray) -> np.ndarray:
        """LPS mm of stored indices, ``(..., 3)`` to ``(..., 3)``."""
        affine = self.affine()
        return np.asarray(index) @ affine[:3, :3].T + affine[:3, 3]

    def world_to_index(self, world: np.ndarray) -> np.ndarray:
        """Stored (fractional) indices of LPS mm positions, ``(..., 3)`` to ``(..., 3)``."""
        affine = self.affine()
        return (np.asarray(world) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T

    def matches(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether every voxel of both grids is at the same place within ``tolerance_mm``."""
        if self.shape != other.shape:
            return False
        far = np.array(self.stored_shape) - 1
        corners = np.array(
            [[a, b, c] for a in (0, far[0]) for b in (0, far[1]) for c in (0, far[2])]
        )
        gap = self.index_to_world(corners) - other.index_to_world(corners)
        return bool(np.abs(gap).max() <= tolerance_mm)

    def kspace_refined(self, stored_shape: tuple[int, int, int]) -> Grid:
        """The finer grid of ``stored_shape`` whose central k-space samples give this grid.

        The k-space centre is sample ``N // 2`` on both grids; the shift that this means between
        the first voxels is in the origin.
        """
        factor = [size / n for n, size in zip(self.stored_shape, stored_shape, strict=True)]
        first = [
            n // 2 - (size // 2) / f
            for n, size, f in zip(self.stored_shape, stored_shape, factor, strict=True)
        ]
        spacing = tuple(s / f for s, f in zip(self.spacing, factor, strict=True))
        return self.resampled(tuple(stored_shape), spacing, tuple(first))

    def resampled(
        self,
        stored_shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        first_index: tuple[float, float, float],
    ) -> Grid:
        """A grid along the same axes; its voxel 0 is at this grid's ``first_index`` (i, j, k)."""
        origin = self.index_to_world(np.asarray(first_index, dtype=float))
        return Grid(tuple(stored_shape)[::-1], spacing, tuple(origin), self.direction)


@dataclass(frozen=True)
class Volume:
    """One 3-D image.

    Attributes:
        array: voxels ``(z, y, x)``, any real dtype.
        grid: geometry; ``grid.shape == array.shape``.
        metadata: what is known of the intensities and their origin (source file, rescale,
            modality, provenance); JSON-serialisable values only.
    """

    array: np.ndarray
    grid: Grid
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(self.array.shape) != self.grid.shape:
            raise BadInput(
                f"The array has shape {tuple(self.array.shape)} but its grid {self.grid.shape}."
            )

    def with_array(self, array: np.ndarray, **metadata: Any) -> Volume:
        """Same place, other voxels; ``metadata`` is added to what is there."""
        return Volume(array, self.grid, {**self.metadata, **metadata})


@dataclass(frozen=True)
class Series:
    """A time series of volumes on one grid.

    Attributes:
        array: voxels ``(t, z, y, x)``.
        grid: geometry of every frame.
        times: one value per frame, in ``time_unit``.
        time_name: what the values are: ``"time"``, ``"trigger time"``, ``"echo time"``,
            ``"inversion time"``, ``"temporal position"``, ...
        time_unit: ``"s"``, ``"ms"`` or ``""`` (a plain number).
        metadata: as of :class:`Volume`.
    """

    array: np.ndarray
    grid: Grid
    times: np.ndarray
    time_name: str = "time"
    time_unit: str = "s"
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", np.asarray(self.times, dtype=float))
        if self.array.ndim != 4 or tuple(self.array.shape[1:]) != self.grid.shape:
            raise BadInput(
                f"The array has shape {tuple(self.array.shape)} but its grid {self.grid.shape}."
            )
        if self.times.shape != (self.array.shape[0],):
            raise BadInput(
                f"{self.array.shape[0]} frames need as many times, not {self.times.size}."
            )
        if not np.isfinite(self.times).all():
            raise BadInput("The times of the frames are not all numbers.")

    def __len__(self) -> int:
        return self.array.shape[0]

    def __getitem__(self, index: int) -> Volume:
        when = {self.time_name: float(self.times[index]), "time_unit": self.time_unit}
        return Volume(self.array[index], self.grid, {**self.metadata, "frame": when})

    def __iter__(self) -> Iterator[Volume]:
        return (self[index] for index in range(len(self)))

    def with_array(self, array: np.ndarray, **metadata: Any) -> Series:
        """Same place and times, other voxels; ``metadata`` is added to what is there."""
        return replace(self, array=array, metadata={**self.metadata, **metadata})


Image = Volume | Series


def as_series(image: Image) -> Series:
    """A series of one frame for a volume; a series unchanged. Voxels are not copied."""
    if isinstance(image, Series):
        return image
    return Series(image.array[None], image.grid, np.zeros(1), metadata=image.metadata)


def some_of(count: int, most: int) -> list[int]:
    """Numbers of at most ``most`` of ``count`` things, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()


def like_input(series: Series, original: Image) -> Image:
    """The inverse of :func:`as_series`: a volume again if ``original`` was one."""
    if isinstance(original, Series):
        return series
    return Volume(series.array[0], series.grid, series.metadata)
