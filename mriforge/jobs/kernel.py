"""Learn how a scanner loses resolution from a few of its images, LOW and HIGH, that need not match.

The kernel that is learned (OUT.json) makes low-resolution images as the scanner does: `degrade
--kernel`, `train --kernel`, and across slices `superres --self-supervised --profile`.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.device import chosen_device
from mriforge.jobs.images import about, read_image, write_text
from mriforge.jobs.options import option

if TYPE_CHECKING:
    from mriforge.blind.learn import LearntKernel
    from mriforge.blind.scans import Scans
    from mriforge.recipes import Recipe
    from mriforge.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``kernel``."""

    low: str = option("input", "real low-resolution scan", positional="LOW")
    high: str = option("input", "sharp scan; need not be of the same place", positional="HIGH")
    output: str = option("output", "kernel file", positional="OUT", suffixes=(".json",))
    more_low: tuple[str, ...] | None = option(
        "files", "a further low-resolution scan (repeatable)", default=None
    )
    more_high: tuple[str, ...] | None = option(
        "files", "a further sharp scan (repeatable)", default=None
    )
    axes: tuple[int, ...] = option(
        "integers", "axes in plane (default 0,1)", default=(0, 1), count=2, metavar="A,B"
    )
    recipe: str = option(
        "text", "how to learn", default="downsampling_gan:small", metavar="NAME|FILE"
    )
    max_minutes: float | None = option(
        "number", "time budget of the learning", default=None, above=0, metavar="MIN"
    )
    steps: int | None = option("integer", "learn for so many steps", default=None, at_least=1)
    denoise: bool = option("flag", "remove noise from the low-resolution scans", default=True)
    picture: str | None = option("output", "draw the kernel here", default=None, suffixes=(".png",))
    checkpoint: str | None = option(
        "output", "keep the state of the learning here", default=None, suffixes=(".safetensors",)
    )
    resume: bool = option("flag", "go on from --checkpoint", default=False)
    device: str = option("device", "auto, cpu, cuda, cuda:N or mps", default="auto")


def check(options: Options) -> None:
    """A recipe that cannot be used is refused before torch is imported."""
    from mriforge.recipes import load_recipe

    recipe = load_recipe(options.recipe)
    if recipe.task != "kernel":
        raise BadInput(
            f"The recipe '{options.recipe}' does not learn a kernel.", "Use downsampling_gan."
        )
    if len(set(options.axes)) != 2 or not set(options.axes) <= {0, 1, 2}:
        raise BadInput(f"--axes are two of 0, 1, 2, not {','.join(map(str, options.axes))}.")
    if options.resume and options.checkpoint is None:
        raise BadInput("--resume needs a checkpoint.", "Give one with --checkpoint FILE.")
    if options.checkpoint is not None and recipe.kernel.slices == "each":
        raise BadInput(
            f"The recipe '{options.recipe}' plays a game for each slice and keeps no checkpoint.",
            "Leave out --checkpoint, or choose a recipe for all slices.",
        )
    if options.checkpoint and os.path.exists(options.checkpoint) and not options.resume:
        raise BadInput(
            f"There is already a checkpoint {options.checkpoint}.",
            "Continue it with --resume, or choose another name.",
        )


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, learns, writes; returns the files and what is known of the kernel."""
    if options.picture is not None:
        from mriforge.report.figures import figure_class

        figure_class()  # a missing matplotlib is said before any work
    from mriforge.blind.scans import prepare
    from mriforge.networks.registry import build

    recipe = _recipe(options)
    ratio = build(recipe.network.name, **recipe.network.options).ratio
    files = {
        "low": [options.low, *(options.more_low or ())],
        "high": [options.high, *(options.more_high or ())],
    }
    scans = {kind: [_volume(path, events) for path in paths] for kind, paths in files.items()}
    with about(f"{options.low} and {options.high}", [*files["low"], *files["high"]]):
        ready = prepare(
            scans["low"],
            scans["high"],
            ratio=ratio,
            axes=tuple(options.axes),
            denoise=recipe.kernel.denoise if options.denoise else 0.0,
            events=events.part(0.02, 0.1),
        )
        taps, games, figures = _learn(ready, recipe, options, events.part(0.1, 0.97))
    return _deliver(taps, games, figures, ready, files, options)


def _recipe(options: Options) -> Recipe:
    from mriforge.recipes import load_recipe

    recipe = load_recipe(options.recipe)
    limits = {}
    if options.max_minutes is not None:
        limits["max_minutes"] = options.max_minutes
    if options.steps is not None:
        limits["steps"] = options.steps
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **limits))


def _volume(path: str, events: Events) -> Volume:
    """A volume; of a series the frame in the middle."""
    from mriforge.volume import as_series

    series = as_series(read_image(path, events))
    return series[len(series) // 2]


def _learn(
    ready: Scans, recipe: Recipe, options: Options, events: Events
) -> tuple[Any, list[LearntKernel], dict[str, Any]]:
    from mriforge.blind.learn import learn_each, learn_kernel, mean_of
    from mriforge.device import choose_device

    device = choose_device(chosen_device(options.device) or "auto")
    if recipe.kernel.slices == "each" and len(ready.low) > 1:
        games = learn_each(
            ready.low,
            ready.high,
            recipe,
            raw=ready.raw,
            noise=ready.noise,
            device=device,
            events=events,
        )
        mean = mean_of(games)
        return mean["taps"], games, {"spread": mean["spread"], "device": str(device)}
    found = learn_kernel(
        ready.low,
        ready.high,
        recipe,
        raw=ready.raw,
        noise=ready.noise,
        checkpoint=None if options.checkpoint is None else _path(options.checkpoint),
        resume=options.resume,
        device=device,
        events=events,
    )
    return found.taps, [found], {"device": str(device)}


def _path(name: str) -> Any:
    from pathlib import Path

    return Path(name)


def _deliver(
    taps: Any,
    games: list[LearntKernel],
    figures: dict[str, Any],
    ready: Scans,
    files: dict[str, list[str]],
    options: Options,
) -> dict[str, Any]:
    from mriforge import __version__
    from mriforge.blind.describe import widths
    from mriforge.physics.downsampling import DownsamplingKernel

    first = games[0]
    figures = {
        "recipe": options.recipe,
        "games": len(games),
        "steps": first.steps,
        "seconds": round(sum(game.seconds for game in games), 1),
        "stopped": first.stopped,
        "likeness_db": round((first.best or first.history[-1]).get("likeness", 0.0), 3),
        "fwhm_pixels": [round(w, 2) for w in widths(taps)],
        "axes": list(options.axes),
        **ready.figures,
        **figures,
    }
    provenance = {
        "operation": "kernel",
        **{kind: [os.path.basename(path) for path in paths] for kind, paths in files.items()},
        **figures,
        "mriforge": __version__,
    }
    kernel = DownsamplingKernel(taps, first.ratio, ready.spacing, provenance)
    result: dict[str, Any] = {"output": write_text(kernel.to_json(), options.output), **figures}
    if options.picture is not None:
        from mriforge.blind.describe import example
        from mriforge.report.kernel import kernel_picture

        real, made = example(kernel, ready.low, ready.high)
        result["picture"] = str(
            kernel_picture(options.picture, kernel.taps, kernel.ratio, real=real, made=made)
        )
    return result
