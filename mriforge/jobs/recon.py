"""Reconstruct free-breathing MR Multitasking raw data: factors, sequences, a T1 map, a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mriforge.events import Events
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``recon``."""

    input: str = option("input", "raw data (ISMRMRD .h5, or BART .cfl)", positional="RAW")
    output: str = option("folder", "folder of the results", positional="OUTDIR")
    method: str = option(
        "text",
        "gridding, iterations, or a network",
        default="admm",
        choices=("gridding", "admm", "fista", "malibu"),
    )
    model: str = option("text", "trained model of malibu", default="mdcn_small", metavar="NAME|DIR")
    rank: int = option("integer", "components L of the subspace", default=32, at_least=1)
    cardiac: int = option("integer", "cardiac phases", default=20, at_least=1)
    respiratory: int = option("integer", "respiratory phases", default=6, at_least=1)
    inversion: int | None = option(
        "integer", "inversion times (default: all)", default=None, at_least=1
    )
    basis: str = option(
        "text", "how the temporal basis is found", default="lrt", choices=("navigator", "lrt")
    )
    sparsity: str = option(
        "text",
        "what is sparse",
        default="wavelet+llr",
        choices=("wavelet+llr", "wavelet", "tv", "llr", "none"),
    )
    regularisation: float = option(
        "number", "strength, relative to the data", default=0.006, at_least=0, metavar="LAMBDA"
    )
    outer: int = option("integer", "outer iterations", default=8, at_least=1)
    inner: int = option("integer", "conjugate-gradient steps in each", default=3, at_least=1)
    tolerance: float = option("number", "stop at this relative change", default=1e-3, at_least=0)
    consistency: int = option(
        "integer", "data-consistency steps after the network", default=0, at_least=0
    )
    coil_maps: str = option(
        "text", "how coil sensitivities are found", default="espirit", choices=("espirit", "walsh")
    )
    coils: int | None = option(
        "integer", "compress to this many virtual coils", default=None, at_least=1
    )
    t1: bool = option("flag", "make a T1 map", default=True)
    memory: float | None = option("number", "GiB at most", default=None, above=0, metavar="GIB")
    device: str = option("device", "auto, cpu, cuda or mps", default="auto")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, finds the temporal model, reconstructs, maps T1, writes."""
    from mriforge.recon.job import reconstruct

    return reconstruct(options, events)
