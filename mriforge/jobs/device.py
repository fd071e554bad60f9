"""The device that an option asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def chosen_device(name: str) -> torch.device | None:
    """None for ``auto`` (the job tries what there is), else the device, tried.

    Raises:
        BadInput: it is not there.
    """
    if name == "auto":
        return None
    from mriforge import device

    return device.choose_device(name)
