"""Tables 6-1 and 6-2 of Chen 2021, run small: dilation and weight regularisation of both networks.

    python Testing/benchmarks/malibu_ablation.py --work FOLDER [--minutes 2] [--matrix 64]

Makes pairs of simulated subjects (once; they are kept in FOLDER), trains every variant of the small
recipes for the same time and prints the held-out error of the factors, whole and by variant. The
published tables come from 300,000 steps on 153 measured subjects: only the order can be compared.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mriforge.events import Events
from mriforge.jobs import Request, run_request

VARIANTS = (
    "mdcn_small",
    "mdcn_small:less_dilation",
    "mdcn_small:no_dilation",
    "mdcn_small:weak_regularisation",
    "mdcn_small:strong_regularisation",
    "recon_denseunet_small",
    "recon_denseunet_small:weak_regularisation",
    "recon_denseunet_small:strong_regularisation",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--matrix", type=int, default=64)
    parser.add_argument("--count", type=int, default=256)
    chosen = parser.parse_args()
    work = Path(chosen.work)
    pairs = work / f"pairs_{chosen.matrix}"
    options = {"what": "factors", "output": str(pairs), "count": chosen.count, "seed": 5,
               "matrix": chosen.matrix, "coils": 6}  # fmt: skip
    run_request(Request("simulate", options), Events())
    for variant in VARIANTS:
        out = work / variant.replace(":", "_")
        result = run_request(
            Request("train", {"recipe": variant, "data": str(pairs), "out": str(out),
                              "max_minutes": chosen.minutes}),
            Events(),
        )  # fmt: skip
        card = json.loads((out / "model" / "card.json").read_text(encoding="utf-8"))
        print(json.dumps({variant: card["figures"], "steps": result.get("steps")}), flush=True)


if __name__ == "__main__":
    main()
