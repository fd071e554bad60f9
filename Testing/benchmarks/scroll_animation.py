"""The moving picture of the read-me: thick slices, interpolated, and learned from the scan itself.

    python Testing/benchmarks/scroll_animation.py DATA OUT.webp [--minutes 2] [--thickness 4]
        [--work FOLDER]

DATA is the folder of real volumes (it holds ``brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz``, a
defaced head under PDDL). Its brain is made thick by ``mriforge degrade``, sharpened by ``mriforge
superres --self-supervised``, which sees nothing but the thick slices, and scrolled through in a
plane across them. Prints PSNR and SSIM against the brain that the slices were made of. Volumes
that are in FOLDER are not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mriforge.io import read, write
from mriforge.volume import Volume

HEAD = "brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz"
PART = (slice(190, 350), slice(70, 310), slice(47, 227))
"""The brain (z, y, x) of that head."""
FRAMES = 26
MILLISECONDS = 110
QUALITY = 55
PIXELS_PER_MM = 2.1
TITLE_PIXELS = 22
GAP_PIXELS = 4


def main() -> None:
    """Makes the three volumes and the picture of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0, help="of learning")
    parser.add_argument("--thickness", type=float, default=4.0, help="of the slices, in mm")
    parser.add_argument("--work", type=Path, help="keep the volumes here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = (arguments.work or Path(folder)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        truth, volumes = made(arguments, work)
    thick = f"{arguments.thickness:g} mm slices"
    titles = (thick, "cubic interpolation", "learned from the scan itself")
    scroll(arguments.out, truth, dict(zip(titles, volumes, strict=True)))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


def made(arguments: argparse.Namespace, folder: Path) -> tuple[Volume, list[np.ndarray]]:
    """The brain, and on its grid: the thick slices as they are, interpolated, and sharpened."""
    head = read(arguments.data / HEAD)
    array = np.ascontiguousarray(head.array[PART], dtype=np.float32)
    first = tuple(float(part.start) for part in reversed(PART))
    truth = Volume(array, head.grid.resampled(array.shape[::-1], head.grid.spacing, first))
    write(truth, folder / "sharp.nii.gz")
    if not (folder / "thin.nii.gz").exists():
        thickness = ("--slice-thickness", arguments.thickness)
        job(folder, "degrade", "sharp.nii.gz", "thick.nii.gz", *thickness)
        same = ("--self-supervised", "--like", "sharp.nii.gz", *thickness)
        job(folder, "superres", "thick.nii.gz", "cubic.nii.gz", "--model", "cubic", *same)
        time = ("--max-minutes", arguments.minutes)
        job(folder, "superres", "thick.nii.gz", "thin.nii.gz", *same, *time)
    volumes = [read(folder / f"{name}.nii.gz").array for name in ("cubic", "thin")]
    for name in ("cubic", "thin"):
        figures = folder / f"{name}.json"
        job(folder, "evaluate", f"{name}.nii.gz", "--reference", "sharp.nii.gz", "--json", figures)
        found = json.loads(figures.read_text(encoding="utf-8"))
        print(f"{name}: PSNR {found['psnr']:.2f} dB, SSIM {found['ssim']:.4f}")
    return truth, [as_blocks(read(folder / "thick.nii.gz"), truth), *volumes]


def as_blocks(thick: Volume, truth: Volume) -> np.ndarray:
    """Each slice as thick as it is, on the grid of the truth (stored axis 2 is across)."""
    lines = np.zeros((len(truth.array), 3))
    lines[:, 2] = np.arange(len(truth.array))
    nearest = thick.grid.world_to_index(truth.grid.index_to_world(lines))[:, 2].round().astype(int)
    return thick.array[np.clip(nearest, 0, len(thick.array) - 1)]


def job(folder: Path, *words: object) -> None:
    """One command of mriforge, as a user would give it."""
    command = [sys.executable, "-m", "mriforge", *map(str, words), "--quiet"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def scroll(out: Path, truth: Volume, volumes: dict[str, np.ndarray]) -> None:
    """Writes the picture: coronal slices to and fro, one panel for each volume."""
    top = float(np.percentile(truth.array, 99.7))
    depth = truth.array.shape[1]
    half = np.linspace(0.24 * depth, 0.78 * depth, FRAMES).astype(int)
    frames = [frame(truth, volumes, y, top) for y in [*half, *half[-2:0:-1]]]
    times = {"duration": MILLISECONDS, "loop": 0}
    frames[0].save(out, save_all=True, append_images=frames[1:], quality=QUALITY, method=6, **times)


def frame(truth: Volume, volumes: dict[str, np.ndarray], y: int, top: float) -> Image.Image:
    """One moment: all panels side by side under their titles."""
    width_mm = truth.array.shape[2] * truth.grid.spacing[0]
    height_mm = truth.array.shape[0] * truth.grid.spacing[2]
    size = (round(width_mm * PIXELS_PER_MM), round(height_mm * PIXELS_PER_MM))
    whole = (len(volumes) * (size[0] + GAP_PIXELS) - GAP_PIXELS, size[1] + TITLE_PIXELS)
    image = Image.new("L", whole, 0)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    for number, (title, array) in enumerate(volumes.items()):
        left = number * (size[0] + GAP_PIXELS)
        plane = np.clip(array[::-1, y, :] / top, 0, 1)
        panel = Image.fromarray((255 * plane).astype(np.uint8))
        how = Image.Resampling.NEAREST if number == 0 else Image.Resampling.BICUBIC
        image.paste(panel.resize(size, how), (left, TITLE_PIXELS))
        draw.text((left + 4, 2), title, fill=255, font=font)
    return image


if __name__ == "__main__":
    main()
