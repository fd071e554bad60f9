"""What happened, in sentences for the panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from MRIForgeLib.superres import fuse, uncertainty
from MRIForgeLib.text import duration

INPUT = "low"
"""What the low-resolution image is called among the measured images: its role in comparisons."""


def sentences(result: Mapping[str, Any]) -> list[str]:
    """What a finished super-resolution job says about its result."""
    time = duration(result.get("seconds", 0))
    found = [_("Done in {time}.").format(time=time)]
    if result.get("device"):
        found = [_("Done in {time} on {device}.").format(time=time, device=result["device"])]
    found += fuse.sentences(result)
    profile = result.get("profile")
    if profile and profile.get("sentence"):
        found.append(profile["sentence"])
    gate = result.get("gate")
    if gate:
        found.append(gate.get("sentence") or _gate(gate))
    consistency = result.get("consistency") or {}
    if consistency.get("restored"):
        percent = 100 * consistency["residual_after"]
        after = f"{percent:.2g}" if percent >= 0.001 else "< 0.001"
        found.append(
            _("The measured data is restored (remaining difference {after} %).").format(after=after)
        )
    found += list(result.get("warnings") or ())
    if text := uncertainty.sentence(result):
        found.append(text)
    return found


def _gate(gate: Mapping[str, Any]) -> str:
    step = gate.get("step", 0.0)
    if step <= 0:
        return _("The network did not help on held-out slices of the prior: zero-filled data.")
    gain = f"{gate.get('held_out_gain_db', 0.0):+.2f}"
    return _("On held-out slices of the prior the network gained {gain} dB.").format(gain=gain)


def measured(figures: Mapping[str, Any]) -> str:
    """PSNR and SSIM against the reference, with those of the interpolated input."""
    text = _("Against the reference: PSNR {psnr} dB, SSIM {ssim}").format(
        psnr=_number(figures.get("psnr"), 2), ssim=_number(figures.get("ssim"), 3)
    )
    before = (figures.get("compare") or {}).get(INPUT)
    if before:
        text += _(" (linearly interpolated input: {psnr} dB, {ssim})").format(
            psnr=_number(before.get("psnr"), 2), ssim=_number(before.get("ssim"), 3)
        )
    return text + "."


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
