"""Times and progress as a person says them."""

from __future__ import annotations

from slicer.i18n import tr as _


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return _("{seconds} s").format(seconds=f"{seconds:.0f}")
    if seconds < 5400:
        return _("{minutes} min").format(minutes=f"{seconds / 60:.1f}")
    return _("{hours} h").format(hours=f"{seconds / 3600:.1f}")


def progress_text(fraction: float, message: str, eta_s: float | None) -> str:
    """One line for the progress of a run."""
    text = message or _("working")
    if eta_s is not None and fraction < 1.0:
        text = _("{text}, about {time} left").format(text=text, time=duration(eta_s))
    return text
