"""What the published choices cost and gain beside the defaults, on the cervical spine series.

    python Testing/benchmarks/published_setting.py DATA

Six frames at 6.25 % of k-space, frame 0 as the prior: inference by whole-volume tiles against
24^3 patches averaged at several strides, and fine-tuning for a time budget against one epoch at
rate 1e-6. Prints PSNR, SSIM and seconds of each.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from prior_guided import case

from mriforge.degrade import DegradeOptions, degrade
from mriforge.metrics.evaluate import evaluate
from mriforge.superres.job import SuperresOptions, superres
from mriforge.volume import Series

FRAMES = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=0.7, help="budget of the default tuning")
    arguments = parser.parse_args()
    truth, prior = case("spine", arguments.data)
    truth = Series(truth.array[:FRAMES], truth.grid, truth.times[:FRAMES])
    low = degrade(truth, DegradeOptions(keep=0.0625, axes=(0, 1)))
    ways = {
        "tiles": {},
        "stride 12": {"stride": 12},
        "stride 6": {"stride": 6},
        "stride 3": {"stride": 3},
        "published fine-tuning": {"prior": prior, "finetune": True, "epochs": 1},
        "default fine-tuning": {
            "prior": prior, "finetune": True, "max_minutes": arguments.minutes,
        },
    }  # fmt: skip
    print("| way | PSNR dB | SSIM | seconds |\n|---|---|---|---|")
    for name, options in ways.items():
        started = time.monotonic()
        result = superres(low, SuperresOptions(like=truth.grid, device="cpu", **options))
        seconds = time.monotonic() - started
        found = evaluate(result.image, truth)
        print(f"| {name} | {found.psnr:.3f} | {found.ssim:.4f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
