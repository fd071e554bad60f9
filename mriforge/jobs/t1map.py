"""Map T1 from images at several inversion times or flip angles, or from a reconstruction.

Models: ir (all magnetisation recovers between inversions), looklocker and molli (read out while it
recovers; T1 = T1* (B/A - 1)), irflash (a train of pulses of known flip angle and TR), vfa (steady
states at several flip angles). The times come from --times, from the file, or from the JSON file
beside it. A factors file of `recon` is mapped by irflash without forming its images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput
from mriforge.events import Events, to_json
from mriforge.jobs.device import chosen_device
from mriforge.jobs.images import about, read_image, read_volume, write_image, write_text
from mriforge.jobs.options import option
from mriforge.untrusted.texts import from_json
from mriforge.volume import Grid, Series, Volume

if TYPE_CHECKING:
    import numpy as np

    from mriforge.relaxometry.result import T1Map

MODELS = ("ir", "looklocker", "molli", "irflash", "vfa")
_FACTORS = ".npz"
_TIME_KEYS = (("TI_ms", 1.0), ("inversion_times_ms", 1.0), ("InversionTime", 1000.0))
_FLIP_KEYS = ("FlipAngle", "flip_angles_deg", "flip_deg")
_TR_KEYS = (("TR_ms", 1.0), ("repetition_ms", 1.0), ("RepetitionTime", 1000.0))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``t1map``."""

    input: str = option("input", "series of images, or factors (.npz) of recon", positional="IN")
    output: str = option("output", "T1 map in ms", positional="OUT")
    model: str | None = option("text", "how the signal depends on T1", default=None, choices=MODELS)
    times: tuple[float, ...] | None = option(
        "numbers", "inversion time of every image", default=None, at_least=0, metavar="MS,..."
    )
    flip_angles: tuple[float, ...] | None = option(
        "numbers",
        "flip angle of every image (vfa), or of the train (irflash)",
        default=None,
        above=0,
        metavar="DEG,...",
    )
    tr: float | None = option(
        "number", "time between pulses (irflash, vfa)", default=None, above=0, metavar="MS"
    )
    inversion: float | None = option(
        "number",
        "start of the recovery relative to its end, where known (-1: perfect)",
        default=None,
        at_least=-1.5,
        at_most=0.9,
    )
    signal: str = option(
        "text", "magnitudes, or with sign", default="magnitude", choices=("magnitude", "real")
    )
    mask: str | None = option("input", "where to fit", default=None)
    b1: str | None = option(
        "input", "true flip angle relative to the nominal one (vfa)", default=None
    )
    quality: str | None = option(
        "output", "R squared; negative where there is no T1: why", default=None, metavar="MAP"
    )
    error: str | None = option("output", "standard error of T1 in ms", default=None, metavar="MAP")
    range: tuple[float, ...] = option(
        "numbers",
        "T1 that is searched (default 50,5000)",
        default=(50.0, 5000.0),
        count=2,
        above=0,
        metavar="MS,MS",
    )
    register: bool = option("flag", "undo breathing: register to the model's images", default=False)
    transform: str = option(
        "text", "of --register", default="bspline", choices=("rigid", "bspline")
    )
    cardiac: int = option("integer", "cardiac phase of factors", default=0, at_least=0)
    respiratory: int = option("integer", "respiratory phase of factors", default=0, at_least=0)
    series: str | None = option("text", "series of a DICOM folder", default=None)
    time: str | None = option("text", "what the time axis of a DICOM series is", default=None)
    device: str = option("device", "auto, cpu, cuda, cuda:N or mps", default="auto")
    json: str | None = option(
        "output", "write settings and figures here", default=None, suffixes=(".json",)
    )


