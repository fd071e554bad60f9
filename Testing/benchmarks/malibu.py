"""MALIBU beside gridding and iterations on simulated subjects that no network has seen.

    python Testing/benchmarks/malibu.py [--subjects 4] [--models mdcn_small] [--consistency 0,1,4]

For each subject (seeds from 500 on; training sets begin at 100,000): errors of the spatial factor
against the truth and against the iterations, of a cardiac cycle at end-expiration with bright and
dark blood (NRMSE, PSNR, SSIM), T1 by regions with Bland-Altman statistics, and seconds by stage.
Temporal basis of the navigators with true bins, true coil maps, the same for all methods. The
published setting of the iterations, 20 x 20 with explicit transforms, is timed by a few of its
applications and multiplied (said in the output); with --published-applications 0 it is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program's own processes do

import numpy as np
import torch

from mriforge import allocator
from mriforge.factors import Factors
from mriforge.metrics.agreement import agreement
from mriforge.metrics.similarity import psnr
from mriforge.metrics.ssim import ssim
from mriforge.phantoms.multitasking import scan, subject
from mriforge.recon.encoding import Encoding
from mriforge.recon.spatial import Settings, spatial_factor
from mriforge.relaxometry.subspace import t1_from_factors
from mriforge.temporal.model import given_bins, temporal_model

FIRST = 500
TISSUES = ("blood", "myocardium", "liver", "spleen", "muscle")


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def cine_figures(factors: Factors, truth: Factors, inversion: int) -> dict[str, float]:
    found = np.abs(factors.line("cardiac", 0, 0, inversion))[:, 0]
    wanted = np.abs(truth.line("cardiac", 0, 0, inversion))[:, 0]
    span = float(wanted.max())
    alike = [ssim(a, b, data_range=span)[0] for a, b in zip(found, wanted, strict=True)]
    return {
        "nrmse": error(found, wanted),
        "psnr": psnr(found, wanted, data_range=span),
        "ssim": float(np.mean(alike)),
    }


def dark_blood(truth) -> int:
    """The inversion time at which blood has least signal."""
    return int(np.abs(truth.signals[truth.tissues.index("blood")]).argmin())


class Subject:
    """One simulated scan, its truth within the basis, and the methods' results."""

    def __init__(self, seed: int, rank: int, size: dict) -> None:
        self.raw, self.truth = scan(subject(seed), **size)
        bins = given_bins(self.raw, self.truth.cardiac, self.truth.respiratory, self.truth.bins[:2])
        self.model = temporal_model(self.raw, rank=rank, bins=bins)
        maps = torch.from_numpy(self.truth.coil_maps.astype(np.complex64))[:, None]
        frames = int(np.prod(bins.shape))
        weights = self.model.weights(self.raw.imaging)
        self.make = lambda: Encoding(self.raw, weights, frames, maps)
        self.wanted = self.truth.seen_by_spokes(self.truth.project(self.model.basis))

    def factors(self, spatial: np.ndarray) -> Factors:
        times = np.asarray(self.model.bins.inversion_times_s)
        return Factors(spatial, self.model.basis, self.raw.grid, times)

    def t1(self, factors: Factors) -> dict[str, float]:
        pulses = np.asarray(self.model.bins.pulses)
        found = t1_from_factors(factors, 0, 0, self.raw.repetition_s, self.raw.flip_deg, pulses)
        tissue = self.truth.tissue(0, 0, 0.95)
        regions = {}
        for number, name in self.truth.labels.items():
            inside = (tissue == number) & found.fitted
            if name in TISSUES and inside.sum() > 20:
                regions[name] = float(np.median(found.t1_ms[inside]))
        return regions

    def true_t1(self) -> dict[str, float]:
        return {n: t * 1000 for n, t in zip(self.truth.tissues, self.truth.t1_s, strict=True)}


def published_seconds(encoding: Encoding, applications: int) -> float | None:
    """20 x 20 conjugate-gradient steps with explicit transforms, from some of one component."""
    if not applications:
        return None
    operator = encoding.operator
    some = type(operator)(operator.trajectory, operator.weights[:, :1], operator.maps,
                          tolerance=1e-4, radial=False)  # fmt: skip
    image = torch.ones(1, *operator.maps.shape[1:], dtype=torch.complex64)
    some.A_adjoint(some.A(image))
    start = time.perf_counter()
    for _ in range(applications):
        some.A_adjoint(some.A(image))
    each = (time.perf_counter() - start) / applications
    return each * operator.rank * 20 * 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--models", default="mdcn_small")
    parser.add_argument("--consistency", default="0,1,4")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--matrix", type=int, default=160)
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--inversions", type=int, default=24)
    parser.add_argument("--published-applications", type=int, default=1)
    chosen = parser.parse_args()
    allocator.tune()
    size = {"matrix": chosen.matrix, "coils": chosen.coils, "inversions": chosen.inversions}
    methods = {"gridding": Settings(method="gridding"), "iterative": Settings()}
    for model in chosen.models.split(","):
        for steps in map(int, chosen.consistency.split(",")):
            name = model + (f" + {steps} iterations" if steps else "")
            methods[name] = Settings(method="malibu", model=model, consistency=steps)
    table: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    t1: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(FIRST, FIRST + chosen.subjects):
        who = Subject(seed, chosen.rank, size)
        truth = who.factors(who.wanted)
        iterated = None
        for name, settings in methods.items():
            encoding = who.make()
            with torch.inference_mode():
                result = spatial_factor(encoding, settings)
            found = result.factors.numpy()
            iterated = found if name == "iterative" else iterated
            factors, row = who.factors(found), table[name]
            row["factors"].append(error(found, who.wanted))
            if iterated is not None and name != "iterative":
                row["factors_to_iterative"].append(error(found, iterated))
            for blood, inversion in (("bright", -1), ("dark", dark_blood(who.truth))):
                for key, value in cine_figures(factors, truth, inversion).items():
                    row[f"{blood}_{key}"].append(value)
            for stage, seconds in result.seconds.items():
                row[f"s_{stage}"].append(seconds)
            for region, value in who.t1(factors).items():
                t1[name][region].append(value - who.true_t1()[region])
                t1[name]["found"].append(value)
                t1[name]["true"].append(who.true_t1()[region])
            shown = {k: round(v[-1], 4) for k, v in row.items()}
            print(json.dumps({"subject": seed, name: shown}), flush=True)
    published = published_seconds(who.make(), chosen.published_applications)
    print(json.dumps({"published_setting_s_extrapolated": published}))
    for name, row in table.items():
        print(json.dumps({name: {k: round(float(np.mean(v)), 4) for k, v in row.items()}}))
        regions = t1[name]
        pairs = agreement(np.array(regions.pop("found")), np.array(regions.pop("true")))
        shown = {
            "bias": round(pairs.bias, 1),
            "limits": [round(x, 1) for x in pairs.limits],
            "p_t": round(pairs.tests.t_p, 4),
            "p_wilcoxon": round(pairs.tests.wilcoxon_p, 4),
            "r": round(pairs.pearson, 4),
            "n": pairs.n,
        }
        print(json.dumps({f"{name}, T1 of regions against truth (ms)": shown}))
        print(json.dumps({k: [round(x) for x in v] for k, v in regions.items()}))


if __name__ == "__main__":
    main()
