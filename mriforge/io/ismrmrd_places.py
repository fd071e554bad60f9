"""Where ISMRMRD readouts lie in k-space, and the image in the patient."""

from __future__ import annotations

import math

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.ismrmrd_header import REVERSE, Header, flagged
from mriforge.physics.trajectory import golden_angle
from mriforge.volume import Grid


def grid_of(header: Header, head: np.void) -> Grid:
    """The image: square pixels of the encoded space over the field of view of the recon space."""
    pixel = header.encoded_fov_mm[0] / header.encoded_matrix[0]
    nx, ny = (max(1, round(fov / pixel)) for fov in header.recon_fov_mm[:2])
    nz = _number_of_partitions(header)
    thickness = header.encoded_fov_mm[2] / nz
    axes = np.stack([head["read_dir"], head["phase_dir"], head["slice_dir"]], 1).astype(float)
    if not axes.any():
        axes = np.eye(3)
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise BadInput("The directions of the slice (read, phase, slice) are not given.")
    axes = axes / lengths
    # Single precision leaves them orthogonal to 1e-7 only; the nearest rotation is exact.
    left, values, right = np.linalg.svd(axes)
    if values.min() < 0.99:
        raise BadInput("The directions of the slice (read, phase, slice) are not orthogonal.")
    axes = left @ right
    spacing = np.array([pixel, pixel, thickness])
    middle = np.array([nx // 2, ny // 2, nz // 2])
    origin = np.asarray(head["position"], float) - axes @ (spacing * middle)
    return Grid((nz, ny, nx), tuple(spacing), tuple(origin), tuple(axes.ravel()))


def _number_of_partitions(header: Header) -> int:
    _, highest, _ = header.limits.get("kspace_encoding_step_2", (0, 0, 0))
    return max(header.encoded_matrix[2], highest + 1)


def partitions_of(header: Header, heads: np.ndarray, grid: Grid) -> np.ndarray:
    """Partition numbers ``(s,)`` int32 in which ``partitions // 2`` is the centre of k-space.

    Raises:
        BadInput: a counter beyond the partitions there are.
    """
    number = grid.shape[0]
    steps = heads["idx"]["kspace_encode_step_2"].astype(np.int32)
    _, _, centre = header.limits.get("kspace_encoding_step_2", (0, 0, number // 2))
    partition = steps - centre + number // 2
    if partition.min() < 0 or partition.max() >= number:
        raise BadInput(
            f"The partitions (kspace_encode_step_2) reach {steps.max()}, of {number} there are.",
            "Correct encodingLimits or encodedSpace in the XML header.",
        )
    return partition


def positions_from_counters(header: Header, heads: np.ndarray) -> np.ndarray:
    """Spokes at ``kspace_encode_step_1`` times the angle that the header says.

    That is ``angle_increment_deg`` of the user parameters, else the golden angle, or of a
    trajectory that calls itself just ``radial`` with as many steps as the encoded matrix has rows,
    the half circle divided by these.
    """
    steps = heads["idx"]["kspace_encode_step_1"].astype(np.float64)
    angle = header.said.get("angle_increment_deg")
    if not isinstance(angle, float):
        _, highest, _ = header.limits.get("kspace_encoding_step_1", (0, 0, 0))
        uniform = header.trajectory == "radial" and highest + 1 == header.encoded_matrix[1]
        angle = 180.0 / (highest + 1) if uniform else golden_angle()
    samples, centre = int(heads["number_of_samples"][0]), int(heads["center_sample"][0])
    full = 2 * max(centre, samples - centre)
    line = (np.arange(samples) - centre) / max(full, header.encoded_matrix[0])
    backwards = flagged(heads["flags"], REVERSE)
    angles = np.deg2rad(angle * steps) + np.pi * backwards
    directions = np.stack([np.cos(angles), np.sin(angles)], -1)
    return (line[None, :, None] * directions[:, None]).astype(np.float32)


def cycles_per_pixel(trajectory: np.ndarray, header: Header) -> tuple[np.ndarray, str]:
    """A stored trajectory in cycles per pixel; its unit as said, or by how far it reaches."""
    reach = float(np.maximum(trajectory.max(), -trajectory.min()))
    if not np.isfinite(reach):
        raise BadInput("The trajectory holds values that are not finite.", "Copy the file again.")
    matrix = header.encoded_matrix[0]
    factors = {
        "cycles_per_pixel": (1.0, 0.5),
        "half_width": (0.5, 1.0),
        "radians_per_pixel": (0.5 / math.pi, math.pi),
        "cycles_per_fov": (1.0 / matrix, matrix / 2),
    }
    unit = header.said.get("trajectory_unit")
    if unit is not None and unit not in factors:
        raise BadInput(
            f"The trajectory is in '{unit}', which is not known.",
            f"Known are {', '.join(factors)}.",
        )
    if unit is None:
        # The least unit whose edge of k-space is not exceeded; a radial scan gets close to it.
        fits = [name for name, (_, edge) in factors.items() if 0.6 * edge < reach <= 1.01 * edge]
        if not fits:
            raise BadInput(
                f"The trajectory reaches {reach:.4g}, which is in no known unit.",
                "Say 'trajectory_unit' in trajectoryDescription of the XML header.",
            )
        unit = fits[0]
    # Positions that were corrected for gradient delays may pass the edge a little.
    if reach > 1.1 * factors[unit][1]:
        raise BadInput(
            f"The trajectory reaches {reach:.4g}, beyond the edge of k-space in '{unit}'.",
            "Correct the trajectory or its unit.",
        )
    factor = factors[unit][0]
    return trajectory if factor == 1 else trajectory * np.float32(factor), unit


def refuse_koosh_ball(trajectory: np.ndarray, grid: Grid) -> None:
    """Refuses ``(s, n, dimensions)`` positions that run through all three dimensions.

    A third value may also be a density weight; that one is never negative.

    Raises:
        BadInput: they do, or there is only one dimension.
    """
    if trajectory.shape[2] == 1:
        raise BadInput("The trajectory has one dimension; two are needed.")
    if trajectory.shape[2] < 3 or grid.shape[0] == 1:
        return
    across = trajectory[..., 2]
    if across.min() < 0 < across.max() and np.ptp(across, 1).max() > 0.05 * np.ptp(across):
        raise BadInput(
            "The spokes run in three dimensions.", "A single slice or a stack of stars is needed."
        )
