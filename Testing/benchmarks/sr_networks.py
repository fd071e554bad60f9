"""The supervised and adversarial networks side by side on a few public volumes, run small.

    python Testing/benchmarks/sr_networks.py DATA OUT [--minutes 10] [--keep 0.0625]
        [--only NAME,...]

DATA is a folder of public MR volumes as the tables below name them. Each system is trained on the
training subjects for --minutes (adversarial ones go on from the network that theirs go on from, for
as long again) and judged on subjects that no training saw: SSIM, PSNR and NRMSE of each slice
across the degraded plane, quality without a reference, seconds for a volume, parameters; paired
tests over slices. All inputs are the same zero-filled images of --keep of k-space (by default a
sixteenth, as in chapter 5; chapters 3 and 4 and Lyu et al. keep a quarter, with which minutes teach
next to nothing on volumes of 1 mm); gains are over these, aligned linear and half-pixel linear
interpolation. Trainings that exist in OUT are not repeated. Writes OUT/sr_networks.json, .md and a
picture of quality against error.

Different data from the papers', and minutes in place of days: orders can be compared, figures not.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mriforge import allocator
from mriforge.errors import BadInput
from mriforge.io import read
from mriforge.metrics.no_reference.niqe import niqe
from mriforge.metrics.no_reference.piqe import piqe
from mriforge.metrics.no_reference.pristine import load_niqe
from mriforge.metrics.statistics import paired_tests
from mriforge.models.store import load_model
from mriforge.networks.registry import count_parameters
from mriforge.physics.interpolation import BASELINES
from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes import load_recipe
from mriforge.superres.inference import Predictor
from mriforge.training.job import train
from mriforge.training.patches import low_matrix
from mriforge.volume import Grid, as_series

BRAIN, SPINE = "brain", "spine"
TRAIN = {
    "brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz": ("sf02", "PDDL-1.0", BRAIN),
    "brain3d/BraTS-MET-00110-000-t1c.nii.gz": ("brats", "Apache-2.0", BRAIN),
    "aniso/sct_errsm30_T2w_spine_1mm.nii.gz": ("errsm30", "MIT", SPINE),
}
VALIDATION = {"brain3d/niivue_norm_T1w_1mm_brain.mgz": ("niivue", "BSD-2-Clause", BRAIN)}
TEST = {
    "brain": "brain3d/adi_T1w_memprage_1.1mm.nii.gz",
    "spine": "aniso/TPTBox_sub-mri_label-6_T2w.nii.gz",
}
SLICES, SLAB = 24, 40
"""Slices across the degraded plane that are judged, of the middle slices of a volume that stay."""
BRIGHT = 255.0
"""Bright tissue, for the measures without a reference."""


@dataclass(frozen=True)
class System:
    """One line of the table: a recipe, and the system that it goes on from."""

    recipe: str
    start: str = ""
    small: tuple[str, str] | None = None
    """Recipe whose small settings an ablation is trained with, and its own network's recipe."""


SYSTEMS = {
    "FSRCNN 2-D": System("dcsrn:fsrcnn2d", small=("mdcsrn:small", "dcsrn:fsrcnn2d")),
    "FSRCNN 3-D": System("dcsrn:fsrcnn3d", small=("mdcsrn:small", "dcsrn:fsrcnn3d")),
    "DCSRN": System("dcsrn", small=("mdcsrn:small", "dcsrn")),
    "SRResNet 3-D": System("mdcsrn:srresnet3d", small=("mdcsrn:small", "mdcsrn:srresnet3d")),
    "SRDenseNet 3-D": System("mdcsrn:srdensenet3d", small=("mdcsrn:small", "mdcsrn:srdensenet3d")),
    "mDCSRN b4u4": System("mdcsrn:small"),
    "mDCSRN-GAN b4u4": System("mdcsrn_gan:small", "mDCSRN b4u4"),
    "CPCE with L1": System("gan_cpce:l1", small=("gan_cpce:small", "gan_cpce:l1")),
    "GAN-CPCE": System("gan_cpce:small"),
    "GAN-CIRCLE": System("gan_circle:small"),
    "Joint mDCSRN": System("dragan:small_joint"),
    "Two-stage GAN": System("dragan:small_gan", "Joint mDCSRN"),
    "Two-stage DRAGAN": System("dragan:small", "Joint mDCSRN"),
}


def recipe_of(system: System, keep: float = 0.0):
    """A system's recipe; published networks get the small settings of their neighbours.

    Args:
        keep: part of k-space that all are given; 0: what the recipe says.
    """
    recipe = _own_recipe(system)
    if keep:
        degradation = dataclasses.replace(recipe.degradation, keep=(keep,))
        recipe = dataclasses.replace(recipe, degradation=degradation)
    if recipe.adversarial.kind == "none" and recipe.patches.size[0] > 1:
        # Many small steps: in minutes it is their number that limits what is learned.
        recipe = dataclasses.replace(recipe, patches=dataclasses.replace(recipe.patches, batch=1))
    return recipe


