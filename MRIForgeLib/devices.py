"""The processors a user can choose from."""

from __future__ import annotations

from enum import Enum

from slicer.i18n import tr as _


class Device(Enum):
    """Where to compute; the names are those of the command line."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    @staticmethod
    def label(device: Device) -> str:
        """Text of the entry in a list."""
        return {
            Device.AUTO: _("Automatic"),
            Device.CPU: _("Processor (CPU)"),
            Device.CUDA: _("NVIDIA graphics card (CUDA)"),
            Device.MPS: _("Apple graphics (MPS)"),
        }[device]
