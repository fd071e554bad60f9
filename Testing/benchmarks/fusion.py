"""Fusion of three orthogonal thick-slice stacks of a real head, with motion between them.

    python Testing/benchmarks/fusion.py DATA OUT [--slice-motion MM] [--implicit MIN]

DATA is the folder of real volumes. What is scanned is a defaced T1w head of 0.67 mm; the truth is
the same head on 1 mm voxels. The stacks have slices of 4 mm (Gaussian), axial, coronal and
sagittal; the second and third are taken after a rigid motion of 2 mm and 2 degrees, all get Rician
noise. They are simulated from the 0.67 mm head by cubic splines at points two thirds of a mm
apart across the slices and an explicit weighted mean: the operator that the fusion inverts has no
part in it.

Compared with: cubic interpolation of each stack placed by its true motion, the mean of the three
placed by their headers, and the mean of the three placed by their true motion. Prints a table and
the registration error, writes OUT/fusion.json and OUT/fusion.png.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mriforge import allocator
from mriforge.events import Events
from mriforge.fusion import job
from mriforge.fusion.geometry import moved_grid, moved_points
from mriforge.io import read
from mriforge.metrics.similarity import psnr
from mriforge.metrics.ssim import ssim
from mriforge.physics.interpolation import resample
from mriforge.volume import Grid, Volume

THICKNESS = 4.0
BLUR_MM = 0.35
FINER = 6
"""Samples across one slice distance."""
NAMES = ("axial", "coronal", "sagittal")
AXES = (2, 1, 0)


def head(data: Path) -> tuple[Volume, Volume]:
    """The head at 0.67 mm without the detail that 1 mm cannot hold, and on 1 mm voxels.

    Bright tissue is 1.
    """
    volume = read(data / "brain3d" / "studyforrest02_T1w_0.67mm_defaced.nii.gz")
    spacing = volume.grid.spacing
    array = ndimage.gaussian_filter(
        volume.array.astype(np.float32), [BLUR_MM / s for s in spacing[::-1]]
    )
    array = np.clip(array / np.percentile(array, 99.5), 0, None)
    sizes, first = [], []
    for n, s in zip(volume.grid.stored_shape, spacing, strict=True):
        sizes.append(int(n * s // THICKNESS * THICKNESS))
        first.append(((n - 1) - (sizes[-1] - 1) / s) / 2)
    grid = volume.grid.resampled(tuple(sizes), (1.0, 1.0, 1.0), tuple(first))
    fine = Volume(array, volume.grid)
    return fine, Volume(np.clip(resample(fine, grid, order=3).array, 0, None), grid)


def motion(number: int, grid: Grid) -> np.ndarray:
    """None for the first stack; about 2 mm and 2 degrees for the others."""
    if number == 0:
        return np.eye(4)
    turns = {1: (0.7, -0.6, 0.4), 2: (-0.5, 0.3, 0.8)}
    shifts = {1: (0.8, -0.4, 0.45), 2: (-0.5, 0.7, -0.5)}
    axis = np.array(turns[number]) / np.linalg.norm(turns[number])
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(2.0) * axis).as_matrix()
    centre = grid.index_to_world((np.array(grid.stored_shape) - 1) / 2)
    shift = 2.0 * np.array(shifts[number]) / np.linalg.norm(shifts[number])
    matrix[:3, 3] = centre + shift - matrix[:3, :3] @ centre
    return matrix


def stack_grid(truth: Grid, axis: int) -> Grid:
    """Whole thick slices across ``axis``."""
    shape, spacing, first = list(truth.stored_shape), list(truth.spacing), [0.0] * 3
    shape[axis] = int(shape[axis] // THICKNESS)
    spacing[axis], first[axis] = THICKNESS, (THICKNESS - 1) / 2
    return truth.resampled(tuple(shape), tuple(spacing), tuple(first))


def simulated(
    fine: Volume, grid: Grid, axis: int, moved: np.ndarray, noise: float, seed: int,
    wobble: np.ndarray,
) -> Volume:  # fmt: skip
    """A stack on ``grid`` with Gaussian slices.

    Args:
        fine: what is scanned.
        moved: 4x4 motion of the whole stack.
        wobble: ``(slices, 4, 4)``, motion of each slice before that.
    """
    splines = ndimage.spline_filter(fine.array, order=3, output=np.float32)
    offset = (np.arange(-2 * FINER, 2 * FINER + 1)) / FINER  # slices
    sigma = 1 / 2.354820045
    weight = np.exp(-0.5 * (offset / sigma) ** 2)
    weight /= weight.sum()
    shape = list(grid.stored_shape)
    slices = []
    others = [a for a in range(3) if a != axis]
    p, q = np.mgrid[: shape[others[0]], : shape[others[1]]]
    for number in range(shape[axis]):
        total = np.zeros(p.shape)
        for at, w in zip(offset, weight, strict=True):
            if w < 5e-4:
                continue
            index = np.empty((*p.shape, 3))
            index[..., others[0]], index[..., others[1]] = p, q
            index[..., axis] = number + at
            world = moved_points(moved @ wobble[number], grid.index_to_world(index))
            place = np.moveaxis(fine.grid.world_to_index(world)[..., ::-1], -1, 0)
            total += w * ndimage.map_coordinates(
                splines, place, order=3, mode="constant", prefilter=False
            )
        slices.append(total)
    stored = np.moveaxis(np.stack(slices), 0, axis)  # (i, j, k)
    array = stored.transpose(2, 1, 0)
    random = np.random.default_rng(seed)
    real, imaginary = random.standard_normal((2, *array.shape)) * noise
    return Volume(np.hypot(array + real, imaginary).astype(np.float32), grid)


def wobbles(count: int, size: float, seed: int, grid: Grid) -> np.ndarray:
    """Motion of single slices, mm and degrees of this standard deviation."""
    random = np.random.default_rng(seed)
    centre = grid.index_to_world((np.array(grid.stored_shape) - 1) / 2)
    result = np.tile(np.eye(4), (count, 1, 1))
    if size:
        turns = Rotation.from_rotvec(np.deg2rad(random.normal(0, size, (count, 3)))).as_matrix()
        result[:, :3, :3] = turns
        result[:, :3, 3] = centre + random.normal(0, size, (count, 3)) - turns @ centre
    return result


def displacement(found: np.ndarray, true: np.ndarray, points: np.ndarray) -> float:
    """Mean distance in mm between where points are put and where they belong."""
    gap = moved_points(found, points) - moved_points(true, points)
    return float(np.linalg.norm(gap, axis=-1).mean())


def scored(image: np.ndarray, truth: Volume, head_mask: np.ndarray) -> dict[str, float]:
    """Over the whole volume, and over the head (air holds noise and nothing else)."""
    return {
        "psnr": round(psnr(image, truth.array, data_range=1.0), 2),
        "psnr_head": round(psnr(image, truth.array, data_range=1.0, mask=head_mask), 2),
        "ssim_head": round(ssim(image, truth.array, data_range=1.0, mask=head_mask)[0], 4),
    }


def learned(stack: Volume, truth: Volume, minutes: float) -> dict[str, np.ndarray]:
    """The single-stack method that learns from the scan, where it is installed."""
    try:
        from mriforge.interslice.job import SliceOptions, sharpen_slices
    except ImportError:
        return {}
    options = SliceOptions(like=truth.grid, max_minutes=minutes)
    return {"axial, learned": sharpen_slices(stack, options).image.array}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--slice-motion", type=float, default=0.0, help="mm and degrees, SD")
    parser.add_argument("--implicit", type=float, default=0.0, help="minutes for the network")
    parser.add_argument("--learned", type=float, default=0.0, help="minutes, first stack alone")
    parser.add_argument("--stacks", type=Path, help="simulated stacks: read if there, else kept")
    arguments = parser.parse_args()
    allocator.tune()
    arguments.out.mkdir(parents=True, exist_ok=True)
    truth, stacks, motions, inside = kept(arguments)
    mask = ndimage.binary_dilation(truth.array > 0.1, iterations=2)
    by_header = [resample(s, truth.grid, 3, outside="nearest").array for s in stacks]
    by_truth = [
        resample(Volume(s.array, moved_grid(s.grid, m)), truth.grid, 3, outside="nearest").array
        for s, m in zip(stacks, motions, strict=True)
    ]
    images = {f"{name}, cubic": image for name, image in zip(NAMES, by_truth, strict=True)}
    images["mean by header"] = np.mean(by_header, axis=0)
    images["mean by true motion"] = np.mean(by_truth, axis=0)
    if arguments.learned:
        images |= learned(stacks[0], truth, arguments.learned)
    figures: dict = {}
    wishes = {"fused": job.FuseOptions(like=truth.grid, slice_motion=arguments.slice_motion > 0)}
    if arguments.implicit:
        wishes["fused, implicit"] = job.FuseOptions(
            like=truth.grid, method="implicit", max_minutes=arguments.implicit
        )
    for name, options in wishes.items():
        started = time.monotonic()
        result = job.fuse(stacks, options, Events())
        images[name] = result.image.array
        figures[name] = {**result.figures, "wall_s": round(time.monotonic() - started, 1)}
        figures["registration_error_mm"] = errors(result, motions, inside)
    table = {name: scored(image, truth, mask) for name, image in images.items()}
    print(
        f"registration error (mean displacement in the head): {figures['registration_error_mm']} mm"
    )
    print("| method | PSNR dB | PSNR head dB | SSIM head |\n|---|---|---|---|")
    for name, row in table.items():
        print(f"| {name} | {row['psnr']:.2f} | {row['psnr_head']:.2f} | {row['ssim_head']:.4f} |")
    figures |= {"table": table, "noise": arguments.noise}
    (arguments.out / "fusion.json").write_text(json.dumps(figures, indent=1, default=str))
    picture(truth, images, arguments.out / "fusion.png")


def kept(arguments: argparse.Namespace) -> tuple:
    """The simulation, read from a file where there is one."""
    path = arguments.stacks
    if path is not None and path.is_file():
        return pickle.loads(path.read_bytes())
    made = acquire(arguments)
    if path is not None:
        path.write_bytes(pickle.dumps(made))
    return made


def acquire(
    arguments: argparse.Namespace,
) -> tuple[Volume, list[Volume], list[np.ndarray], np.ndarray]:
    """The truth, three stacks, their motion, and points of the head (LPS mm)."""
    fine, truth = head(arguments.data)
    motions = [motion(n, truth.grid) for n in range(3)]
    stacks = []
    for number, axis in enumerate(AXES):
        grid = stack_grid(truth.grid, axis)
        wobble = wobbles(grid.stored_shape[axis], arguments.slice_motion, 10 + number, grid)
        stacks.append(simulated(fine, grid, axis, motions[number], arguments.noise, number, wobble))
    bright = ndimage.binary_opening(truth.array > 0.15, iterations=2)
    index = np.argwhere(bright)[::997, ::-1]
    return truth, stacks, motions, truth.grid.index_to_world(index)


def errors(result: job.FuseResult, motions: list, inside: np.ndarray) -> list[float]:
    """Per stack, relative to the first one."""
    found = [np.array(m) for m in result.transforms]
    return [
        round(displacement(f[len(f) // 2], m, inside), 3)
        for f, m in zip(found[1:], motions[1:], strict=True)
    ]


def picture(truth: Volume, images: dict[str, np.ndarray], path: Path) -> None:
    """Three reformats of every method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    wanted = ["axial, cubic", "mean by header", "mean by true motion"]
    shown = {"truth": truth.array}
    shown |= {n: images[n] for n in images if n in wanted or "fused" in n or "learned" in n}
    figure, axes = pyplot.subplots(3, len(shown), figsize=(3.2 * len(shown), 10))
    for column, (name, image) in enumerate(shown.items()):
        z, y, x = (n // 2 for n in image.shape)
        for row, cut in enumerate((image[z + 15], image[::-1, y], image[::-1, :, x + 8])):
            axes[row, column].imshow(cut, cmap="gray", vmin=0, vmax=1.1)
            axes[row, column].axis("off")
        axes[0, column].set_title(name)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