def _own_recipe(system: System):
    if system.small is None:
        return load_recipe(system.recipe)
    base, own = (load_recipe(name) for name in system.small)
    network = own.network
    # On equal terms: all learn what truncation removed (from nothing, some would spend all their
    # minutes on learning to repeat their input), and none normalises by what is in a batch.
    options = {**network.options, "residual": True}
    if "dcsrn" in network.name:
        options["normalisation"] = "none"
    network = dataclasses.replace(network, options=options)
    changes = {"name": own.name, "title": own.title, "source": own.source, "network": network}
    if base.adversarial.kind != own.adversarial.kind:
        changes |= {"adversarial": own.adversarial, "loss": own.loss}
    return dataclasses.replace(base, **changes)


def manifest(data: Path, out: Path) -> Path:
    """The list of training and validation images."""
    entries = [
        {
            "path": str((data / path).resolve()),
            "subject": subject,
            "split": split,
            "licence": licence,
            "domain": domain,
        }
        for split, files in (("train", TRAIN), ("validation", VALIDATION))
        for path, (subject, licence, domain) in files.items()
    ]
    path = out / "manifest.json"
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries, indent=2), encoding="utf-8")
    return path


def trained(name: str, chosen: argparse.Namespace, listed: Path) -> Path:
    """The model folder of a system; trained if it is not there."""
    system, folder = SYSTEMS[name], chosen.out / name.replace(" ", "_").replace(",", "")
    if not (folder / "model" / "card.json").is_file():
        start = trained(system.start, chosen, listed) if system.start else None
        print(f"training {name} for {chosen.minutes:g} minutes", flush=True)
        outcome = train(
            recipe_of(system, chosen.keep), listed, folder, max_minutes=chosen.minutes, resume=True,
            device=chosen.device, start=start,
        )  # fmt: skip
        print(f"{name}: {outcome.result.steps} steps, {outcome.result.best}", flush=True)
    return folder / "model"