def check(options: Options) -> None:
    """Combinations that cannot be meant."""
    factors = options.input.endswith(_FACTORS)
    if factors and options.model not in (None, "irflash"):
        raise BadInput("Factors are recoveries under a pulse train.", "Leave out --model.")
    for name in ("times", "register"):
        if factors and getattr(options, name):
            raise BadInput(f"--{name} is about a series of images, not about factors.")
    if options.model is None and not factors and not options.flip_angles:
        raise BadInput("--model is missing: how the signal depends on T1.", "Give ir, molli, ...")
    if options.b1 is not None and _model(options) != "vfa":
        raise BadInput("--b1 is about flip angles.", "Use it with --model vfa.")
    if options.inversion is not None and _model(options) in ("vfa", "looklocker", "molli"):
        raise BadInput(f"--inversion has no meaning with --model {_model(options)}.")
    if options.range[0] >= options.range[1]:
        raise BadInput("--range is the smaller T1 first, then the larger one.")


def _model(options: Options) -> str:
    """The model, also where it follows from the other options."""
    if options.model is not None:
        return options.model
    return "irflash" if options.input.endswith(_FACTORS) else "vfa"


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, fits, writes; returns ``output``, what was fitted, and counts of voxels."""
    events.progress(0.0, f"reading {options.input}")
    inputs = [path for path in (options.input, options.mask, options.b1) if path]
    with about(options.input, inputs):
        if options.input.endswith(_FACTORS):
            found, grid, metadata = _from_factors(options, events.part(0.05, 0.9))
        else:
            found, grid, metadata = _from_series(options, events.part(0.05, 0.9))
    events.check_cancelled()
    events.progress(0.9, f"writing {options.output}")
    summary = _summary(found)
    written: dict[str, Any] = {}
    maps = {"output": found.t1_ms, "quality": found.quality(), "error": found.error_ms}
    for name, array in maps.items():
        path = getattr(options, name)
        if path is not None:
            image = Volume(array, grid, _describe(metadata, name, summary))
            source = None if options.input.endswith(_FACTORS) else options.input
            written[name] = write_image(image, path, source)
    result = {**written, **summary}
    if options.json is not None:
        result["json"] = write_text(to_json(result, indent=2), options.json)
    events.progress(1.0, "done")
    return result


def _summary(found: T1Map) -> dict[str, Any]:
    """Settings and figures of a map, JSON types."""
    import numpy as np

    summary: dict[str, Any] = {**found.info, "voxels": found.counts()}
    if found.fitted.any():
        t1, quality = found.t1_ms[found.fitted], found.r_squared[found.fitted]
        summary["t1_median_ms"] = round(float(np.median(t1)), 1)
        summary["t1_quartiles_ms"] = [round(float(q), 1) for q in np.percentile(t1, (25, 75))]
        summary["r_squared_median"] = round(float(np.median(quality)), 4)
    return summary


def _describe(metadata: dict[str, Any], name: str, summary: dict[str, Any]) -> dict[str, Any]:
    from mriforge import __version__

    what = {"output": "T1", "quality": "R squared of the T1 fit", "error": "standard error of T1"}
    provenance = {
        "software": f"MRIForge {__version__}",
        "use": "research use only",
        "job": "t1map",
        **summary,
    }
    if metadata.get("provenance"):
        provenance["of"] = metadata["provenance"]
    unit = "" if name == "quality" else "ms"
    kept = {key: value for key, value in metadata.items() if key not in ("times", "frame")}
    return {**kept, "quantity": what[name], "unit": unit, "provenance": provenance}


def _bounds_s(options: Options) -> tuple[float, float]:
    return options.range[0] / 1000, options.range[1] / 1000


def _from_factors(options: Options, events: Events) -> tuple[T1Map, Grid, dict[str, Any]]:
    from mriforge.factors import Factors
    from mriforge.relaxometry.subspace import t1_from_factors

    factors = Factors.load(options.input)
    info = factors.info
    tr_s = options.tr / 1000 if options.tr is not None else info.get("repetition_s")
    flip = options.flip_angles[0] if options.flip_angles else info.get("flip_deg")
    if tr_s is None or flip is None:
        raise BadInput(
            "The factors do not say with which TR and flip angle they were measured.",
            "Give --tr MS and --flip-angles DEG.",
        )
    if options.flip_angles and len(options.flip_angles) != 1:
        raise BadInput("A pulse train has one flip angle.", "Give one with --flip-angles.")
    found = t1_from_factors(
        factors,
        options.cardiac,
        options.respiratory,
        float(tr_s),
        float(flip),
        mask=_on_grid(options.mask, factors.grid, "mask", events),
        inversion=options.inversion,
        bounds_s=_bounds_s(options),
        device=_device(options),
        events=events,
    )
    found.info.update(cardiac=options.cardiac, respiratory=options.respiratory)
    return found, factors.grid, dict(info)


def _from_series(options: Options, events: Events) -> tuple[T1Map, Grid, dict[str, Any]]:
    image = read_image(options.input, events, series=options.series, time=options.time)
    if not isinstance(image, Series) or len(image) < 3:
        count = len(image) if isinstance(image, Series) else 1
        wanted = len(options.times or options.flip_angles or ())
        hint = "Give the whole series as one four-dimensional file or DICOM folder."
        if count == 1 and wanted in image.grid.shape:
            hint = "Its images seem to be stored as slices; save them as a series (four axes)."
        raise BadInput(f"A T1 map needs at least 3 images, and there is {count}.", hint)
    events.check_cancelled()
    mask = _on_grid(options.mask, image.grid, "mask", events)
    beside = _beside(options.input)
    fit, synthesize = _fitters(options, image, beside, mask)
    array, moved = image.array, None
    if options.register:
        from mriforge.relaxometry.motion import register_series

        spacing = image.grid.spacing[:2]
        moved = register_series(
            array, spacing, synthesize, options.transform, events=events.part(0.05, 0.9)
        )
        array = moved.series
    found = fit(array, events.part(0.9 if options.register else 0.0, 1.0))
    if moved is not None:
        found.info["registration"] = moved.info
    bad = found.counts()["bad_input"]
    if bad and options.signal == "magnitude":
        events.log(f"{bad} voxels have negative values, which magnitudes cannot have: no T1 there.")
    return found, image.grid, dict(image.metadata)


def _fitters(
    options: Options, image: Series, beside: dict[str, Any], mask: np.ndarray | None
) -> tuple[Any, Any]:
    """``fit(array, events)`` to a map, and ``synthesize(array)`` to the images of the model."""
    import numpy as np

    model, device = _model(options), _device(options)
    if model == "vfa":
        return _flip_fitters(options, image, beside, mask)
    from mriforge.relaxometry.models import RecoveryModel
    from mriforge.relaxometry.recovery import fit_recovery

    times_s = np.asarray(_times_ms(options, image, beside)) / 1000
    tr_s = flip = 0.0
    if model == "irflash":
        angles = options.flip_angles or _numbers(beside, _FLIP_KEYS)
        if not angles or len(set(angles)) != 1:
            raise BadInput("The irflash model needs one flip angle.", "Give --flip-angles DEG.")
        tr_s, flip = _tr_ms(options, beside) / 1000, angles[0]
    kind = "looklocker" if model == "molli" else model
    settings = RecoveryModel(kind, _bounds_s(options), options.inversion, tr_s, flip)
    # The curve itself, whatever T1 it means, is what images are compared with.
    curve = RecoveryModel("ir", (0.02, 20.0), options.inversion)

    def fit(array: np.ndarray, events: Events) -> T1Map:
        found = fit_recovery(array, times_s, settings, options.signal, mask, device, events)
        found.info.update(model=model, times_ms=(1000 * times_s).round(3).tolist())
        return found

    def synthesize(array: np.ndarray) -> np.ndarray:
        found = fit_recovery(array, times_s, curve, options.signal, None, device)
        images = curve.curve(found, times_s)
        images = np.abs(images) if options.signal == "magnitude" else images
        return np.where(found.fitted, images, array.mean(0))

    return fit, synthesize


def _flip_fitters(
    options: Options, image: Series, beside: dict[str, Any], mask: np.ndarray | None
) -> tuple[Any, Any]:
    import numpy as np

    from mriforge.relaxometry.signals import spoiled_gradient_echo
    from mriforge.relaxometry.vfa import fit_flip_angles

    angles = options.flip_angles or _numbers(beside, _FLIP_KEYS)
    if not angles and image.time_name == "flip angle":
        angles = image.times.tolist()
    if not angles:
        raise BadInput("The file does not say the flip angles.", "Give --flip-angles DEG,...")
    _same_count(angles, image, "flip angles", "--flip-angles DEG,...")
    flip, tr_s, device = np.asarray(angles), _tr_ms(options, beside) / 1000, _device(options)
    b1 = _on_grid(options.b1, image.grid, "b1", Events())

    def fit(array: np.ndarray, events: Events) -> T1Map:
        return fit_flip_angles(array, flip, tr_s, mask, b1, _bounds_s(options), device, events)

    def synthesize(array: np.ndarray) -> np.ndarray:
        found = fit_flip_angles(array, flip, tr_s, None, b1, (0.02, 20.0), device)
        own = flip[:, None, None, None] * (1.0 if b1 is None else b1)
        t1_s = np.where(found.fitted, found.t1_ms, 1000.0) / 1000
        images = found.amplitude * spoiled_gradient_echo(t1_s, own, tr_s)
        return np.where(found.fitted, images, array.mean(0))

    return fit, synthesize


def _device(options: Options) -> Any:
    """Fits are so short that a GPU has to be asked for."""
    return chosen_device(options.device) or "cpu"


def _on_grid(path: str | None, grid: Grid, what: str, events: Events) -> np.ndarray | None:
    """A mask (bool) or a map on the grid of the images."""
    if path is None:
        return None
    volume = read_volume(path, events, what=what)
    if not volume.grid.matches(grid):
        raise BadInput(
            f"The {what} {path} is not on the grid of the images "
            f"({volume.grid.stored_shape} and {grid.stored_shape} voxels).",
            "Resample it to the images first.",
        )
    return volume.array != 0 if what == "mask" else volume.array


def _beside(path: str) -> dict[str, Any]:
    """What the JSON file beside an image says; empty when there is none."""
    name = Path(path)
    stem = name.name.removesuffix(".gz").rsplit(".", 1)[0] if name.is_file() else ""
    sidecar = name.with_name(stem + ".json") if stem else None
    if sidecar is None or not sidecar.is_file():
        return {}
    try:
        content = from_json(sidecar.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{sidecar}, beside the images, cannot be read ({error}).") from error
    return content if isinstance(content, dict) else {}


def _numbers(beside: dict[str, Any], keys: Sequence[str]) -> tuple[float, ...]:
    """The first of the keys that holds numbers."""
    for key in keys:
        value = beside.get(key)
        values = value if isinstance(value, list) else [value]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            return tuple(float(v) for v in values)
    return ()


def _times_ms(options: Options, image: Series, beside: dict[str, Any]) -> tuple[float, ...]:
    """Of the option, else of the JSON file, else of the images."""
    times = options.times or ()
    for key, factor in _TIME_KEYS:
        if not times:
            times = tuple(factor * value for value in _numbers(beside, (key,)))
    known = ("inversion time", "trigger time")
    if not times and image.time_name in known and image.time_unit in ("ms", "s"):
        times = tuple((image.times * (1000 if image.time_unit == "s" else 1)).tolist())
    if not times:
        raise BadInput("The file does not say the inversion times.", "Give --times MS,...")
    _same_count(times, image, "inversion times", "--times MS,...")
    return times


def _same_count(values: Sequence[float], image: Series, what: str, flag: str) -> None:
    if len(values) != len(image):
        raise BadInput(
            f"There are {len(image)} images and {len(values)} {what}.", f"Give them with {flag}"
        )


def _tr_ms(options: Options, beside: dict[str, Any]) -> float:
    if options.tr is not None:
        return options.tr
    for key, factor in _TR_KEYS:
        if found := _numbers(beside, (key,)):
            return factor * found[0]
    raise BadInput("The file does not say the time between pulses.", "Give it with --tr MS.")
