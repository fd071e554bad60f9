"""A simulated MR Multitasking scan, reconstructed here and by BART, against the truth.

    python Testing/benchmarks/multitasking.py [--rank 8] [--seed 0] [--bart] [--bart-lambda 0.0005]

Both get the same data, temporal basis (of the navigators, true bins) and true coil maps. Errors are
normalised root mean squares of the spatial factor against the truth projected on the basis, without
the corners of k-space that no spoke reaches (and with them); ours as it comes, and both after the
best complex factor, since BART scales its data. Images are a cardiac
cycle at end-expiration, at three inversion times; T1 of every tissue is in ms, median and
interquartile range. BART is timed as a command, files included; ours includes everything from the
raw samples on. `bart` (Debian's package) has to be on the path; without it ours is measured alone.
--json writes ratios of time and error. OMP_WAIT_POLICY is set to PASSIVE.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program's own processes do

import numpy as np
import torch
from measuring import Ratio, add_clock, clock_of, write_ratios
from peers import how_to_install

from mriforge import allocator
from mriforge.factors import Factors
from mriforge.io.bart import read_cfl, write_cfl
from mriforge.phantoms.multitasking import scan, subject
from mriforge.recon.encoding import Encoding
from mriforge.recon.spatial import Settings, spatial_factor
from mriforge.relaxometry.subspace import t1_from_factors
from mriforge.temporal.model import given_bins, temporal_model

INVERSIONS = (-1, 60, 120)
TISSUES = ("blood", "myocardium", "liver", "spleen", "muscle")


def error(found: np.ndarray, truth: np.ndarray, scaled: bool = True) -> float:
    if scaled:
        found = found * (np.vdot(found, truth) / np.vdot(found, found))
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def judged(spatial: np.ndarray, case: dict) -> dict:
    """Errors of factors, images and T1."""
    truth, model, raw = case["truth"], case["model"], case["raw"]
    spatial = spatial * (np.vdot(spatial, case["wanted"]) / np.vdot(spatial, spatial))
    times = np.asarray(model.bins.inversion_times_s)
    factors = Factors(spatial.astype(np.complex64), model.basis, raw.grid, times)
    phases = range(truth.bins[0])
    images = {}
    for inversion in INVERSIONS:
        found = np.stack([factors.frame(c, 0, inversion) for c in phases])
        images[f"{times[inversion] * 1000:.0f} ms"] = round(
            error(found, np.stack([truth.frame(c, 0, inversion) for c in phases]), False), 4
        )
    pulses = np.asarray(model.bins.pulses)
    t1 = t1_from_factors(factors, 0, 0, raw.repetition_s, raw.flip_deg, pulses).t1_ms
    tissue, wanted = truth.tissue(0, 0, 0.95), truth.t1_ms(0, 0, 0.95)
    found_t1 = {}
    for number, name in truth.labels.items():
        inside = tissue == number
        if name in TISSUES and inside.sum() > 20:
            low, middle, high = np.percentile(t1[inside], [25, 50, 75])
            found_t1[name] = [round(middle), round(high - low), round(float(wanted[inside][0]))]
    return {
        "factors": round(error(spatial, case["wanted"]), 4),
        "factors_with_corners": round(error(spatial, case["square"]), 4),
        "images": images,
        "t1": found_t1,
    }


def ours(case: dict, settings: Settings, clock: Callable[[], float]) -> dict:
    raw, model = case["raw"], case["model"]
    start = clock()
    imaging = raw.imaging
    frames = int(np.prod(model.bins.shape))
    encoding = Encoding(raw, model.weights(imaging), frames, case["maps"])
    with torch.inference_mode():
        result = spatial_factor(encoding, settings)
    seconds = clock() - start
    parts = {name: round(value, 2) for name, value in result.seconds.items()}
    found = result.factors.numpy()
    return {
        "seconds": round(seconds, 2),
        "parts": parts,
        "applications": result.info.get("applications"),
        "factors_unscaled": round(error(found, case["wanted"], False), 4),
        **judged(found, case),
    }


def bart(case: dict, strength: float, iterations: int, clock: Callable[[], float]) -> dict:
    raw, model = case["raw"], case["model"]
    imaging = raw.imaging
    ny, nx = raw.grid.shape[1:]
    readouts, coils, samples = raw.kspace[imaging].shape
    points = raw.trajectory[imaging] * np.array([nx, ny], np.float32)
    three = np.concatenate([points, np.zeros_like(points[..., :1])], -1)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        # BART's axes, reversed here: 0 read, 1 phase 1, 2 phase 2, 3 coil, 5 TE, 6 coefficient.
        write_cfl(base / "traj", three.reshape(readouts, 1, 1, 1, samples, 3).astype(np.complex64))
        data = raw.kspace[imaging].transpose(0, 1, 2).reshape(readouts, 1, coils, 1, samples, 1)
        write_cfl(base / "data", data)
        weights = model.weights(imaging).T.astype(np.complex64)
        write_cfl(base / "basis", weights.reshape(len(weights), readouts, 1, 1, 1, 1, 1))
        write_cfl(base / "maps", case["maps"].numpy().reshape(coils, 1, ny, nx))
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        names = [str(base / name) for name in ("traj", "basis", "data", "maps", "out")]
        start = clock()
        subprocess.run(
            ["bart", "pics", "-l1", "-r", str(strength), "-i", str(iterations), "-t", names[0],
             "-B", names[1], *names[2:]],
            check=True, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        seconds = clock() - start
        out = np.array(read_cfl(base / "out"))
    found = out.reshape(model.rank, 1, ny, nx)
    return {"seconds": round(seconds, 2), "lambda": strength, **judged(found, case)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--matrix", type=int, default=160)
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--inversions", type=int, default=24)
    parser.add_argument("--basis", default="navigator", choices=("navigator", "lrt"))
    parser.add_argument("--methods", default="gridding,admm")
    parser.add_argument("--bart", action="store_true")
    parser.add_argument("--bart-lambda", type=float, default=0.0005)
    parser.add_argument("--bart-iterations", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=1)
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    clock = clock_of(chosen)
    allocator.tune()
    size = {"matrix": chosen.matrix, "coils": chosen.coils, "inversions": chosen.inversions}
    raw, truth = scan(subject(chosen.seed), **size)
    bins = given_bins(raw, truth.cardiac, truth.respiratory, truth.bins[:2])
    model = temporal_model(raw, rank=chosen.rank, basis=chosen.basis, bins=bins)
    maps = torch.from_numpy(truth.coil_maps.astype(np.complex64))[:, None]
    case = {"raw": raw, "truth": truth, "model": model, "maps": maps}
    case["square"] = truth.project(model.basis)
    case["wanted"] = truth.seen_by_spokes(case["square"])
    setting = {key: value for key, value in vars(chosen).items() if key != "json"}
    print(json.dumps({"setting": setting, "truth in the basis": judged(case["wanted"], case)}))
    if chosen.bart and shutil.which("bart") is None:
        print(f"BART is not there: {how_to_install('bart')}")
        chosen.bart = False
    found: dict[str, list[dict]] = {}
    for _ in range(chosen.repeats):
        for method in chosen.methods.split(","):
            result = ours(case, Settings(method=method), clock)
            found.setdefault(method, []).append(result)
            print(json.dumps({method: result}), flush=True)
        if chosen.bart:
            result = bart(case, chosen.bart_lambda, chosen.bart_iterations, clock)
            found.setdefault("bart", []).append(result)
            print(json.dumps({"bart": result}), flush=True)
    write_ratios(chosen.json, ratios(found), {**setting, "figures": found})


def ratios(found: dict[str, list[dict]]) -> list[Ratio]:
    """Iterations beside BART's; none where only one of them ran."""
    if "bart" not in found or "admm" not in found:
        return []
    what = "Multitasking reconstruction (ADMM)"
    note = f"BART at lambda {found['bart'][0]['lambda']:g}, chosen for the standard subject"
    pairs = [
        [float(np.median([run[key] for run in found[side]])) for side in ("admm", "bart")]
        for key in ("seconds", "factors")
    ]
    return [
        Ratio(f"{what}: time", "BART pics -l1", "s", *pairs[0], note=note),
        Ratio(f"{what}: error of the factors", "BART pics -l1", "", *pairs[1], note=note),
    ]


if __name__ == "__main__":
    main()
