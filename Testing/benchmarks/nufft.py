"""Non-uniform Fourier transforms beside finufft and torchkbnufft: time and error, in one run.

Run: ``python Testing/benchmarks/nufft.py [--threads 1] [--repeats 5] [--spokes 2000]
[--cpu-time] [--json FILE]``. All get the same single-precision images of 10 coils (160 x 160) and
the same golden-angle spokes of 320 samples. Rounds alternate and medians are compared; setting up
(plans, tables, first call) is counted apart. Errors are those of the exact
transform at 2000 of the samples.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from measuring import Ratio, add_clock, clock_of, write_ratios

from mriforge.physics.nufft import Nufft
from mriforge.physics.trajectory import golden_angles, radial

COILS, SIZE, SAMPLES = 10, 160, 320
Pair = tuple[Callable, Callable]


def own(trajectory: torch.Tensor, backend: str) -> Pair:
    nufft = Nufft(trajectory, (SIZE, SIZE), 1e-4, backend)
    return nufft.forward, nufft.adjoint


def finufft_itself(trajectory: torch.Tensor) -> Pair:
    import finufft

    x, y = (2 * torch.pi * trajectory.reshape(-1, 2).T).contiguous().numpy()
    plans = []
    for kind, sign in ((2, -1), (1, 1)):
        plan = finufft.Plan(
            kind,
            (SIZE, SIZE),
            n_trans=COILS,
            eps=1e-4,
            isign=sign,
            dtype="complex64",
            nthreads=torch.get_num_threads(),
        )
        plan.setpts(y, x)
        plans.append(plan)
    return tuple(
        lambda values, plan=plan: torch.from_numpy(plan.execute(values.numpy())) for plan in plans
    )


def torchkbnufft_table(trajectory: torch.Tensor) -> Pair:
    import torchkbnufft

    omega = 2 * torch.pi * trajectory.reshape(-1, 2).T.flip(0).contiguous()
    there = torchkbnufft.KbNufft((SIZE, SIZE), dtype=torch.complex64)
    back = torchkbnufft.KbNufftAdjoint((SIZE, SIZE), dtype=torch.complex64)
    return lambda x: there(x[None], omega)[0], lambda d: back(d[None], omega)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--spokes", type=int, default=2000)
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clock = clock_of(options)
    torch.set_num_threads(options.threads)
    trajectory = torch.from_numpy(radial(golden_angles(options.spokes), SAMPLES))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(COILS, SIZE, SIZE, dtype=torch.complex64, generator=generator)
    some = torch.randperm(options.spokes * SAMPLES, generator=generator)[:2000]
    exact = Nufft(trajectory.reshape(-1, 2)[some], (SIZE, SIZE), backend="exact").forward(images)

    makers = {"gridding": lambda: own(trajectory, "gridding")}
    if importlib.util.find_spec("finufft"):
        makers["Nufft(finufft)"] = lambda: own(trajectory, "finufft")
        makers["finufft"] = lambda: finufft_itself(trajectory)
    if importlib.util.find_spec("torchkbnufft"):
        makers["torchkbnufft"] = lambda: torchkbnufft_table(trajectory)
    sides, setup, error, times = {}, {}, {}, {name: ([], []) for name in makers}
    for name, make in makers.items():
        start = clock()
        sides[name] = make()
        data = sides[name][0](images)
        sides[name][1](data)
        setup[name] = clock() - start
        error[name] = float((data[:, some] - exact).norm() / exact.norm())
    for _ in range(options.repeats):
        for name, (forward, adjoint) in sides.items():
            for direction, call in enumerate(
                (lambda f=forward: f(images), lambda a=adjoint: a(data))
            ):
                start = clock()
                call()
                times[name][direction].append(clock() - start)
    print(
        f"{COILS} coils, {SIZE} x {SIZE}, {options.spokes * SAMPLES} points, "
        f"{options.threads} threads, medians of {options.repeats}"
    )
    reference = [median(t) for t in times["gridding"]]
    for name in makers:
        forward, adjoint = (median(t) for t in times[name])
        print(
            f"{name:16} forward {forward:6.3f} s ({forward / reference[0]:5.1f}x)  "
            f"adjoint {adjoint:6.3f} s ({adjoint / reference[1]:5.1f}x)  "
            f"setting up and first pair {setup[name]:5.2f} s  error {error[name]:.1e}"
        )
    keys = ("threads", "repeats", "spokes", "cpu_time")
    setting = {key: getattr(options, key) for key in keys}
    write_ratios(options.json, ratios(times, setup, error), {**setting, "errors": error})


def ratios(
    times: dict[str, tuple[list[float], list[float]]],
    setup: dict[str, float],
    error: dict[str, float],
) -> list[Ratio]:
    """Our gridding, which the product takes where its table fits, beside the others."""
    rows = []
    for peer in ("finufft", "torchkbnufft"):
        if peer not in times:
            continue
        note = f"errors {error['gridding']:.0e} and {error[peer]:.0e}"
        for direction, name in enumerate(("forward", "adjoint")):
            pair = [median(times[side][direction]) for side in ("gridding", peer)]
            rows.append(Ratio(f"Non-uniform FFT, {name}: time", peer, "s", *pair, note=note))
        what = "Non-uniform FFT, setting up and first pair: time"
        rows.append(Ratio(what, peer, "s", setup["gridding"], setup[peer], note="once"))
    return rows


if __name__ == "__main__":
    main()
