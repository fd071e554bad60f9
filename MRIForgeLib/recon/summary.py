"""What happened, in sentences for the panel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MRIForgeLib.text import duration

_LEAST_SHARE, _LEAST_S = 0.01, 0.5


def sentences(result: Mapping[str, Any], files: Mapping[str, Path]) -> list[str]:
    """What a reconstruction says about its result.

    Args:
        result: of the command ``recon``, or the files of an earlier one.
        files: where the results are kept.
    """
    found = []
    seconds = result.get("seconds")
    if isinstance(seconds, Mapping):
        found.append(_times(seconds, result.get("device")))
    if isinstance(result.get("nrmse"), int | float):
        error = f"{100 * result['nrmse']:.1f}"
        found.append(_("Against the simulated truth: NRMSE {error} %.").format(error=error))
    if files:
        found.append(_("Files: {folder}").format(folder=files["factors"].parent))
    return found


def _times(seconds: Mapping[str, Any], device: Any) -> str:
    stages = {name: float(value) for name, value in seconds.items() if name != "total"}
    total = float(seconds.get("total", sum(stages.values())))
    text = _("Done in {time}.").format(time=duration(total))
    if device:
        text = _("Done in {time} on {device}.").format(time=duration(total), device=device)
    long = [(n, s) for n, s in stages.items() if s >= max(_LEAST_S, _LEAST_SHARE * total)]
    if long:
        parts = ", ".join(f"{name} {duration(value)}" for name, value in long)
        text = _("{text} Of this: {parts}.").format(text=text, parts=parts)
    return text
