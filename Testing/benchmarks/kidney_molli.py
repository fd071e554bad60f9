"""T1 of the kidneys from a free-breathing MOLLI series, with and without breathing undone.

    python Testing/benchmarks/kidney_molli.py DATA OUT [--transform bspline]

DATA is the folder of real images (``dynamic/mdreg_kidney_MOLLI_2sl_8TI``: coronal, two slices,
inversion times from 118 to 4118 ms). Writes OUT/t1_*.nii.gz, OUT/kidney_molli.png (maps and R
squared before and after) and prints a Markdown table.

Regions: an ellipse around each kidney was placed by eye; inside, tissue is where the registered map
has a T1 of 1.2 to 2.4 s with R squared above 0.9, closed and filled. Cortex is its outermost 4.5 mm
without the border pixel, medulla what is 7.5 to 13.5 mm deep. Both maps get the same regions. The
median signal of each region (as acquired), and of psoas and liver, is also fitted by the plain
models, to tell what the data say from what the correction for the readout makes of it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from mriforge.io import read, write
from mriforge.jobs import Request, run_request
from mriforge.relaxometry.models import RecoveryModel
from mriforge.relaxometry.recovery import fit_recovery

NAME = "dynamic/mdreg_kidney_MOLLI_2sl_8TI"
# Centre (y, x) and half axes (y, x) in pixels.
KIDNEYS = {
    0: [((128, 86), (37, 25)), ((112, 170), (39, 25))],
    1: [((127, 84), (37, 25)), ((112, 171), (39, 25))],
}


def regions(t1: np.ndarray, quality: np.ndarray) -> dict[str, np.ndarray]:
    """Cortex and medulla, ``(z, y, x)`` bool, see above."""
    made = {"cortex": np.zeros(t1.shape, bool), "medulla": np.zeros(t1.shape, bool)}
    y, x = np.mgrid[: t1.shape[1], : t1.shape[2]]
    for z, kidneys in KIDNEYS.items():
        for (cy, cx), (ay, ax) in kidneys:
            ellipse = ((y - cy) / ay) ** 2 + ((x - cx) / ax) ** 2 < 1
            tissue = ellipse & (t1[z] > 1200) & (t1[z] < 2400) & (quality[z] > 0.9)
            whole = ndimage.binary_closing(ndimage.binary_opening(tissue), iterations=3)
            labels, count = ndimage.label(whole)
            largest = 1 + np.argmax(ndimage.sum(whole, labels, range(1, count + 1)))
            depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(labels == largest))
            made["cortex"][z] |= tissue & (depth > 1) & (depth <= 4)
            made["medulla"][z] |= tissue & (depth > 5) & (depth <= 9)
    return made


def picture(
    maps: dict[str, dict[str, np.ndarray]], rois: dict[str, np.ndarray], path: Path
) -> None:
    """Rows: slices; columns: T1 and R squared of each map, and the regions."""
    from mriforge.report.figures import figure_class, to_png

    figure = figure_class()(20.0, 8.6)
    columns = [(name, kind) for kind in ("t1", "quality") for name in maps]
    for z in range(2):
        for place, (name, kind) in enumerate(columns):
            axes = figure.add_subplot(2, 5, 5 * z + place + 1)
            style = {"vmin": 0, "vmax": 2500} if kind == "t1" else {"vmin": 0.8, "vmax": 1}
            drawn = axes.imshow(maps[name][kind][z], cmap="viridis", **style)
            axes.set_title(f"{'T1 (ms)' if kind == 't1' else 'R squared'}, {name}", fontsize=10)
            axes.set_axis_off()
            figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02)
        axes = figure.add_subplot(2, 5, 5 * z + 5)
        axes.imshow(maps["registered"]["t1"][z], cmap="gray", vmin=0, vmax=2500)
        for colour, roi in zip(("#E69F00", "#56B4E9"), rois.values(), strict=True):
            axes.contour(roi[z], [0.5], colors=colour, linewidths=0.8)
        axes.set(xlim=(50, 205), ylim=(170, 65), title="regions")
        axes.set_axis_off()
    figure.subplots_adjust(left=0.01, right=0.98, top=0.95, bottom=0.01, wspace=0.12, hspace=0.08)
    path.write_bytes(to_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--transform", default="bspline")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    series = read(arguments.data / f"{NAME}.nii.gz")
    # The file holds unsigned numbers in signed ones: 334 bright pixels are negative.
    array = series.array.astype(np.int16).view(np.uint16).astype(np.float32)
    times = json.loads((arguments.data / f"{NAME}.json").read_text())["TI_ms"]
    write(replace(series, array=array), arguments.out / "molli.nii.gz")
    maps, seconds = {}, {}
    for name in ("as acquired", "registered"):
        stem = name.replace(" ", "_")
        files = {
            kind: arguments.out / f"{kind}_{stem}.nii.gz" for kind in ("t1", "quality", "error")
        }
        options = {"register": True, "transform": arguments.transform} if stem == name else {}
        start = time.perf_counter()
        result = run_request(
            Request(
                "t1map",
                {
                    "input": str(arguments.out / "molli.nii.gz"),
                    "output": str(files["t1"]),
                    "quality": str(files["quality"]),
                    "error": str(files["error"]),
                    "model": "molli",
                    "times": times,
                    **options,
                },
            )
        )
        seconds[name] = time.perf_counter() - start
        maps[name] = {kind: read(path).array for kind, path in files.items()}
        if "registration" in result:
            print(f"registration: {result['registration']}\n")
    rois = regions(maps["registered"]["t1"], maps["registered"]["quality"])
    picture(maps, rois, arguments.out / "kidney_molli.png")
    print("| map | region | pixels | fitted % | T1 median | quartiles | error | R squared | s |")
    print("|-|-|-|-|-|-|-|-|-|")
    for name, held in maps.items():
        for region, roi in rois.items():
            t1 = held["t1"][roi]
            good = t1 > 0
            low, middle, high = np.percentile(t1[good], (25, 50, 75))
            print(
                f"| {name} | {region} | {roi.sum()} | {100 * good.mean():.1f} | {middle:.0f} "
                f"| {low:.0f}-{high:.0f} | {np.nanmedian(held['error'][roi][good]):.0f} "
                f"| {np.median(held['quality'][roi][good]):.4f} | {seconds[name]:.1f} |"
            )
    print("\n| median signal of a region | model | T1 ms | start over end | R squared |")
    print("|-|-|-|-|-|")
    models = {
        "molli": RecoveryModel("looklocker"),
        "ir": RecoveryModel(),
        "ir, perfect inversion": RecoveryModel(inversion=-1.0),
    }
    everything = {**rois, "psoas": box(array, 0, 150, 175, 102, 108)}
    everything["liver"] = box(array, 0, 100, 108, 45, 55)
    for region, roi in everything.items():
        signal = np.median(array[:, roi], axis=1)[:, None]
        for name, model in models.items():
            found = fit_recovery(signal, np.array(times) / 1000, model)
            print(
                f"| {region} | {name} | {found.t1_ms[0]:.0f} | {found.inversion[0]:.2f} "
                f"| {found.r_squared[0]:.4f} |"
            )


def box(array: np.ndarray, z: int, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """A rectangle of slice ``z``, as a mask."""
    mask = np.zeros(array.shape[1:], bool)
    mask[z, top:bottom, left:right] = True
    return mask


if __name__ == "__main__":
    main()
