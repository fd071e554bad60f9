"""Organs of real people's label maps, rendered as MR of contrasts that no network has seen.

    python Testing/benchmarks/organs_ct.py DATA OUT [--contrasts 10] [--model denseunet_small]
        [--ways axial,coronal,sagittal,vote,probability] [--spacing 3]
        [--random-contrast X] [--sequence NAME|any] [--quality any|breath_hold] [--device auto]

DATA is the folder of real volumes; its label maps of CT scans are turned into tissue maps (fat,
muscle and lung from the CT where there is one) and rendered --contrasts times each, not deformed:
the anatomy is the person's own. Only organs that a map outlines are judged; which they are is
printed. The people are few, the contrasts many: tests are over contrasts and say nothing about
other people. Writes OUT/organs_ct.json, .md and box plots; goes on from there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from organ_runs import (
    FIRST_TEST_SEED,
    add_contrast_options,
    add_run_options,
    begin,
    look,
    score_case,
)

from mriforge.anatomy import ORGANS
from mriforge.io import read
from mriforge.synthesis import render
from mriforge.synthesis.label_maps import tissue_map
from mriforge.volume import Volume

MAPS = {
    "torso": ("TS_example_ct_seg62_3mm.nii.gz", "totalsegmentator", "TS_example_ct_3mm.nii.gz"),
    "slab": ("TS_example_ct_sm_seg_3mm.nii.gz", "totalsegmentator", "TS_example_ct_sm_3mm.nii.gz"),
    "btcv": ("niivue_torsoLabel_BTCV11.nii.gz", "btcv", None),
}
"""Name to (label map, its scheme, its CT)."""
LEAST_ML = 1.0
"""Organs that are cut off by the edge of the scan but for less than this are not judged."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--contrasts", type=int, default=10)
    parser.add_argument("--maps", default=",".join(MAPS))
    parser.add_argument("--spacing", type=float, default=3.0)
    add_run_options(parser)
    add_contrast_options(parser)
    chosen = parser.parse_args()
    views, ways, scores = begin(chosen, "organs_ct", spacing_mm=chosen.spacing)
    contrast = look(chosen)
    for name in chosen.maps.split(","):
        file, scheme, ct = MAPS[name]
        folder = chosen.data / "abdomen"
        tissues = tissue_map(
            read(folder / file),
            scheme,
            image=None if ct is None else read(folder / ct),
            spacing=chosen.spacing,
            subject=name,
            source={"source": file},
        )
        labels = tissues.labels()
        truth = Volume(labels, tissues.grid)
        ml = np.bincount(labels.ravel(), minlength=11) * np.prod(tissues.grid.spacing) / 1000
        judged = [label for label in tissues.organs if ml[label] >= LEAST_ML]
        names = [organ.title.lower() for organ in ORGANS if organ.label in judged]
        print(f"{name} ({file}) outlines {len(judged)} organs: {', '.join(names)}", flush=True)
        if file in json.dumps(views.card.trained_on):
            print(f"{name}: the model was TRAINED on this anatomy; only contrasts are new")
        for number in range(chosen.contrasts):
            case = f"contrast {FIRST_TEST_SEED + number}"
            if all(scores.has(name, way, case) for way in ways):
                continue
            image = render(tissues, np.random.default_rng(FIRST_TEST_SEED + number), contrast)
            score_case(scores, name, case, views(image, ways), truth, judged)
    print(scores.finish("Organs of CT label maps as simulated MR"))


if __name__ == "__main__":
    main()
