"""From raw data to what a reconstruction takes: white noise, few coils, true places, coil maps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.physics.coils.calibration import centre_of_kspace, low_resolution
from mriforge.physics.coils.compression import compress, prewhiten
from mriforge.physics.coils.espirit import espirit_maps
from mriforge.physics.coils.walsh import walsh_maps
from mriforge.physics.density import radial_density
from mriforge.physics.subspace import SubspaceOperator
from mriforge.physics.trajectory import apply_delays, directions, estimate_delays
from mriforge.rawdata import RawData

MOST_COILS = 12
_SIDEWAYS = 0.25
"""Samples: a smaller shift across a spoke is left alone, so that spokes stay straight."""


@dataclass(frozen=True)
class Setup:
    """Ready to reconstruct.

    Attributes:
        raw: prewhitened, compressed, delays corrected; navigators included.
        maps: ``(C, z, y, x)`` complex64, unit sum of squares or zero.
        info: what was done, JSON types only.
    """

    raw: RawData
    maps: Tensor
    info: dict[str, Any] = field(default_factory=dict)


def prepare(
    raw: RawData,
    *,
    coils: int | None = None,
    coil_maps: str = "espirit",
    delays: bool = False,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> Setup:
    """Conditions raw data and estimates coil sensitivities from all of its spokes.

    Args:
        raw: as measured.
        coils: virtual coils to keep; None: all, up to :data:`MOST_COILS`.
        coil_maps: ``espirit`` or ``walsh``.
        delays: estimate gradient delays from crossing spokes and correct them.
        device: where the maps are computed and stay.
        events: progress and cancel.

    Raises:
        BadInput: no imaging readouts, or fewer coils than asked for.
    """
    events = events or Events()
    if not raw.imaging.any():
        raise BadInput("The raw data hold navigators only.", "Imaging readouts are needed as well.")
    info: dict[str, Any] = {"coils_measured": raw.coils, "prewhitened": raw.noise is not None}
    raw = prewhiten(raw)
    events.check_cancelled()
    raw = compress(raw, min(raw.coils, MOST_COILS) if coils is None else coils)
    info["coils"] = raw.coils
    if delays:
        events.progress(0.2, "gradient delays")
        raw, found = without_delays(raw)
        info["gradient_delays_samples"] = found.tolist()
    events.check_cancelled()
    events.progress(0.3, "coil sensitivities")
    maps = sensitivities(raw, coil_maps, device)
    info["coil_maps"] = coil_maps
    events.progress(1.0, "coil sensitivities")
    return Setup(raw, maps, info)


def without_delays(raw: RawData) -> tuple[RawData, np.ndarray]:
    """Raw data with every readout where it was asked to be, and the delays ``(2, 2)`` in samples.

    A delay along the spoke is undone in the data, by a phase across the projection, so that the
    spokes stay what fast transforms take. Where it moves spokes sideways by more than a quarter of
    a sample, the trajectory is corrected instead.
    """
    imaging = raw.imaging
    delays = estimate_delays(raw.kspace[imaging], raw.trajectory[imaging])
    along = directions(raw.trajectory)
    shift = along @ delays.T
    parallel = (shift * along).sum(-1)
    sideways = np.abs(shift - parallel[:, None] * along).max()
    if sideways > _SIDEWAYS:
        return replace(raw, trajectory=apply_delays(raw.trajectory, delays)), delays
    samples = raw.kspace.shape[-1]
    place = np.fft.fftfreq(samples)
    projections = np.fft.ifft(raw.kspace, axis=-1)
    # Measured at k + shift: moving the samples back is a ramp across the projection.
    projections *= np.exp(2j * np.pi * parallel[:, None] * place)[:, None, :]
    return replace(raw, kspace=np.fft.fft(projections, axis=-1).astype(np.complex64)), delays


def coil_images(raw: RawData, device: torch.device | str = "cpu") -> Tensor:
    """Density-compensated adjoint of all imaging spokes, coil by coil, ``(C, z, y, x)``.

    An image of the mean over time, in the units of the object.
    """
    imaging = raw.imaging
    grid = raw.grid.shape
    trajectory = torch.from_numpy(raw.trajectory[imaging]).to(device)
    partition = torch.from_numpy(raw.partition[imaging]).long().to(device)
    data = torch.from_numpy(raw.kspace[imaging].transpose(1, 0, 2).copy()).to(device)
    several = partition if grid[0] > 1 else None
    weights = radial_density(trajectory, several)
    even = torch.ones(len(trajectory), 1, device=device)
    alone = torch.ones(1, *grid, dtype=torch.complex64, device=device)
    operator = SubspaceOperator(trajectory, even, alone, several)
    images = torch.stack([operator.A_adjoint((one * weights)[None])[0] for one in data])
    return images / grid[0]


def sensitivities(raw: RawData, kind: str, device: torch.device | str = "cpu") -> Tensor:
    """Coil maps ``(C, z, y, x)`` from the centre of the k-space that all spokes share.

    Raises:
        BadInput: the matrix is too small for ESPIRiT's windows.
    """
    images = coil_images(raw, device)
    if raw.coils == 1:
        return torch.ones_like(images)
    size = min(24, *images.shape[-2:])
    calibration = centre_of_kspace(images, size)
    if kind == "walsh":
        return walsh_maps(low_resolution(calibration, tuple(images.shape[-2:])))
    return espirit_maps(calibration, tuple(images.shape[-2:]))[0]
