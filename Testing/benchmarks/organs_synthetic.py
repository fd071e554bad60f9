"""Organs in simulated torsos that no network has seen: each view, the vote, fused probabilities.

    python Testing/benchmarks/organs_synthetic.py OUT [--count 30] [--spacings 3,1.5]
        [--model denseunet_small] [--ways axial,coronal,sagittal,vote,probability] [--device auto]
        [--deformation none|weaker|whole] [--random-contrast X] [--sequence NAME|any]
        [--quality any|breath_hold]

Anatomies and contrasts have seeds from 900,000 on (training: below 100,000). Every torso is drawn
and rendered at each voxel size and outlined; scores are against the simulation's own labels on that
grid. --random-contrast is the share of images in which every tissue is as bright as chance wants;
the others follow --sequence; both are by default as in the model's training, and
--random-contrast 0.4 --sequence any asks for what it may never have seen.

Writes OUT/organs_synthetic.json, .md and box plots; goes on from there when it is started again.
Tests: Wilcoxon signed-rank over torsos, against the single view with the best mean Dice (chosen on
these same torsos, which favours it).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from organ_runs import (
    FIRST_TEST_SEED,
    add_image_options,
    add_run_options,
    begin,
    score_case,
    torso,
)

from mriforge.volume import Volume


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--spacings", default="3,1.5")
    add_run_options(parser)
    add_image_options(parser)
    chosen = parser.parse_args()
    views, ways, scores = begin(chosen, "organs_synthetic", deformation=chosen.deformation)
    for number in range(chosen.count):
        seed = FIRST_TEST_SEED + number
        for spacing in map(float, chosen.spacings.split(",")):
            group, case = f"{spacing:g} mm", f"torso {seed}"
            if all(scores.has(group, way, case) for way in ways):
                continue
            image, labels = torso(seed, spacing, chosen)
            truth = Volume(labels, image.grid)
            score_case(scores, group, case, views(image, ways), truth, range(1, 11))
    print(scores.finish("Organs of simulated torsos"))


if __name__ == "__main__":
    main()
