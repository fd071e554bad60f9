"""How a slice or a blurred voxel weighs what is around its centre.

A profile is known by its cumulative weight, so that a sharp voxel contributes what its own extent
covers of it: any ratio of sizes and any sub-voxel offset is exact, no tap is rounded away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.special import erf
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.untrusted.arrays import load_array

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True)
class Profile:
    """Cumulative weight over the distance from the centre.

    Attributes:
        name: for the provenance: ``"gaussian"``, ``"box"`` or the file's name.
        position: mm from the centre, ascending.
        cumulative: weight below each position, from 0 to 1; linear in between.
    """

    name: str
    position: np.ndarray = field(repr=False)
    cumulative: np.ndarray = field(repr=False)

    def below(self, position: np.ndarray) -> np.ndarray:
        """Part of the weight below ``position`` (mm from the centre)."""
        return np.interp(position, self.position, self.cumulative)

    @property
    def reach(self) -> float:
        """Largest distance in mm at which there is weight."""
        return float(np.abs(self.position).max())


def box(width: float) -> Profile:
    """Equal weight over ``width`` mm."""
    return Profile("box", np.array([-width / 2, width / 2]), np.array([0.0, 1.0]))


def gaussian(sigma: float, truncate: float = 3.5) -> Profile:
    """Gaussian of standard deviation ``sigma`` mm, cut at ``truncate`` sigma."""
    x = np.linspace(-truncate, truncate, 2001)
    cumulative = (erf(x / math.sqrt(2)) / erf(truncate / math.sqrt(2)) + 1) / 2
    return Profile("gaussian", x * sigma, cumulative)


def read_profile(path: str | Path, voxel_mm: float) -> Profile:
    """A measured profile from a text file, an ``.npy`` file or a learned kernel (``.json``).

    One column: weights at the spacing of the sharp image's voxels, centred on the middle of the
    file. Two columns: position in mm from the slice centre, and weight; linear in between.
    A kernel: what it is along the axis of its largest ratio, each tap as wide as its pixels.

    Args:
        path: numbers separated by blanks, commas or semicolons; ``#`` starts a comment.
        voxel_mm: voxel size of the sharp image across the slices.

    Raises:
        BadInput: not a profile.
    """
    if Path(path).suffix.lower() == ".json":
        from mriforge.physics.downsampling import read_kernel

        weight, voxel_mm = read_kernel(path).across()
        table = weight[:, None]
    else:
        table = _read_table(Path(path))
    weight = table[:, -1]
    if not np.all(np.isfinite(table)):
        raise BadInput(f"{path} has values that are not numbers.", "Remove them from the profile.")
    if table.shape[1] == 1:
        edges = (np.arange(len(weight) + 1) - len(weight) / 2) * voxel_mm
        mass = weight
    else:
        edges = table[:, 0]
        if len(edges) < 2 or np.any(np.diff(edges) <= 0):
            raise BadInput(
                f"The positions in {path} do not ascend.", "Sort the lines by position (mm)."
            )
        # Linear weight integrates to a parabola; straight pieces of it this short are exact enough.
        fine = np.linspace(edges[0], edges[-1], 4001)
        sampled = np.interp(fine, edges, weight)
        edges, mass = fine, (sampled[1:] + sampled[:-1]) / 2
    total = mass.sum()
    if not total > 1e-6 * np.abs(mass).sum():
        raise BadInput(
            f"The weights in {path} do not add up to a positive number.",
            "A slice profile is mostly positive.",
        )
    return Profile(Path(path).name, edges, np.concatenate([[0.0], np.cumsum(mass) / total]))


def _read_table(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            table = load_array(path)
        else:
            lines = path.read_text(encoding="utf-8-sig").replace(",", " ").replace(";", " ")
            rows = [line.split("#")[0].split() for line in lines.splitlines()]
            table = np.array([[float(v) for v in row] for row in rows if row])
        table = np.asarray(table, dtype=float)
    except FileNotFoundError:
        raise BadInput(f"There is no slice profile {path}.", "Check the name.") from None
    except (OSError, ValueError, UnicodeDecodeError):
        table = np.empty(0)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or table.shape[0] < 1 or table.shape[1] not in (1, 2):
        raise BadInput(
            f"{path} is not a slice profile.",
            "Write one weight per line, or position in mm and weight.",
        )
    return table


def profile_matrix(profile: Profile, centres: np.ndarray, size: int, voxel_mm: float) -> Tensor:
    """Weights ``(len(centres), size)`` of ``size`` voxels for profiles at ``centres``.

    Args:
        profile: in mm.
        centres: voxel coordinates of the profiles' centres.
        size: number of voxels; what a profile covers outside of them is left out, and the rest
            is weighed up, so that a constant stays a constant.
        voxel_mm: their size.

    Raises:
        BadInput: a profile covers no voxel.
    """
    edges = (np.arange(size + 1)[None, :] - 0.5 - np.asarray(centres)[:, None]) * voxel_mm
    matrix = np.diff(profile.below(edges), axis=1)
    total = matrix.sum(axis=1, keepdims=True)
    if np.any(total < 1e-3):
        raise BadInput(
            f"The profile {profile.name} has no weight inside the image.",
            "Its centre is the middle of the file, or position 0.",
        )
    return torch.from_numpy(matrix / total)
