"""Table 7-3 of Chen 2021, run small: what each technique of training and inference is worth.

    python Testing/benchmarks/organs_ablation.py ANATOMIES OUT [--minutes 20] [--count 12]
        [--recipe denseunet_small] [--spacing 3] [--device auto]
        [--deformation none|weaker|whole] [--random-contrast X] [--sequence NAME|any]
        [--quality any|breath_hold]

ANATOMIES is a folder of `mriforge simulate anatomies` (seeds below 100,000). Every variant of the
recipe is trained on it from nothing for --minutes: the baseline (flips only), then with projective
deformation (PD), deep supervision (DS) and all three views (MTT). Each is judged by its axial view
on --count simulated torsos with seeds from 900,000 on; the last one also by the vote of its three
views (MTI). The published figures come from 1,000,000 steps on 66 patients at 1.2 mm with a network
of three times the width: only the order can be compared. Trainings that exist in OUT are not
repeated. Writes OUT/organs_ablation.json, .md and a box plot.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from organ_runs import (
    CONTRAST_OPTIONS,
    FIRST_TEST_SEED,
    Scores,
    Views,
    add_image_options,
    settle,
    torso,
)

from mriforge import allocator
from mriforge.events import Events
from mriforge.metrics.compare_organs import compare_organs
from mriforge.recipes import load_recipe
from mriforge.training.job import train

STEPS = {
    "baseline": ("baseline", "axial"),
    "+PD": ("pd", "axial"),
    "+PD+DS": ("pd_ds", "axial"),
    "+PD+DS+MTT": ("pd_ds_mtt", "axial"),
    "+PD+DS+MTT+MTI": ("pd_ds_mtt", "vote"),
}
"""Row of the table to (variant of the recipe, how it answers)."""
PUBLISHED = {
    "baseline": (0.897, 1.353),
    "+PD": (0.900, 1.283),
    "+PD+DS": (0.901, 1.324),
    "+PD+DS+MTT": (0.903, 1.209),
    "+PD+DS+MTT+MTI": (0.909, 1.099),
}
"""Mean Dice and mean surface distance (mm) of Table 7-3."""


def trained(variant: str, chosen: argparse.Namespace) -> Path:
    """The model of a variant; trained if it is not there."""
    folder = chosen.out / variant
    if not (folder / "model" / "card.json").is_file():
        print(f"training {variant} for {chosen.minutes:g} minutes", flush=True)
        outcome = train(
            f"{chosen.recipe}:{variant}",
            chosen.anatomies,
            folder,
            max_minutes=chosen.minutes,
            resume=True,
            device=chosen.device,
            events=Events(),
        )
        print(f"{variant}: {outcome.result.steps} steps, {outcome.result.best}", flush=True)
    return folder / "model"


def markdown(scores: Scores, group: str) -> str:
    """Our rows beside the published ones; tests against the baseline."""
    tables = {row: scores.table(group, row) for row in STEPS if row in scores.kept[group]}
    lines = [
        "| | Dice, ours | gain | p | organs better, p < 0.05 (Holm) | MSD mm, ours "
        "| Dice, published | gain, published | MSD mm, published |",
        "|---" * 9 + "|",
    ]
    for row, table in tables.items():
        dice, distance = (table.overall(f)[0] for f in ("dice", "msd_mm"))
        known = PUBLISHED[row]
        cells = [row, f"{dice:.3f}"]
        if row == "baseline":
            cells += ["–", "–", "–"]
        else:
            test = compare_organs(table, tables["baseline"])
            better = [
                name
                for name, one in test.organs.items()
                if one.mean_difference > 0 and test.corrected[name] < 0.05
            ]
            cells += [f"{test.overall.mean_difference:+.3f}", f"{test.overall.wilcoxon_p:.2g}"]
            cells += [", ".join(better) or "none"]
        cells += [f"{distance:.2f}", f"{known[0]:.3f}"]
        cells += [f"{known[0] - PUBLISHED['baseline'][0]:+.3f}", f"{known[1]:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("\nPublished: Table 7-3 of Chen 2021, other data: 20 patients, T1-VIBE, 1.2 mm.\n")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--recipe", default="denseunet_small")
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--device", default="auto")
    add_image_options(parser)
    chosen = parser.parse_args()
    allocator.tune()
    settle(chosen, load_recipe(chosen.recipe).as_dict()["organs"])
    setting = {
        name: getattr(chosen, name)
        for name in ("recipe", "minutes", "spacing", "deformation", *CONTRAST_OPTIONS)
    }
    scores, group = Scores(chosen.out, "organs_ablation", setting), f"{chosen.minutes:g} minutes"
    for row, (variant, way) in STEPS.items():
        views = Views(str(trained(variant, chosen)), chosen.device)
        for seed in range(FIRST_TEST_SEED, FIRST_TEST_SEED + chosen.count):
            if scores.has(group, row, f"torso {seed}"):
                continue
            image, labels = torso(seed, chosen.spacing, chosen)
            found, seconds = views(image, (way,))[way]
            spacing = image.grid.spacing
            scores.add(group, row, f"torso {seed}", found, labels, spacing, range(1, 11), seconds)
            scores.save()
        dice = scores.table(group, row).overall("dice")[0]
        print(json.dumps({row: round(dice, 4), "training": views.card.figures}), flush=True)
    scores.finish("Table 7-3, run small", baseline="baseline")
    text = markdown(scores, group)
    whole = chosen.out / "organs_ablation.md"
    whole.write_text(text + "\n" + whole.read_text(encoding="utf-8"), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
