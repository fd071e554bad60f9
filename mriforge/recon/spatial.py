"""The spatial factor: gridded, iterated, or by a network. One function for each method."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mriforge.events import Events
from mriforge.recon.encoding import Encoding, first, last
from mriforge.recon.solvers import Problem, Progress, admm, fista
from mriforge.recon.sparsity import WaveletSparsity, sparsity_named

COUPLING = 0.004
"""``rho`` relative to the largest eigenvalue of the normal operator. [M]"""
FISTA_PER_OUTER = 8
METHODS = ("gridding", "admm", "fista", "malibu")


@dataclass(frozen=True)
class Settings:
    """How to find the spatial factor.

    Attributes:
        method: one of :data:`METHODS`.
        sparsity: one of :data:`mriforge.recon.sparsity.KINDS`.
        regularisation: threshold relative to the largest value of a first estimate.
        outer, inner, tolerance: of the iterations.
        model: a trained model, for ``malibu``: a name or a folder.
        consistency: ADMM iterations after the network, which start from what it gave.
    """

    method: str = "admm"
    sparsity: str = "wavelet+llr"
    regularisation: float = 0.005
    outer: int = 8
    inner: int = 3
    tolerance: float = 4e-3
    model: str = "mdcn_small"
    consistency: int = 0


@dataclass
class Spatial:
    """What came out.

    Attributes:
        factors: ``(L, z, y, x)`` complex64, on the device of the encoding.
        progress: of the iterations, if there were any.
        seconds: by stage; set-up and iterations apart.
        info: settings and figures, JSON types only.
    """

    factors: Tensor
    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


class Watch:
    """Adds up the time of named stages."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    def __call__(self, name: str, make: Any) -> Any:
        """Calls ``make`` and counts its time as ``name``."""
        start = time.perf_counter()
        result = make()
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start
        return result


def spatial_factor(encoding: Encoding, settings: Settings, events: Events | None = None) -> Spatial:
    """The spatial factor of one acquisition.

    Raises:
        BadInput, MissingModel: the model is unknown, or of another rank.
        Cancelled: between any two applications of the operator.
    """
    events = events or Events()
    if settings.method == "gridding":
        return _gridding(encoding, events)
    if settings.method == "malibu":
        return _malibu(encoding, settings, events)
    return _iterative(encoding, settings, events)


def _gridding(encoding: Encoding, events: Events) -> Spatial:
    result = Spatial(torch.empty(0))
    events.progress(0.0, "gridding")
    result.factors = Watch(result.seconds)("adjoint", lambda: encoding.gridded)
    events.progress(1.0, "gridding")
    return result


def _set_up(encoding: Encoding, watch: Watch, events: Events) -> None:
    events.progress(0.0, "adjoint")
    watch("adjoint", lambda: encoding.target)
    events.check_cancelled()
    events.progress(0.2, "normal operator")
    watch("normal operator", lambda: encoding.normal)
    events.check_cancelled()


def _problem(encoding: Encoding, total: int, events: Events) -> Problem:
    """Least squares that report each outer iteration and can be cancelled in between."""

    def report(estimate: Tensor, progress: Progress) -> None:
        number = len(progress.changes)
        events.metric(
            iteration=number, residual=progress.costs[-1] ** 0.5, change=progress.changes[-1]
        )
        events.progress(0.4 + 0.6 * number / total, f"iteration {number}")

    return Problem(
        encoding.normal, encoding.target, encoding.data_energy, report, events.check_cancelled
    )


def size_of(encoding: Encoding) -> float:
    """The unit of thresholds: largest value of the preconditioned adjoint, which costs little."""
    weight = COUPLING * encoding.normal.lipschitz
    return float(encoding.normal.preconditioner(weight)(encoding.target).abs().max())


def _admm(
    encoding: Encoding,
    settings: Settings,
    watch: Watch,
    outer: int,
    events: Events,
    start: Tensor | None = None,
) -> tuple[Tensor, Progress, float]:
    threshold = settings.regularisation * watch("iterations", lambda: size_of(encoding))
    problem = _problem(encoding, outer, events)
    factors, progress = watch(
        "iterations",
        lambda: admm(
            problem,
            sparsity_named(settings.sparsity, tuple(encoding.maps.shape[1:])),
            threshold,
            outer=outer,
            inner=settings.inner,
            coupling=COUPLING,
            tolerance=settings.tolerance,
            start=start,
        ),
    )
    return factors, progress, threshold


def _fista(
    encoding: Encoding, settings: Settings, watch: Watch, events: Events
) -> tuple[Tensor, Progress, float]:
    threshold = settings.regularisation * watch("iterations", lambda: size_of(encoding))
    count = FISTA_PER_OUTER * settings.outer
    problem = _problem(encoding, count, events)
    grid = tuple(encoding.maps.shape[1:])
    sparsity = sparsity_named(settings.sparsity, grid)
    factors, progress = watch(
        "iterations",
        lambda: fista(
            problem,
            sparsity or WaveletSparsity(grid),
            threshold * COUPLING if sparsity else 0.0,
            iterations=count,
            tolerance=settings.tolerance / FISTA_PER_OUTER,
        ),
    )
    return factors, progress, threshold


def _keep(result: Spatial, found: tuple[Tensor, Progress, float]) -> None:
    factors, progress, threshold = found
    result.factors, result.progress = first(factors), progress
    result.info |= {
        "threshold": threshold,
        "applications": progress.applications,
        "residual": progress.costs[-1] ** 0.5,
        "change": progress.changes[-1],
    }


def _iterative(encoding: Encoding, settings: Settings, events: Events) -> Spatial:
    result = Spatial(torch.empty(0))
    watch = Watch(result.seconds)
    _set_up(encoding, watch, events)
    events.progress(0.4, "iterations")
    if settings.method == "admm":
        _keep(result, _admm(encoding, settings, watch, settings.outer, events))
    else:
        _keep(result, _fista(encoding, settings, watch, events))
    return result


def _malibu(encoding: Encoding, settings: Settings, events: Events) -> Spatial:
    from mriforge.recon.malibu import apply_malibu, load_malibu

    result = Spatial(torch.empty(0))
    watch = Watch(result.seconds)
    model = load_malibu(settings.model, encoding.rank, encoding.maps.device)
    events.progress(0.0, "adjoint")
    gridded = watch("adjoint", lambda: encoding.gridded)
    events.check_cancelled()
    events.progress(0.3, "network")
    factors = watch("network", lambda: apply_malibu(model, gridded, events.part(0.3, 0.5)))
    result.factors, result.info = factors, {"model": model.card_summary()}
    if settings.consistency:
        rest = events.part(0.5, 1.0)
        _set_up(encoding, watch, rest)
        _keep(result, _admm(encoding, settings, watch, settings.consistency, rest, last(factors)))
    return result
