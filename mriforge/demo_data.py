"""The demo's images: real MR frames that come with nibabel, and a prior scan made from one.

nibabel's wheel holds ``example4d.nii.gz``: two frames of an EPI series of a head, 128 x 96 x 24
voxels of 2 x 2 x 2.2 mm. The frames are nearly the same image, so frame 0 as it is would be no
honest prior for frame 1. :func:`make_prior` moves the head, puts another receive sensitivity on
it, adds noise, and places it on a grid of its own.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import ndimage

from mriforge.errors import MissingDependency
from mriforge.volume import Grid, Series, Volume

ROTATION_DEG = (2.0, -1.5, 7.0)
"""Rotation of the head about the x, y and z axis through the centre of the image."""
TRANSLATION_MM = (9.0, -7.0, 2.5)
"""Shift of the head along x, y and z (LPS): several voxels."""
BIAS = 0.2
"""Largest relative change by the receive sensitivity."""
NOISE = 0.012
"""Standard deviation of the added noise in each channel, relative to the 99th percentile."""
WIDER, SHORTER = 8, 3
"""Voxels by which the prior reaches further along stored axis 1, and less far along axis 2."""


def example_series() -> Series:
    """Both frames of nibabel's example, with their geometry.

    Raises:
        MissingDependency: nibabel is there without its example image.
    """
    from mriforge.io import read

    spec = find_spec("nibabel")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("nibabel")
    path = folder / "tests" / "data" / "example4d.nii.gz"
    if not path.is_file():
        raise MissingDependency(
            f"The demo's image {path} is not there.",
            "Some system packages of nibabel leave it out; install nibabel with pip.",
        )
    return read(path)


def make_prior(frame: Volume, seed: int = 2020) -> Volume:
    """A sharp scan "of another day": moved head, other sensitivity, new noise, own grid.

    Args:
        frame: the image to start from.
        seed: of the noise and the sensitivity; the same seed gives the same prior.

    Returns:
        a float32 volume along the frame's axes; wider in plane, because the head moves there, and
        without the outer slices, for which the frame holds no data after the motion.
    """
    random = np.random.default_rng(seed)
    nx, ny, nz = frame.grid.stored_shape
    grid = frame.grid.resampled(
        (nx, ny + 2 * WIDER, nz - 2 * SHORTER), frame.grid.spacing, (0.0, -WIDER, SHORTER)
    )
    moved = _moved(frame, grid, _rigid_motion(frame.grid))
    moved = np.clip(moved, 0.0, None) * _sensitivity(grid.shape, random)
    sigma = NOISE * float(np.percentile(frame.array, 99))
    channels = random.normal(0.0, sigma, (2, *grid.shape))
    noisy = np.hypot(moved + channels[0], channels[1])
    noisy[_blanked(frame, grid)] = 0.0
    return Volume(noisy.astype(np.float32), grid, {"provenance": "MRIForge demo: moved frame 0"})


def _rigid_motion(grid: Grid) -> np.ndarray:
    """4x4 matrix in LPS mm that moves the head."""
    matrix = np.eye(3)
    for axis, degrees in enumerate(ROTATION_DEG):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        first, second = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = cosine
        turn[first, second], turn[second, first] = -sine, sine
        matrix = turn @ matrix
    centre = grid.index_to_world((np.array(grid.stored_shape) - 1) / 2)
    motion = np.eye(4)
    motion[:3, :3] = matrix
    motion[:3, 3] = centre + np.asarray(TRANSLATION_MM) - matrix @ centre
    return motion


def _blanked(frame: Volume, grid: Grid) -> np.ndarray:
    """Where the scanner set the air to exactly zero, as it did in nibabel's frames.

    A second scan by the same sequence would be blanked too. Single zeros are no blanking.
    """
    zero = ndimage.binary_opening(frame.array == 0, iterations=2, border_value=0)
    if not zero.any():
        return np.zeros(grid.shape, dtype=bool)
    tissue = Volume((~zero).astype(np.float32), frame.grid)
    return _moved(tissue, grid, _rigid_motion(frame.grid), order=1) < 0.5


def _moved(frame: Volume, grid: Grid, motion: np.ndarray, order: int = 5) -> np.ndarray:
    """The frame's content after ``motion``, on ``grid``; zero in plane where the frame ends."""
    # A few corners reach beyond the first and last slice: those repeat it.
    array = np.pad(frame.array.astype(np.float64), ((SHORTER, SHORTER), (0, 0), (0, 0)), "edge")
    stored = np.linalg.inv(frame.grid.affine()) @ np.linalg.inv(motion) @ grid.affine()
    turn, shift = stored[:3, :3][::-1, ::-1], stored[:3, 3][::-1] + (SHORTER, 0, 0)
    # Order 5 keeps nearly all of the sharpness, which is what a prior is for.
    return ndimage.affine_transform(array, turn, shift, grid.shape, order=order, mode="constant")


def _sensitivity(shape: tuple[int, int, int], random: np.random.Generator) -> np.ndarray:
    """A smooth positive field between ``1 / (1 + BIAS)`` and ``1 + BIAS``."""
    axes = np.meshgrid(*(np.linspace(-1.0, 1.0, n) for n in shape), indexing="ij", sparse=True)
    field = np.zeros(shape)
    for _ in range(4):
        wave = sum(w * a for w, a in zip(random.uniform(-1.5, 1.5, 3), axes, strict=True))
        field += random.uniform(0.5, 1.0) * np.cos(wave + random.uniform(0.0, 2 * np.pi))
    field -= field.mean()
    return np.exp(field / np.abs(field).max() * np.log1p(BIAS))
