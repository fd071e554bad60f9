"""T1 of a breast from ten flip angles: fat and gland, and a picture to look at.

    python Testing/benchmarks/breast_vfa.py DATA OUT

DATA is the folder of real images (``dynamic/DCEMRI_invivo_breast_DCE_VFA.mat``: one sagittal slice,
TR 7.9 ms, 2 to 20 degrees; no B1 map). Writes OUT/breast_vfa.png, prints a Markdown table.

Regions are rectangles placed by eye on T1 map and 20-degree image: fat in front of the chest wall,
gland in the middle, and the nodule below it with its dark centre (a clip or calcification).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from mriforge.relaxometry.vfa import fit_flip_angles

REGIONS = {
    "fat": (slice(85, 105), slice(108, 124)),
    "gland": (slice(70, 95), slice(45, 75)),
    "nodule": (slice(105, 115), slice(95, 105)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    held = loadmat(arguments.data / "dynamic/DCEMRI_invivo_breast_DCE_VFA.mat")
    images = held["T1data"].astype(np.float64)
    start = time.perf_counter()
    found = fit_flip_angles(images, held["T1flip"].ravel(), float(held["TR"].item()))
    seconds = time.perf_counter() - start
    print(f"{found.counts()} in {seconds:.2f} s\n")
    print("| region | pixels | T1 median ms | quartiles | error | R squared |")
    print("|-|-|-|-|-|-|")
    for name, place in REGIONS.items():
        inside = found.fitted[place]
        t1 = found.t1_ms[place][inside]
        low, middle, high = np.percentile(t1, (25, 50, 75))
        print(
            f"| {name} | {inside.sum()} | {middle:.0f} | {low:.0f}-{high:.0f} "
            f"| {np.median(found.error_ms[place][inside]):.0f} "
            f"| {np.median(found.r_squared[place][inside]):.4f} |"
        )
    from matplotlib.patches import Rectangle

    from mriforge.report.figures import figure_class, to_png

    figure = figure_class()(14.0, 4.8)
    panels = (
        ("20 degrees", images[0], {"cmap": "gray", "vmax": np.percentile(images[0], 99.5)}),
        ("T1 (ms)", found.t1_ms, {"cmap": "viridis", "vmin": 0, "vmax": 2500}),
        ("R squared, or why not", found.quality(), {"cmap": "viridis", "vmin": -5, "vmax": 1}),
    )
    for number, (title, picture, style) in enumerate(panels):
        axes = figure.add_subplot(1, 3, number + 1)
        figure.colorbar(axes.imshow(picture, **style), ax=axes, fraction=0.046, pad=0.02)
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
        for rows, columns in REGIONS.values():
            size = columns.stop - columns.start, rows.stop - rows.start
            corner = columns.start, rows.start
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="#D55E00"))
    figure.subplots_adjust(left=0.01, right=0.96, top=0.93, bottom=0.02, wspace=0.15)
    (arguments.out / "breast_vfa.png").write_bytes(to_png(figure))


if __name__ == "__main__":
    main()
