"""Factors: an image sequence of tens of thousands of frames, in the few numbers it is made of.

Numpy only, so that a viewer can use it. ``I(x, c, r, tau) = sum_l u_l(x) phi_l(c, r, tau)``: the
spatial factor times the temporal one (Christodoulou 2018; Chen 2021, section 6.2.2). Frames are
computed when they are asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.untrusted.arrays import load_arrays
from mriforge.untrusted.texts import from_json
from mriforge.volume import Grid

FORMAT = "mriforge-factors-1"
AXES = ("cardiac", "respiratory", "inversion")


@dataclass(frozen=True)
class Factors:
    """A reconstruction as spatial and temporal factors.

    Attributes:
        spatial: ``(L, z, y, x)`` complex64.
        temporal: ``(L, cardiac, respiratory, inversion)`` float32, rows orthonormal.
        grid: of the images.
        inversion_times_s: ``(inversion,)`` seconds since the inversion.
        info: provenance and settings, JSON types only.

    Raises:
        BadInput: shapes that do not belong together.
    """

    spatial: np.ndarray
    temporal: np.ndarray
    grid: Grid
    inversion_times_s: np.ndarray
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.spatial.ndim != 4 or self.spatial.shape[1:] != self.grid.shape:
            raise BadInput(
                f"The spatial factor is {self.spatial.shape}, the grid {self.grid.shape}."
            )
        if self.temporal.ndim != 4 or self.temporal.shape[0] != self.spatial.shape[0]:
            raise BadInput(
                f"The temporal factor is {self.temporal.shape}; "
                f"{self.spatial.shape[0]} components are needed."
            )
        if self.inversion_times_s.shape != self.temporal.shape[3:]:
            raise BadInput("There is not one inversion time for each row of the temporal factor.")

    @property
    def rank(self) -> int:
        """Number of components ``L``."""
        return self.spatial.shape[0]

    @property
    def bins(self) -> tuple[int, int, int]:
        """Number of cardiac phases, respiratory phases and inversion times."""
        return self.temporal.shape[1:]

    @property
    def frames(self) -> int:
        """Number of images in the sequence."""
        return int(np.prod(self.bins))

    def frame(self, cardiac: int, respiratory: int, inversion: int) -> np.ndarray:
        """One image ``(z, y, x)``, complex64.

        Raises:
            IndexError: outside of :attr:`bins`.
        """
        weights = self.temporal[:, cardiac, respiratory, inversion]
        return (weights @ self._flat).reshape(self.grid.shape)

    def line(
        self, axis: str, cardiac: int = 0, respiratory: int = 0, inversion: int = 0, step: int = 1
    ) -> np.ndarray:
        """All images along one axis through the tensor ``(n, z, y, x)``, complex64.

        Args:
            axis: ``cardiac``, ``respiratory`` or ``inversion``; the index of that one is ignored.
            cardiac: cardiac phase of the line.
            respiratory: respiratory phase of the line.
            inversion: inversion time of the line.
            step: take every n-th image.
        """
        if axis not in AXES:
            raise ValueError(f"{axis!r} is not one of {AXES}")
        index: list[Any] = [cardiac, respiratory, inversion]
        index[AXES.index(axis)] = slice(None, None, step)
        weights = self.temporal[(slice(None), *index)]
        return (weights.T @ self._flat).reshape(-1, *self.grid.shape)

    @property
    def _flat(self) -> np.ndarray:
        return self.spatial.reshape(self.rank, -1)

    def save(self, path: str | os.PathLike) -> None:
        """Writes an uncompressed NPZ file, which is not pickled and can be read anywhere.

        The caller provides a temporary name (``io.atomic``); this only writes.
        """
        about = {
            "format": FORMAT,
            "grid": {
                "shape": self.grid.shape,
                "spacing_mm": self.grid.spacing,
                "origin_lps_mm": self.grid.origin,
                "direction_lps": self.grid.direction,
            },
            "info": dict(self.info),
        }
        with Path(path).open("wb") as file:
            np.savez(
                file,
                spatial=self.spatial.astype(np.complex64, copy=False),
                temporal=self.temporal.astype(np.float32, copy=False),
                inversion_times_s=np.asarray(self.inversion_times_s, np.float64),
                about=np.array(json.dumps(about)),
            )

    @classmethod
    def load(cls, path: str | os.PathLike) -> Factors:
        """Reads what :meth:`save` wrote.

        Raises:
            BadInput: not such a file, damaged, or of a later version.
        """
        try:
            held = load_arrays(path)
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} is not a file of factors, or is damaged ({error}).") from error
        try:
            about = from_json(str(held["about"]))
            if about["format"] != FORMAT:
                raise BadInput(f"{path} is of another version ({about['format']}).")
            place = about["grid"]
            grid = Grid(
                tuple(place["shape"]),
                tuple(place["spacing_mm"]),
                tuple(place["origin_lps_mm"]),
                tuple(place["direction_lps"]),
            )
            spatial, temporal = held["spatial"], held["temporal"]
            kinds = (spatial.dtype.kind, temporal.dtype.kind, held["inversion_times_s"].dtype.kind)
            if kinds != ("c", "f", "f") or 0 in temporal.shape:
                raise BadInput(f"The arrays of {path} are not factors.", "Reconstruct it again.")
            return cls(spatial, temporal, grid, held["inversion_times_s"], dict(about["info"]))
        except KeyError as error:
            raise BadInput(f"{path} lacks {error}; it is not a file of factors.") from error
        except (TypeError, ValueError) as error:
            raise BadInput(f"{path} is not a file of factors ({error}).") from error
