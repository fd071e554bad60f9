"""Real abdominal MR through `segment --report`: no labels, so pictures to look at, and volumes.

    python Testing/benchmarks/organs_real.py DATA OUT [--model denseunet_small] [--only NAME,...]
        [--device auto]

DATA is the folder of real volumes. Every scan becomes OUT/NAME.html, NAME.nii.gz (labels) and
NAME.json (volumes); the pictures of the pages are put beside them as NAME_0.png and so on. Printed:
the volume of each organ beside what is usual in adults, the only figure that can be checked without
labels.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
import re
from pathlib import Path

import numpy as np

from mriforge.anatomy import ORGANS
from mriforge.errors import MRIForgeError
from mriforge.events import Events
from mriforge.io import read, write
from mriforge.jobs import Request, run_request
from mriforge.volume import Grid, Volume, as_series

SCANS = {
    "localiser": ("abdomen/UKRIN_Ax_localiser_bTFE_enh.dcm", None, None),
    "b0map": ("abdomen/UKRIN_Cor_B0map_2echo_enh.dcm", "501-M", 0),
    "molli": ("dynamic/mdreg_kidney_MOLLI_2sl_8TI.nii.gz", None, -1),
}
"""Name to (file, DICOM series, the frame that is outlined where there are several contrasts)."""
CORONAL = {"molli"}
"""Coronal images whose header calls Superior Posterior."""
USUAL_ML = {
    "liver": (1000, 2200),
    "spleen": (80, 350),
    "pancreas": (40, 130),
    "right_kidney": (100, 230),
    "left_kidney": (100, 240),
}
"""Whole organs of adults, roughly; a scan may hold a part only."""


def _raised(grid: Grid) -> Grid:
    """The grid turned about the axis from right to left, so that Posterior becomes Superior."""
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return dataclasses.replace(grid, direction=tuple((turn @ grid.direction_matrix).ravel()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="denseunet_small")
    parser.add_argument("--only", default=",".join(SCANS))
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in chosen.only.split(","):
        file, part, frame = SCANS[name]
        source = chosen.data / file
        if frame is not None:
            series = as_series(read(source, series=part))
            print(f"{name}: frame {frame % len(series)} of {len(series)}", flush=True)
            image = series[frame % len(series)]
            if name in CORONAL:
                image = Volume(image.array, _raised(image.grid), image.metadata)
            source = write(image, chosen.out / f"{name}_image.nii.gz")
        outputs = {
            "output": f"{name}.nii.gz", "json": f"{name}.json", "report": f"{name}.html",
            "disagreement": f"{name}_disagreement.nii.gz",
        }  # fmt: skip
        options = {
            "input": str(source),
            "model": chosen.model,
            "device": chosen.device,
            **{key: str(chosen.out / value) for key, value in outputs.items()},
        }
        try:
            result = run_request(Request("segment", options), Events())
        except MRIForgeError as error:
            print(f"{name}: {error.message} {error.hint}", flush=True)
            continue
        page = (chosen.out / outputs["report"]).read_text(encoding="utf-8")
        for number, data in enumerate(re.findall(r'base64,([^"]+)"', page)):
            (chosen.out / f"{name}_{number}.png").write_bytes(base64.b64decode(data))
        print(name, json.dumps(result.get("volumes_ml", result)), flush=True)
        for organ in ORGANS:
            if organ.key in USUAL_ML:
                low, high = USUAL_ML[organ.key]
                found = result.get("volumes_ml", {}).get(organ.key)
                print(f"  {organ.title}: {found} ml (whole organ: {low} to {high})", flush=True)


if __name__ == "__main__":
    main()
