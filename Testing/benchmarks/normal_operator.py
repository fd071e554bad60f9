"""The normal operator: Toeplitz against explicit transforms, and what building it costs.

    python Testing/benchmarks/normal_operator.py [--rank 32] [--coils 10] [--spokes 2000]
        [--matrix 160] [--repeats 5] [--cpu-time] [--json FILE]

All in one process, interleaved, medians. Peers: finufft (one plan for all coils), torchkbnufft (one
transform for each component, where it is installed), and MRIForge's own explicit path. Explicit
peers apply forward and adjoint to each of the L components, which is what iterations without a
Toeplitz kernel do; torchkbnufft is timed on two components and multiplied. The floor is the Fourier
transforms of all coil images at twice the size and the products with the L x L spectra, alone, on
memory that lies ready.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program's own processes do

import numpy as np
import scipy.fft
import torch
from measuring import Ratio, add_clock, clock_of, write_ratios

from mriforge import allocator
from mriforge.physics.density import radial_density
from mriforge.physics.subspace import SubspaceOperator
from mriforge.physics.trajectory import golden_angles, radial


def timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def floor_of(coils: int, n: int, rank: int) -> Callable[[], None]:
    """Transforms and products alone: the arithmetic of one application."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, n, rank, coils, dtype=torch.complex64, generator=generator)
    spectra = torch.randn(n * n, rank, rank, generator=generator)
    parts = torch.view_as_real(images).reshape(n * n, rank, 2 * coils)
    array, threads = images.numpy(), torch.get_num_threads()

    def apply() -> None:
        for _ in range(4):  # a transform of twice the size is four of the single size
            there = scipy.fft.fftn(array, axes=(0, 1), workers=threads)
            torch.bmm(spectra, parts)
            scipy.fft.ifftn(there, axes=(0, 1), workers=threads, overwrite_x=True)

    return apply


def with_finufft(op: SubspaceOperator, factors: torch.Tensor) -> Callable[[], torch.Tensor]:
    """``E^H E`` by two transforms for each component, all coils in one plan."""
    import finufft

    points = op.trajectory.reshape(-1, 2).double().numpy() * (2 * np.pi)
    x, y = (np.ascontiguousarray(points[:, i], dtype=np.float32) for i in (0, 1))
    shape, coils = tuple(op.maps.shape[2:]), op.maps.shape[0]
    threads = torch.get_num_threads()
    plans = []
    for kind, sign in ((2, -1), (1, 1)):
        plan = finufft.Plan(kind, shape, coils, eps=1e-4, isign=sign, dtype="complex64",
                            nthreads=threads)  # fmt: skip
        plan.setpts(y, x)
        plans.append(plan)
    maps, samples = op.maps[:, 0].numpy(), op.trajectory.shape[1]
    weights = np.repeat(op.weights.numpy(), samples, axis=0)

    def apply() -> torch.Tensor:
        images = factors[:, 0].numpy()
        data = np.zeros((coils, len(points)), np.complex64)
        for image, weight in zip(images, weights.T, strict=True):
            data += weight * plans[0].execute(np.ascontiguousarray(maps * image))
        back = [(plans[1].execute(data * w) * maps.conj()).sum(0) for w in weights.T]
        return torch.from_numpy(np.stack(back))[:, None]

    return apply


def with_torchkbnufft(op: SubspaceOperator, factors: torch.Tensor, parts: int):
    """The same by torchkbnufft for ``parts`` of the components; None where it is not installed."""
    try:
        import torchkbnufft
    except ImportError:
        return None
    shape = tuple(op.maps.shape[2:])
    points = (op.trajectory.reshape(-1, 2).flip(-1).T * (2 * torch.pi)).contiguous()
    forward = torchkbnufft.KbNufft(im_size=shape)
    adjoint = torchkbnufft.KbNufftAdjoint(im_size=shape)

    def apply() -> None:
        for number in range(parts):
            images = (op.maps[:, 0] * factors[number, 0])[None]
            adjoint(forward(images, points), points)

    return apply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--coils", type=int, default=10)
    parser.add_argument("--spokes", type=int, default=2000)
    parser.add_argument("--matrix", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=5)
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    clock = clock_of(chosen)
    allocator.tune()
    generator = torch.Generator().manual_seed(0)
    n = chosen.matrix
    trajectory = torch.from_numpy(radial(golden_angles(chosen.spokes), 2 * n).astype(np.float32))
    maps = torch.randn(chosen.coils, 1, n, n, dtype=torch.complex64, generator=generator)
    maps /= maps.abs().square().sum(0).sqrt()
    weights = torch.randn(chosen.spokes, chosen.rank, generator=generator)
    op = SubspaceOperator(trajectory, weights, maps, tolerance=1e-5)
    factors = torch.randn(chosen.rank, 1, n, n, dtype=torch.complex64, generator=generator)
    last = factors.movedim(0, -1).contiguous()

    build = timed(lambda: op.normal(), clock)
    normal = op.normal()
    floor = floor_of(chosen.coils, n, chosen.rank)
    finufft_apply = with_finufft(op, factors)
    parts = min(2, chosen.rank)
    tkbn_apply = with_torchkbnufft(op, factors, parts)
    agreement = finufft_apply()
    error = float((normal(last).movedim(-1, 0) - agreement).norm() / agreement.norm())
    times: dict[str, list[float]] = {
        n: [] for n in ("toeplitz", "floor", "finufft", "torchkbnufft")
    }
    for _ in range(chosen.repeats):
        times["toeplitz"].append(min(timed(lambda: normal(last), clock) for _ in range(2)))
        times["floor"].append(min(timed(floor, clock) for _ in range(2)))
        times["finufft"].append(timed(finufft_apply, clock))
        if tkbn_apply is not None and len(times["torchkbnufft"]) < 2:
            times["torchkbnufft"].append(timed(tkbn_apply, clock) * chosen.rank / parts)
    medians = {name: float(np.median(t)) for name, t in times.items() if t}
    data = torch.randn(
        chosen.coils, chosen.spokes, 2 * n, dtype=torch.complex64, generator=generator
    )
    along = radial_density(trajectory[:1])[0]
    result = {
        "setting": vars(chosen),
        "threads": torch.get_num_threads(),
        "seconds": {k: round(v, 4) for k, v in medians.items()},
        "finufft_over_toeplitz": round(medians["finufft"] / medians["toeplitz"], 1),
        "torchkbnufft_over_toeplitz": round(medians["torchkbnufft"] / medians["toeplitz"], 1)
        if "torchkbnufft" in medians
        else None,
        "difference_to_finufft": error,
        "build_s": round(build, 3),
        "adjoint_s": round(timed(lambda: op.A_adjoint(data), clock), 3),
        "gridding_s": round(timed(lambda: op.A_adjoint(data, along), clock), 3),
    }
    print(json.dumps(result, indent=1, default=str))
    setting = {k: v for k, v in vars(chosen).items() if k != "json"}
    write_ratios(chosen.json, ratios(medians), {**setting, "threads": result["threads"]})


def ratios(seconds: dict[str, float]) -> list[Ratio]:
    """The operator beside explicit transforms, and beside its own arithmetic."""
    what = "Multitasking normal operator: time"
    ours = seconds["toeplitz"]
    rows = [
        Ratio(what, f"{peer}, explicit transforms", "s", ours, seconds[peer])
        for peer in ("finufft", "torchkbnufft")
        if peer in seconds
    ]
    floor = "its Fourier transforms and matrix products alone"
    return [*rows, Ratio(what, floor, "s", ours, seconds["floor"], "floor")]


if __name__ == "__main__":
    main()
