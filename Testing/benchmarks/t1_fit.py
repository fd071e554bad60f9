"""Time and agreement of the T1 fits of a pulse train, beside scipy's curve_fit.

    python Testing/benchmarks/t1_fit.py [--repeats 5] [--scipy 600] [--threads 1] [--cpu-time]
        [--json FILE]

One map of 160x160 voxels and 344 inversion times (TR 3.6 ms, 5 degrees, B = -0.95), T1 0.2 to
2.5 s, noise 1/20 of the steady signal of T1 1.2 s. In every round, in turn:

* scipy: ``curve_fit`` (Levenberg-Marquardt, its defaults, three parameters) of the first
  ``--scipy`` voxels; its time for the map is that time scaled to all voxels, which is said;
* series: ``fit_recovery`` of all 344 images;
* factors: ``t1_from_factors`` from 32 components: no image is formed;
* six: ``t1_from_coefficients`` from six coefficients of a dictionary (making them is not counted).

Medians over the rounds; deviations are from scipy's estimates run to tight tolerances.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from statistics import median

import numpy as np
from measuring import Ratio, add_clock, clock_of, write_ratios

SIDE, PULSES, TR, FLIP, INVERSION = 160, np.arange(344) * 2 + 1, 0.0036, 5.0, -0.95
RANK = 32


def data() -> tuple[np.ndarray, np.ndarray]:
    """Images ``(344, V)`` float32 and T1 ``(V,)`` in seconds."""
    from mriforge.relaxometry.signals import ir_flash, spoiled_gradient_echo

    random = np.random.default_rng(1)
    t1 = random.uniform(0.2, 2.5, SIDE * SIDE)
    clean = ir_flash(t1, PULSES, TR, FLIP, INVERSION).T
    sd = spoiled_gradient_echo(1.2, FLIP, TR) / 20
    return (clean + random.normal(0, sd, clean.shape)).astype(np.float32), t1


def scipy_fit(series: np.ndarray, voxels: int, **tolerances: float) -> np.ndarray:
    """T1 in ms of the first voxels."""
    from scipy.optimize import curve_fit

    cosine = np.cos(np.deg2rad(FLIP))

    def curve(n: np.ndarray, end: float, change: float, t1_s: float) -> np.ndarray:
        return end + change * (np.exp(-TR / t1_s) * cosine) ** n

    found = np.full(voxels, np.nan)
    for voxel in range(voxels):
        signal = series[:, voxel].astype(np.float64)
        try:
            best, _ = curve_fit(
                curve, PULSES, signal, (signal[-1], -2 * signal[-1], 1.0), **tolerances
            )
            found[voxel] = 1000 * best[2]
        except RuntimeError:
            continue
    return found


def factors_of(series: np.ndarray) -> object:
    """The series as a reconstruction has it: 32 real temporal components with orthonormal rows."""
    from mriforge.factors import Factors
    from mriforge.temporal.dictionary import relaxation_basis
    from mriforge.volume import Grid

    curves = relaxation_basis(PULSES, TR, FLIP, rank=12).vectors
    random = np.random.default_rng(2)
    rows = np.vstack([curves, random.normal(size=(RANK - 12, len(PULSES)))])
    frame = np.linalg.qr(rows.T)[0].T.astype(np.float32)
    spatial = (frame @ series).reshape(RANK, 1, SIDE, SIDE).astype(np.complex64)
    grid = Grid((1, SIDE, SIDE), (1.7, 1.7, 8.0), (0, 0, 0), tuple(np.eye(3).ravel()))
    return Factors(spatial, frame.reshape(RANK, 1, 1, -1), grid, PULSES * TR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scipy", type=int, default=600)
    parser.add_argument("--threads", type=int, default=1)
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clock = clock_of(arguments)
    import torch

    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    from mriforge.relaxometry.models import RecoveryModel
    from mriforge.relaxometry.recovery import fit_recovery
    from mriforge.relaxometry.subspace import t1_from_coefficients, t1_from_factors
    from mriforge.temporal.dictionary import relaxation_basis

    series, t1 = data()
    model = RecoveryModel("irflash", repetition_s=TR, flip_deg=FLIP)
    factors = factors_of(series)
    basis = relaxation_basis(PULSES, TR, FLIP, rank=6).vectors
    six = (basis @ series).astype(np.float32)
    ways = {
        "scipy": lambda: scipy_fit(series, arguments.scipy),
        "series": lambda: fit_recovery(series, PULSES * TR, model, "real"),
        "factors": lambda: t1_from_factors(factors, 0, 0, TR, FLIP, PULSES),
        "six": lambda: t1_from_coefficients(six, basis, PULSES, model),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name in ("series", "factors", "six"):
        ways[name]()
    results = {}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            start = clock()
            results[name] = way()
            seconds[name].append(clock() - start)
    seconds["scipy"] = [s * SIDE * SIDE / arguments.scipy for s in seconds["scipy"]]
    exact = scipy_fit(series, arguments.scipy, ftol=1e-13, xtol=1e-13)
    report(seconds, results, exact, t1)
    middle = {name: median(taken) for name, taken in seconds.items()}
    setting = {key: getattr(arguments, key) for key in ("repeats", "scipy", "threads", "cpu_time")}
    write_ratios(arguments.json, ratios(middle), setting)


def ratios(seconds: dict[str, float]) -> list[Ratio]:
    """Every fit of ours beside scipy's."""
    ways = {"series": "whole series", "factors": "from factors", "six": "from six coefficients"}
    return [
        Ratio(f"T1 map, {way}: time", "SciPy curve_fit", "s", seconds[name], seconds["scipy"],
              note="SciPy timed on some voxels and multiplied")
        for name, way in ways.items()
    ]  # fmt: skip


def report(seconds: dict, results: dict, exact: np.ndarray, t1: np.ndarray) -> None:
    """The Markdown table."""
    count = len(exact)
    print("| fit | s per map | times scipy | median deviation | largest, s | bias % | SD % |")
    print("|-|-|-|-|-|-|-|")
    for name, taken in seconds.items():
        if name == "scipy":
            found = results["scipy"]
        else:
            found = np.where(results[name].fitted, results[name].t1_ms, np.nan).ravel()
        away = np.abs(found[:count] - exact)
        wrong = 100 * (found / 1000 / t1[: len(found)] - 1)
        ratio = median(seconds["scipy"]) / median(taken)
        print(
            f"| {name} | {median(taken):.4f} | {ratio:.1f} | {np.nanmedian(away / exact):.1e} "
            f"| {np.nanmax(away) / 1000:.1e} | {np.nanmean(wrong):+.2f} | {np.nanstd(wrong):.2f} |"
        )
    print(f"\nscipy: measured on {count} voxels and scaled to {len(t1)}.")


if __name__ == "__main__":
    main()
