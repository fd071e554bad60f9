"""The job: raw data in; factors, a T1 map and a report out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mriforge import __version__
from mriforge.device import choose_device, describe, free_memory
from mriforge.errors import BadInput
from mriforge.events import Events, plain
from mriforge.factors import Factors
from mriforge.io.atomic import atomic_path
from mriforge.rawdata import RawData
from mriforge.recon.encoding import Encoding, check_memory
from mriforge.recon.setup import Setup, prepare
from mriforge.recon.spatial import Settings, Spatial, spatial_factor
from mriforge.relaxometry.result import T1Map
from mriforge.relaxometry.subspace import t1_from_factors
from mriforge.temporal.binning import Bins
from mriforge.temporal.model import TemporalModel, temporal_model
from mriforge.volume import Volume

_BODY = 0.05
"""T1 is fitted where the mean image has this part of its brightest percent."""


@dataclass(frozen=True)
class ReconOptions:
    """What to do with raw data.

    Attributes:
        spatial: how the spatial factor is found.
        rank: components L.
        cardiac, respiratory, inversion: number of bins; ``inversion`` None for all.
        basis: ``lrt`` or ``navigator``, see :func:`mriforge.temporal.model.temporal_model`.
        coil_maps, coils, delays: see :func:`mriforge.recon.setup.prepare`.
        t1: cardiac and respiratory phase of the T1 map, or None for no map.
        memory_gib: limit of main memory.
        device: ``auto``, ``cpu``, ``cuda``, ...
        bins: known bins of all readouts, instead of self-gating.
    """

    spatial: Settings = field(default_factory=Settings)
    rank: int = 32
    cardiac: int = 20
    respiratory: int = 6
    inversion: int | None = None
    basis: str = "lrt"
    coil_maps: str = "espirit"
    coils: int | None = None
    delays: bool = False
    t1: tuple[int, int] | None = (0, 0)
    memory_gib: float | None = None
    device: str = "auto"
    bins: Bins | None = None


@dataclass(frozen=True)
class Reconstruction:
    """What came out.

    Attributes:
        factors: spatial and temporal factors, of which every frame is made.
        t1: the map, or None.
        setup, model, spatial: how it came about.
        seconds: by stage.
        info: settings and figures, JSON types only.
    """

    factors: Factors
    t1: T1Map | None
    setup: Setup
    model: TemporalModel
    spatial: Spatial
    seconds: dict[str, float]
    info: dict[str, Any]


def reconstruct_raw(
    raw: RawData, options: ReconOptions | None = None, events: Events | None = None
) -> Reconstruction:
    """Factors and T1 map of free-breathing, ungated radial raw data with navigators.

    Args:
        raw: not modified.
        options: see :class:`ReconOptions`.
        events: progress, metrics of each iteration, cancel at any stage.

    Raises:
        BadInput: data that cannot be used, or settings that do not fit them or the memory.
        Cancelled: the caller asked to stop.
    """
    options, events = options or ReconOptions(), events or Events()
    device = choose_device(options.device)
    _check_memory(raw, options, device)
    clock = _Clock()
    setup = prepare(
        raw,
        coils=options.coils,
        coil_maps=options.coil_maps,
        delays=options.delays,
        device=device,
        events=events.part(0.0, 0.1),
    )
    clock.stop("coils")
    model = temporal_model(
        setup.raw,
        options.cardiac,
        options.respiratory,
        options.inversion,
        options.rank,
        options.basis,
        options.bins,
        events.part(0.1, 0.25),
    )
    clock.stop("temporal model")
    used = setup.raw.imaging & model.bins.valid
    encoding = Encoding(
        setup.raw.take(used), model.weights(used), int(np.prod(model.bins.shape)), setup.maps
    )
    with torch.inference_mode():
        spatial = spatial_factor(encoding, options.spatial, events.part(0.25, 0.9))
    clock.seconds |= spatial.seconds
    clock.restart()
    info = _info(raw, options, setup, model, spatial, device, int(used.sum()))
    factors = Factors(
        spatial.factors.cpu().numpy(),
        model.basis,
        raw.grid,
        np.asarray(model.bins.inversion_times_s),
        info,
    )
    t1 = None
    if options.t1 is not None:
        events.progress(0.9, "T1 map")
        t1 = _t1(factors, options.t1, raw, model, device, events.part(0.9, 1.0))
        info["t1_voxels"] = t1.counts()
        clock.stop("T1 map")
    info["seconds"] = {name: round(value, 3) for name, value in clock.seconds.items()}
    return Reconstruction(factors, t1, setup, model, spatial, clock.seconds, plain(info))


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        self._start = time.perf_counter()

    def stop(self, name: str) -> None:
        self.seconds[name] = time.perf_counter() - self._start
        self.restart()


def _check_memory(raw: RawData, options: ReconOptions, device: torch.device) -> None:
    spatial = options.spatial
    if spatial.method == "gridding" or (spatial.method == "malibu" and not spatial.consistency):
        return
    limit = options.memory_gib
    available = free_memory(device) if limit is None else int(limit * 2**30)
    coils = min(raw.coils, options.coils or raw.coils)
    check_memory(options.rank, raw.grid.shape, coils, available, limit is not None)


def _t1(
    factors: Factors,
    phases: tuple[int, int],
    raw: RawData,
    model: TemporalModel,
    device: torch.device,
    events: Events,
) -> T1Map:
    cardiac, respiratory = phases
    shown = np.abs(factors.line("inversion", cardiac, respiratory, step=8)).mean(0)
    body = shown > _BODY * np.percentile(shown, 99)
    return t1_from_factors(
        factors,
        cardiac,
        respiratory,
        raw.repetition_s,
        raw.flip_deg,
        np.asarray(model.bins.pulses),
        body,
        device=device,
        events=events,
    )


def _info(
    raw: RawData,
    options: ReconOptions,
    setup: Setup,
    model: TemporalModel,
    spatial: Spatial,
    device: torch.device,
    readouts: int,
) -> dict[str, Any]:
    settings = vars(options) | {"spatial": vars(options.spatial)}
    settings.pop("bins")
    return plain(
        {
            "program": f"MRIForge {__version__}",
            "note": "For research use only.",
            "settings": settings,
            "bins_given": options.bins is not None,
            "readouts": {"all": len(raw.kspace), "imaging_used": readouts},
            "repetition_s": raw.repetition_s,
            "flip_deg": raw.flip_deg,
            "pulses": np.asarray(model.bins.pulses).tolist(),
            "device": describe(device),
            "setup": setup.info,
            "temporal": dict(model.info),
            "spatial": spatial.info,
        }
    )


def write_results(
    result: Reconstruction, folder: str | Path, source: str, report: bool = True
) -> dict[str, str]:
    """Writes ``factors.npz``, ``t1_ms.nii.gz``, ``t1_quality.nii.gz``, ``recon.json``, a report.

    Each file is written beside its name and renamed when whole.

    Returns:
        paths by kind.
    """
    from mriforge.io import write

    folder = Path(folder)
    paths = {"factors": folder / "factors.npz"}
    info = {**result.info, "input": source}
    with atomic_path(paths["factors"]) as partial:
        replace(result.factors, info=info).save(partial)
    if result.t1 is not None:
        about = {"unit": "ms", "input": source, **result.t1.info}
        for kind, voxels in (("t1", result.t1.t1_ms), ("t1_quality", result.t1.quality())):
            paths[kind] = folder / ("t1_ms.nii.gz" if kind == "t1" else "t1_quality.nii.gz")
            write(Volume(voxels, result.factors.grid, about), paths[kind])
    paths["json"] = folder / "recon.json"
    with atomic_path(paths["json"]) as partial:
        partial.write_text(json.dumps(info, indent=2), encoding="utf-8")
    if report:
        from mriforge.report.recon import recon_report

        paths["report"] = recon_report(result, source).write(folder / "report.html")
    return {kind: str(path) for kind, path in paths.items()}


def read_raw(path: str, slice_number: int | None, events: Events) -> RawData:
    """ISMRMRD, or a BART array with its trajectory and description.

    Raises:
        BadInput: neither, damaged, Cartesian, or without what a reconstruction needs.
    """
    name = path.lower()
    if name.endswith((".cfl", ".hdr")):
        from mriforge.io.bart import read_radial

        return read_radial(path)
    if Path(path).is_dir():
        raise BadInput(f"{path} is a folder.", "Give the raw data file, an ISMRMRD .h5 file.")
    if name.endswith(".npy"):
        raise BadInput(
            f"{path} holds no trajectory and no times.",
            "Give an ISMRMRD file; Cartesian k-space in .npy takes --method sense.",
        )
    from mriforge.io.ismrmrd import read_ismrmrd

    return read_ismrmrd(path, slice_number=slice_number, events=events)


def as_result(result: Reconstruction, paths: Mapping[str, str]) -> dict[str, Any]:
    """What a command answers: paths and figures."""
    return {
        **paths,
        "seconds": result.info["seconds"],
        "bins": list(result.factors.bins),
        "rank": result.factors.rank,
        "frames": result.factors.frames,
        **{k: v for k, v in result.spatial.info.items() if k in ("residual", "applications")},
    }
