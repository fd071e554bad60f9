"""What all formats share: errors that name the file, dtypes, times, provenance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput, Cancelled, MRIForgeError
from mriforge.untrusted.texts import from_json
from mriforge.volume import Grid, Image, Series

WHOLE = "The file may be damaged or cut off; copy or export it again."
_CONTAINER = "mriforge"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while ``path`` is read into a :class:`BadInput` naming it."""
    try:
        yield
    except Cancelled:
        raise
    except MRIForgeError as error:
        if str(path) not in error.message:
            error.message = f"{path}: {error.message}"
            error.args = (error.message,)
        error.hint = error.hint or "Correct the header of the file, or export it again."
        raise
    except PermissionError as error:
        raise BadInput(
            f"{path} may not be read (permission denied).", "Ask for the right to read it."
        ) from error
    except MemoryError as error:
        raise BadInput(
            f"{path} says that it holds more voxels than fit into the memory.", WHOLE
        ) from error
    except Exception as error:
        # Format libraries raise anything from EOFError to zlib.error on damaged files.
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        if "success" in reason.lower():  # ITK on a file that ends early: errno was never set
            reason = "it ends early"
        raise BadInput(f"{path} cannot be read ({reason}).", WHOLE) from error


def real_native(array: np.ndarray) -> np.ndarray:
    """Same values in the byte order of this machine.

    Raises:
        BadInput: for complex numbers, colours and other voxels that are not one real number.
    """
    if array.dtype.kind == "c":
        raise BadInput(
            "The voxels are complex numbers (raw or phase data).",
            "Save the magnitude image and use that.",
        )
    if array.dtype.kind not in "biuf":
        raise BadInput(
            "The voxels are colours or vectors, not one grey value each.",
            "Use a grey-scale image.",
        )
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def storable(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that every file format has; values are unchanged."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return real_native(array)


def rescaled(array: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """``slope * array + intercept`` as float32 (float64 where float32 would lose digits).

    A slope of 1 and an intercept of 0 return the array itself, integers stay integers.
    """
    if slope == 1 and intercept == 0:
        return array
    exact = array.dtype.itemsize <= 2 or array.dtype == np.float32
    dtype = np.float32 if exact else np.float64
    return (array.astype(np.float64) * slope + intercept).astype(dtype)


def describe(image: Image) -> dict[str, Any]:
    """What a header cannot say exactly: provenance, times, geometry. JSON-serialisable."""
    grid = image.grid
    text = {
        "grid": {
            "shape": list(grid.shape),
            "spacing": list(grid.spacing),
            "origin": list(grid.origin),
            "direction": list(grid.direction),
        },
        "metadata": plain(image.metadata),
    }
    if isinstance(image, Series):
        text["times"] = image.times.tolist()
        text["time_name"] = image.time_name
        text["time_unit"] = image.time_unit
    return {_CONTAINER: text}


def described(text: str | bytes | None) -> dict[str, Any]:
    """The inverse of :func:`describe`, from JSON text; empty when it is something else."""
    if not text:
        return {}
    try:
        content = from_json(text)
    except ValueError:
        return {}
    inner = content.get(_CONTAINER) if isinstance(content, dict) else None
    return inner if isinstance(inner, dict) else {}


def exact_grid(grid: Grid, text: dict[str, Any], tolerance_mm: float = 1e-3) -> Grid:
    """The grid of ``text`` if it is the same place as ``grid`` but with more digits.

    A header that another program changed afterwards wins.
    """
    try:
        known = text["grid"]
        better = Grid(known["shape"], known["spacing"], known["origin"], known["direction"])
    except (KeyError, TypeError, BadInput):
        return grid
    return better if better.matches(grid, tolerance_mm) else grid


def known_times(text: dict[str, Any], frames: int) -> tuple[np.ndarray, str, str] | None:
    """Times, their name and unit of ``text`` if they are those of ``frames`` frames."""
    times = text.get("times")
    if not isinstance(times, list) or len(times) != frames:
        return None
    try:
        values = np.asarray(times, dtype=float)
    except (TypeError, ValueError):
        return None
    if values.shape != (frames,) or not np.isfinite(values).all():
        return None
    return values, str(text.get("time_name", "time")), str(text.get("time_unit", "s"))


def known_metadata(text: dict[str, Any]) -> dict[str, Any]:
    """Metadata of ``text``, without what only described the file it came from."""
    metadata = text.get("metadata")
    return dict(metadata) if isinstance(metadata, dict) else {}


def plain(value: Any) -> Any:
    """``value`` with NumPy numbers, paths and tuples as JSON knows them."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
