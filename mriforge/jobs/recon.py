"""Reconstruct free-breathing MR Multitasking raw data: factors, sequences, a T1 map, a report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from mriforge.events import Events
from mriforge.io.atomic import check_writable
from mriforge.jobs.images import about
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``recon``."""

    input: str = option(
        "input", "raw data (ISMRMRD .h5, BART .cfl; sense: also .npy)", positional="RAW"
    )
    output: str = option("folder", "folder of the results", positional="OUTDIR")
    method: str = option(
        "text",
        "gridding, iterations, a network; or sense, for Cartesian k-space",
        default="admm",
        choices=("gridding", "admm", "fista", "malibu", "sense"),
    )
    model: str = option("text", "trained model of malibu", default="mdcn_small", metavar="NAME|DIR")
    slice: int | None = option("integer", "which slice of several", default=None, at_least=0)
    rank: int = option("integer", "components L of the subspace", default=32, at_least=1)
    cardiac: int = option("integer", "cardiac phases", default=20, at_least=1)
    respiratory: int = option("integer", "respiratory phases", default=6, at_least=1)
    inversion: int | None = option(
        "integer", "inversion times (default: all)", default=None, at_least=1
    )
    basis: str = option(
        "text",
        "how the temporal basis is found",
        default="lrt",
        choices=("lrt", "completion", "navigator"),
    )
    sparsity: str = option(
        "text",
        "what is sparse",
        default="wavelet+llr",
        choices=("wavelet+llr", "wavelet", "tv", "llr", "none"),
    )
    regularisation: float = option(
        "number", "strength, relative to the data", default=0.005, at_least=0, metavar="LAMBDA"
    )
    outer: int = option("integer", "outer iterations", default=8, at_least=1)
    inner: int = option("integer", "conjugate-gradient steps in each", default=3, at_least=1)
    tolerance: float = option("number", "stop at this relative change", default=4e-3, at_least=0)
    consistency: int = option(
        "integer", "iterations after the network, from its answer", default=0, at_least=0
    )
    coil_maps: str = option(
        "text", "how coil sensitivities are found", default="espirit", choices=("espirit", "walsh")
    )
    coils: int | None = option(
        "integer", "compress to this many virtual coils", default=None, at_least=1
    )
    delays: bool = option("flag", "estimate and correct gradient delays", default=False)
    t1: bool = option("flag", "make a T1 map", default=True)
    t1_cardiac: int = option("integer", "cardiac phase of the T1 map", default=0, at_least=0)
    t1_respiratory: int = option(
        "integer", "respiratory phase of the T1 map", default=0, at_least=0
    )
    report: bool = option("flag", "write report.html", default=True)
    memory: float | None = option("number", "GiB at most", default=None, above=0, metavar="GIB")
    device: str = option("device", "auto, cpu, cuda or mps", default="auto")


def check(options: Options) -> None:
    """The folder of the results has to be writable."""
    for name in ("factors.npz", "recon.json"):
        check_writable(os.path.join(options.output, name))


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, finds the temporal model, reconstructs, maps T1, writes; returns paths and figures."""
    from mriforge.recon.job import (
        ReconOptions,
        as_result,
        read_raw,
        reconstruct_raw,
        write_results,
    )
    from mriforge.recon.spatial import Settings

    if options.method == "sense":
        return _cartesian(options, events)
    events.progress(0.0, f"reading {options.input}")
    raw = read_raw(options.input, options.slice, events.part(0.0, 0.05))
    chosen = vars(options)
    spatial = Settings(**{name: chosen[name] for name in vars(Settings()) if name in chosen})
    settings = ReconOptions(
        spatial=spatial,
        rank=options.rank,
        cardiac=options.cardiac,
        respiratory=options.respiratory,
        inversion=options.inversion,
        basis=options.basis,
        coil_maps=options.coil_maps,
        coils=options.coils,
        delays=options.delays,
        t1=(options.t1_cardiac, options.t1_respiratory) if options.t1 else None,
        memory_gib=options.memory,
        device=options.device,
    )
    with about(options.input):
        result = reconstruct_raw(raw, settings, events.part(0.05, 0.97))
    events.check_cancelled()
    events.progress(0.97, f"writing {options.output}")
    report = options.report and find_spec("matplotlib") is not None
    if options.report and not report:
        events.log("No report: matplotlib is not installed (pip install 'mriforge[report]').")
    paths = write_results(result, options.output, options.input, report)
    events.progress(1.0, "done")
    return {"output": options.output, **as_result(result, paths)}


def _cartesian(options: Options, events: Events) -> dict[str, Any]:
    from mriforge.device import choose_device
    from mriforge.recon.cartesian_job import reconstruct_cartesian_file

    with about(options.input):
        return reconstruct_cartesian_file(
            options.input,
            options.output,
            coil_maps=options.coil_maps,
            device=choose_device(options.device),
            events=events,
        )
