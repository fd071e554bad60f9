"""Do calibrated intervals hold the truth as often as they say, on scans whose truth is known?

    python Testing/benchmarks/conformal.py [--data DIR] [--methods unet3d_small,cubic_bspline]
        [--factors 2,4] [--slices 6] [--size 160] [--members 4] [--json OUT]

Every scan is cut to a few slices, truncated in k-space, sharpened, and its true error measured.
Intervals of 90 % are calibrated in four ways: on the scan itself, made coarser once more, as it
comes out and with the correction for smaller voxels; on other slices of the same scan, as a prior
of the same protocol; and on all scans of other subjects. One line for each scan: the share of the
voxels of tissue inside, and the mean width over bright tissue.

With --across stacks of thick slices are made of the scans that have voxels of one size, sharpened
by cubic interpolation with the slices restored, and calibrated on their own pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

from mriforge.interslice.job import SliceOptions
from mriforge.interslice.job import prepare as prepare_slices
from mriforge.io import read
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.slices import SliceProfile
from mriforge.superres.job import SuperresOptions, prepare
from mriforge.uncertainty.conformal import Calibration, Sample, calibrate
from mriforge.uncertainty.ensemble import spread
from mriforge.uncertainty.job import SHRINKING
from mriforge.uncertainty.voxels import air, difficulty, draw
from mriforge.volume import Grid, Volume, as_series

CONFIDENCE = 0.9
SCANS = {
    "adi T1w": ("adi", "brain3d/adi_T1w_memprage_1.1mm.nii.gz"),
    "adi T2w": ("adi", "brain3d/adi_T2w_FSE_ax_2.5mm.nii.gz"),
    "studyforrest T1w": ("studyforrest", "brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz"),
    "vxm T1w": ("vxm", "brain3d/vxm_test_T1w_1mm_brain.nii.gz"),
    "niivue T1w": ("niivue", "brain3d/niivue_norm_T1w_1mm_brain.mgz"),
    "BraTS T1w Gd": ("brats", "brain3d/BraTS-MET-00110-000-t1c.nii.gz"),
    "spine T2w": ("errsm30", "aniso/sct_errsm30_T2w_spine_1mm.nii.gz"),
    "fernando FLAIR": ("fernando", "aniso/torchio_fernando_T2FLAIR_5.5mm.nii.gz"),
    "TCGA T1w": ("tcga", "aniso/TCGA-FG-6692_t1_5.5mm.nii.gz"),
    "abdomen bTFE": ("ukrin", "abdomen/UKRIN_Ax_localiser_bTFE_enh.dcm"),
    "knee MESE": ("pymskt", "knee/pymskt_MESE_dicom"),
}
"""Subject and file of each scan."""
ISOTROPIC = ("vxm T1w", "niivue T1w", "BraTS T1w Gd", "spine T2w")
THICKNESS = 4.0


def cut(path: Path, slices: int, size: int) -> Volume:
    """Slices and pixels in the middle of a scan, float32."""
    volume = as_series(read(path))[0]
    array = np.maximum(volume.array.astype(np.float32), 0)
    for axis, wanted in enumerate((slices, size, size)):
        n = array.shape[axis]
        first = max(0, (n - wanted) // 2)
        array = np.take(array, range(first, min(n, first + wanted)), axis)
    return Volume(np.ascontiguousarray(array), Grid(array.shape, volume.grid.spacing))


def samples(problem, members: int, seed: int = 0) -> tuple[Sample, Sample]:
    """Voxels of one problem, in two parts."""
    answer, deviation, _ = spread(problem, members)
    expected = difficulty(problem, answer, deviation)
    return draw(problem, answer, expected, air(problem, answer), seed)


def in_plane(volume: Volume, method: str, factor: int, members: int) -> dict[str, Sample]:
    """``own`` and ``true`` voxels of a scan, and the true ones of either half of its slices."""
    nx, ny, nz = volume.grid.stored_shape
    crop = KspaceCrop(volume.grid, (nx // factor, ny // factor, nz))
    low = crop.A_complex(torch.from_numpy(volume.array)).abs().numpy()
    wishes = SuperresOptions(model=method, scale=factor)
    trials, _ = prepare(Volume(low, crop.low), wishes)
    (own,) = trials.own(0)
    (true,) = trials.sharp(Volume(volume.array[:, : ny // factor * factor, : nx // factor * factor],
                                  Grid((nz, ny // factor * factor, nx // factor * factor),
                                       volume.grid.spacing)))  # fmt: skip
    found = {"own": samples(own, members)[0]}
    answer, deviation, _ = spread(true, members)
    expected, outside = difficulty(true, answer, deviation), air(true, answer)
    for name, part in (("first", slice(0, nz // 2)), ("last", slice(nz // 2, nz))):
        inside = (part, slice(None), slice(None))
        piece = type(true)(true.low, true.operator, true.sharpeners, truth=true.truth,
                           inside=inside)  # fmt: skip
        found[name] = Sample.joined(draw(piece, answer, expected, outside))
    found["true"] = Sample.joined([found["first"], found["last"]])
    return found


def table(known: dict[str, dict[str, Sample]], factor: int) -> list[dict]:
    """One row for each scan."""
    rows = []
    for name, own in known.items():
        others = [v["true"] for k, v in known.items() if SCANS[k][0] != SCANS[name][0]]
        # Every scan weighs the same: as many patches of each.
        fewest = min(o.patches for o in others)
        equal = [o[o.patch < fewest] for o in others]
        ways: dict[str, tuple[Calibration, Sample]] = {}
        raw = calibrate(own["own"], CONFIDENCE, classes=1)
        ways["own scan, raw"] = (raw, own["true"])
        ways["own scan"] = (raw.scaled(factor**-SHRINKING), own["true"])
        ways["other slices"] = (calibrate(own["first"], CONFIDENCE), own["last"])
        ways["other subjects"] = (calibrate(Sample.joined(equal), CONFIDENCE), own["true"])
        row = {"scan": name}
        for way, (calibration, test) in ways.items():
            row[way] = calibration.coverage(test).to_json()
        rows.append(row)
    return rows


def show(rows: list[dict], heading: str) -> None:
    """Prints shares and widths, and their means."""
    ways = [key for key in rows[0] if key != "scan"]
    print(f"\n{heading}")
    print(f"{'':18s}" + "".join(f"{way:>22s}" for way in ways))
    for row in rows:
        cells = [f"{row[w]['share']:.3f}  ({row[w]['mean_width']:.3f})" for w in ways]
        print(f"{row['scan']:18s}" + "".join(f"{cell:>22s}" for cell in cells))
    shares = {w: [row[w]["share"] for row in rows] for w in ways}
    print(f"{'mean':18s}" + "".join(f"{np.mean(shares[w]):>22.3f}" for w in ways))
    within = {w: sum(0.87 <= s <= 0.93 for s in shares[w]) for w in ways}
    print(f"{'87 to 93 %':18s}" + "".join(f"{f'{within[w]} of {len(rows)}':>22s}" for w in ways))


def across(data: Path, size: int) -> list[dict]:
    """Stacks of thick slices, calibrated on their own pixels, measured against the truth."""
    rows = []
    for name in ISOTROPIC:
        volume = cut(data / SCANS[name][1], size, size)
        acquisition = SliceProfile(volume.grid, THICKNESS * volume.grid.spacing[2])
        low = acquisition.A(torch.from_numpy(volume.array)).numpy()
        stack = Volume(low, acquisition.low)
        wishes = SliceOptions(method="cubic_restored", thickness=acquisition.thickness,
                              scale=THICKNESS)  # fmt: skip
        trials, _ = prepare_slices(stack, wishes)
        known = [samples(problem, 2, seed)[0] for seed, problem in enumerate(trials.own(0))]
        problem = trials.problem(0)
        high = problem.operator.high
        first = round(float(volume.grid.world_to_index(np.array(high.origin))[2]))
        inner = volume.array[first : first + high.shape[0]]
        depth = min(len(inner), high.shape[0])
        truth = torch.zeros(high.shape)
        truth[:depth] = torch.from_numpy(inner[:depth]) / trials.scale
        rim = slice(4, depth - 4)
        true = type(problem)(problem.low, problem.operator, problem.sharpeners, truth=truth,
                             inside=(rim, slice(None), slice(None)))  # fmt: skip
        made = calibrate(Sample.joined(known), CONFIDENCE)
        found = made.coverage(Sample.joined(samples(true, 1)))
        rows.append({"scan": name, "own pixels": found.to_json()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MRIFORGE_SHARED_DATA"))
    parser.add_argument("--methods", default="unet3d_small,cubic_bspline")
    parser.add_argument("--factors", default="2,4")
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--across", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.data is None:
        sys.exit("Name the folder with the scans: --data DIR, or MRIFORGE_SHARED_DATA.")
    results = {}
    if asked.across:
        results["across"] = across(Path(asked.data), asked.size)
        show(results["across"], f"cubic_restored, slices {THICKNESS:g} times as thick")
    for method in [] if asked.across else asked.methods.split(","):
        for factor in map(int, asked.factors.split(",")):
            known = {}
            for name, (_, path) in SCANS.items():
                volume = cut(Path(asked.data) / path, asked.slices, asked.size)
                members = 1 if method != "unet3d_small" else asked.members
                known[name] = in_plane(volume, method, factor, members)
                print(f"{method} {factor}: {name}", file=sys.stderr, flush=True)
            rows = table(known, factor)
            results[f"{method} {factor}"] = rows
            show(rows, f"{method}, factor {factor}")
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
