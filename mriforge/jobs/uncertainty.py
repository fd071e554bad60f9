"""Options of ``superres`` about how far its result can be trusted, and what they do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.images import read_volume, write_image
from mriforge.jobs.options import option
from mriforge.volume import Image, as_series, like_input

if TYPE_CHECKING:
    from mriforge.superres.job import SuperresResult
    from mriforge.uncertainty.job import Measured

MAPS = {"uncertainty": "half_width", "spread": "spread", "null_space": "unmeasured"}
"""Option with the file to the name of the map in :class:`mriforge.uncertainty.job.Measured`."""
_SETTINGS = {"confidence": 90.0, "ensemble": 4, "ensemble_models": None, "calibrate_on": None}


@dataclass(frozen=True, kw_only=True)
class UncertaintyOptions:
    """The part of the options of ``superres`` that is about trust."""

    uncertainty: str | None = option(
        "output", "map: half-width of calibrated intervals", default=None, metavar="MAP"
    )
    confidence: float = option(
        "number",
        "share of voxels that intervals hold, in percent (default 90)",
        default=90.0,
        at_least=50,
        at_most=99,
        metavar="PERCENT",
    )
    calibrate_on: tuple[str, ...] | None = option(
        "files", "sharp scan of anybody to calibrate intervals on (repeatable)", default=None
    )
    spread: str | None = option(
        "output", "map: how far the method's answers differ", default=None, metavar="MAP"
    )
    ensemble: int = option(
        "integer", "turns of the image that are asked for (default 4)", default=4, at_least=2,
        at_most=16,
    )  # fmt: skip
    ensemble_models: str | None = option(
        "text", "further models that are asked too", default=None, metavar="NAME,..."
    )
    null_space: str | None = option(
        "output", "map: the part of the result that was not measured", default=None, metavar="MAP"
    )


def asked(options: UncertaintyOptions) -> bool:
    """Whether any map is wanted."""
    return any(getattr(options, name) is not None for name in MAPS)


def models(options: UncertaintyOptions) -> tuple[str, ...]:
    """Names or folders of the further models."""
    names = (options.ensemble_models or "").split(",")
    return tuple(name.strip() for name in names if name.strip())


def check_uncertainty(options: Any) -> None:
    """Combinations that cannot be meant.

    Raises:
        BadInput
    """
    for name, default in _SETTINGS.items():
        changed = getattr(options, name) != default
        wide = name in ("confidence", "calibrate_on")
        needed = ("uncertainty",) if wide else ("uncertainty", "spread")
        if changed and all(getattr(options, other) is None for other in needed):
            flags = " or ".join(f"--{other} MAP" for other in needed)
            raise BadInput(f"--{name.replace('_', '-')} is about a map.", f"Give {flags} too.")
    if options.labels and asked(options):
        raise BadInput("Labels have no maps of uncertainty.", "Leave them out.")
    if options.self_supervised:
        for name in ("ensemble_models", "calibrate_on"):
            if getattr(options, name) is not None:
                raise BadInput(
                    f"--{name.replace('_', '-')} is about sharpening in plane.",
                    "Thick slices are calibrated on the scan's own pixels: leave it out.",
                )


def check_size(image: Image, options: Any) -> None:
    """Refuses an image that is too small to be its own truth, before the work is done.

    Raises:
        BadInput
    """
    own = options.uncertainty is not None and options.prior is None and not options.calibrate_on
    if own and not options.self_supervised:
        from mriforge.superres.trials import SMALLEST

        shape = as_series(image).grid.stored_shape
        if any(shape[axis] < SMALLEST for axis in options.axes if shape[axis] > 1):
            raise BadInput(
                f"An image of {' x '.join(map(str, shape))} voxels is too small to calibrate "
                "intervals on itself.",
                "Give sharp scans with --calibrate-on, or leave out --uncertainty.",
            )


def add_maps(
    result: SuperresResult, options: Any, events: Events
) -> tuple[SuperresResult, Measured | None]:
    """Measures what is asked for; its figures go to those of the result and its provenance."""
    if not asked(options):
        return result, None
    from mriforge.uncertainty.job import Wanted, measure

    sharp = tuple(
        read_volume(path, events, what="sharp scan") for path in options.calibrate_on or ()
    )
    wanted = Wanted(
        interval=options.uncertainty is not None,
        spread=options.spread is not None,
        unmeasured=options.null_space is not None,
        confidence=options.confidence / 100,
        members=options.ensemble,
        calibrate_on=sharp,
    )
    measured = measure(result.trials, result.working, wanted, events)
    figures = {**result.figures, "trust": measured.figures}
    made = {**result.image.metadata.get("provenance", {}), "trust": measured.figures}
    image = result.image.with_array(result.image.array, provenance=made)
    return dataclasses.replace(result, image=image, figures=figures), measured


def write_maps(measured: Measured | None, image: Image, options: Any) -> dict[str, str]:
    """Writes the maps; returns their paths by option name."""
    written = {}
    for name, role in MAPS.items():
        path = getattr(options, name)
        if measured is not None and path is not None:
            one = measured.maps[role]
            written[name] = write_image(like_input(one, image), path, options.input)
    return written