def test_pairs(data: Path, keep: float) -> dict[str, tuple[torch.Tensor, KspaceCrop, torch.Tensor]]:
    """Per test subject: sharp volume with the degraded plane last, operator, truncated volume."""
    found = {}
    for name, path in TEST.items():
        volume = as_series(read(data / path)).array[0].astype(np.float32)
        first = max(0, (len(volume) - SLAB) // 2)
        volume = volume[first : first + SLAB] / np.percentile(volume, 99.5)
        sharp = torch.from_numpy(volume)
        height, width = low_matrix(tuple(sharp.shape[1:]), keep)
        operator = KspaceCrop(Grid(tuple(sharp.shape)), (width, height, sharp.shape[0]))
        found[name] = (sharp, operator, operator.A_complex(sharp).abs())
    return found


def figures(image: np.ndarray, sharp: np.ndarray) -> dict[str, list[float]]:
    """Figures of slices across the degraded plane, where there is tissue."""
    from mriforge.metrics.ssim import ssim

    tissue = (sharp > 0.1).mean(axis=(1, 2))
    rich = np.flatnonzero(tissue > 0.25)
    rich = rich if len(rich) >= 8 else np.argsort(tissue)[-8:]
    model = load_niqe()
    rows: dict[str, list[float]] = {name: [] for name in ("psnr", "ssim", "nrmse", "niqe", "piqe")}
    for number in rich[np.linspace(0, len(rich) - 1, min(SLICES, len(rich))).round().astype(int)]:
        a, b = image[number], sharp[number]
        error = float(np.square(a - b).mean())
        rows["psnr"].append(20 * float(np.log10(b.max())) - 10 * float(np.log10(max(error, 1e-12))))
        rows["nrmse"].append(float(np.linalg.norm(a - b) / np.linalg.norm(b)))
        rows["ssim"].append(ssim(a / b.max(), b / b.max())[0])
        for key, score in (("niqe", lambda x, inside: niqe(x, model, inside)), ("piqe", piqe)):
            try:
                rows[key].append(float(score(BRIGHT * a, b > 0.1)))
            except BadInput as fault:  # slices smaller than a patch of the model
                print(key, fault)
                rows[key].append(float("nan"))
    return rows


def judge(name: str, path: Path | None, data: Path, keep: float) -> dict:
    """All figures of a system on the test subjects; an interpolation where ``path`` is None."""
    model = None if path is None else load_model(path)[0]
    predictor = None if model is None else Predictor(model, device="cpu")
    result: dict = {"parameters": 0 if model is None else count_parameters(model), "subjects": {}}
    for subject, (sharp, operator, low) in test_pairs(data, keep).items():
        started = time.monotonic()
        if name == TRUTH:
            image = sharp
        elif predictor is None:
            image = operator.zero_fill(low) if name == "sinc" else BASELINES[name](low, operator)
        else:
            image = predictor(operator.zero_fill(low)[None, None])[0, 0]
        seconds = time.monotonic() - started
        rows = figures(image.numpy(), sharp.numpy())
        result["subjects"][subject] = {"seconds": round(seconds, 2), **rows}
    return result


def means(result: dict, figure: str) -> float:
    return float(np.nanmean([np.nanmean(s[figure]) for s in result["subjects"].values()]))


def slices_of(result: dict, figure: str) -> list[float]:
    return [value for subject in result["subjects"].values() for value in subject[figure]]


TRUTH = "truth"
"""The sharp image itself: what the measures without a reference say of it."""
PLAIN = {"zero-filled": "sinc", "linear, aligned": "linear_aligned", "linear": "linear_halfpixel"}
COLUMNS = ("psnr", "ssim", "nrmse", "niqe", "piqe")


def markdown(results: dict[str, dict], base: str) -> str:
    """One table; ``base`` is what gains and tests are over."""
    lines = [
        "| system | parameters | s | PSNR dB | gain over " + " / ".join(PLAIN) + " | SSIM | NRMSE "
        "| NIQE | PIQE | p of PSNR against " + base + " |",
        "|---" * 10 + "|",
    ]
    for name, result in results.items():
        if name == TRUTH:
            looks = " | ".join(f"{means(result, figure):.2f}" for figure in COLUMNS[3:])
            lines.append(f"| {TRUTH} | – | – | – | – | – | – | {looks} | – |")
            continue
        gains = [f"{means(result, 'psnr') - means(results[plain], 'psnr'):+.2f}" for plain in PLAIN]
        test = "–"
        if name != base:
            found = paired_tests(slices_of(result, "psnr"), slices_of(results[base], "psnr"))
            test = f"{found.wilcoxon_p:.2g} ({found.mean_difference:+.2f})"
        digits = {"psnr": 2, "niqe": 2, "piqe": 1}
        numbers = [f"{means(result, c):.{digits.get(c, 3)}f}" for c in COLUMNS]
        cells = [name, f"{result['parameters']:,}", f"{means(result, 'seconds'):.1f}", numbers[0]]
        lines.append("| " + " | ".join([*cells, " / ".join(gains), *numbers[1:], test]) + " |")
    return "\n".join(lines)


def trade_off(results: dict[str, dict], path: Path) -> None:
    """Quality without a reference against error (figure 5.7)."""
    from mriforge.report.figures import figure_class, to_png

    figure = figure_class()(7.0, 5.0)
    axes = figure.add_subplot()
    for name, result in results.items():
        place = means(result, "nrmse"), means(result, "niqe")
        axes.plot(*place, "o", color="tab:grey" if name in (TRUTH, *PLAIN) else "tab:blue")
        axes.annotate(name, place, fontsize=8, xytext=(4, 4), textcoords="offset points")
    axes.set_xlabel("error: NRMSE (less is better)")
    axes.set_ylabel("NIQE (less is better)")
    figure.tight_layout()
    path.write_bytes(to_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--keep", type=float, default=0.0625, help="part of k-space; 0: each its own"
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    allocator.tune()
    listed = manifest(chosen.data, chosen.out)
    names = chosen.only.split(",") if chosen.only else list(SYSTEMS)
    kept = chosen.out / "sr_networks.json"
    groups = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for name in names:
        keep = recipe_of(SYSTEMS[name], chosen.keep).degradation.keep[0]
        group = groups.setdefault(f"{keep:g} of k-space", {})
        for title, plain in {TRUTH: TRUTH, **PLAIN}.items():
            if title not in group:
                group[title] = judge(plain, None, chosen.data, keep)
        if name not in group:
            group[name] = judge(name, trained(name, chosen, listed), chosen.data, keep)
            psnr, sharpness = (round(means(group[name], f), 3) for f in ("psnr", "niqe"))
            print(name, psnr, sharpness, flush=True)
        kept.write_text(json.dumps(groups, indent=1), encoding="utf-8")
    text = []
    for number, (title, group) in enumerate(groups.items()):
        base = next((n for n in ("mDCSRN b4u4", "Joint mDCSRN") if n in group), "zero-filled")
        text += [f"### {title}\n", markdown(group, base), ""]
        trade_off(group, chosen.out / f"trade_off_{number}.png")
    (chosen.out / "sr_networks.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
