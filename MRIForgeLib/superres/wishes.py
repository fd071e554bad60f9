"""What a user wants sharpened and how: the panel's choices as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from slicer.i18n import tr as _

from mriforge.superres.choices import DEFAULT_MODEL
from mriforge.superres.wish import Target, plan_target
from mriforge.volume import Grid

TUNING_MINUTES = (2, 5, 10, 30)
"""Stops of the time slider; the stop after them stands for whole epochs."""
EPOCHS_STOP = len(TUNING_MINUTES)


class TargetKind(Enum):
    """How the wanted grid is given."""

    AUTOMATIC = "automatic"
    FACTOR = "factor"
    SPACING = "spacing"
    LIKE = "like"

    @staticmethod
    def label(kind: TargetKind) -> str:
        """Text of the entry in a list."""
        return {
            TargetKind.AUTOMATIC: _("As fine as the prior (without one: 2x in plane)"),
            TargetKind.FACTOR: _("Factor for each axis"),
            TargetKind.SPACING: _("Voxel size"),
            TargetKind.LIKE: _("Like another volume"),
        }[kind]


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


@dataclass(frozen=True)
class Wishes:
    """One run of super-resolution.

    Attributes:
        input_node: scalar volume, or sequence (or its proxy volume).
        prior_node, reference_node, like_node, output_node: optional nodes.
        method: name of :func:`mriforge.superres.choices.choices`.
        factors, spacing: along the stored axes (i, j, k); used with their kind of target.
        minutes, epochs, steps: how long to tune; at most one, none: the recipe's default.
        all_frames: of a sequence; otherwise the frame that is shown.
        keep_model_as: name under which the tuned model is kept; empty: it is not.
        memory_gib: bound of the network's working memory; 0: what is free.
    """

    input_node: Any
    prior_node: Any = None
    reference_node: Any = None
    like_node: Any = None
    output_node: Any = None
    method: str = DEFAULT_MODEL
    target: TargetKind = TargetKind.AUTOMATIC
    factors: tuple[float, float, float] = (2.0, 2.0, 1.0)
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    finetune: bool = False
    minutes: float | None = None
    epochs: int | None = None
    steps: int | None = None
    register: bool = False
    all_frames: bool = True
    consistency: bool = True
    gate: bool = True
    device: Device = Device.AUTO
    memory_gib: float = 0.0
    keep_model_as: str = ""

    def wanted_spacing(self, low: Grid) -> tuple[float, float, float] | None:
        """Voxel size in mm along (i, j, k), where the target is a factor or a size."""
        if self.target is TargetKind.SPACING:
            return tuple(self.spacing)
        if self.target is TargetKind.FACTOR:
            sizes = zip(low.spacing, self.factors, strict=True)
            return tuple(size / factor for size, factor in sizes)
        return None

    def plan(self, low: Grid, prior: Grid | None, like: Grid | None) -> Target:
        """The grid that will come out.

        Raises:
            BadInput: impossible wishes.
        """
        wish = {"spacing": self.wanted_spacing(low), "prior": prior}
        if self.target is TargetKind.LIKE:
            wish = {"like": like}
        return plan_target(low, **wish)


def tuning_time(stop: int, epochs: int) -> dict[str, float | int]:
    """``minutes`` or ``epochs`` of :class:`Wishes` for a stop of the time slider."""
    if stop >= EPOCHS_STOP:
        return {"epochs": int(epochs)}
    return {"minutes": float(TUNING_MINUTES[max(0, stop)])}


def tuning_text(stop: int) -> str:
    """What a stop of the time slider means."""
    if stop >= EPOCHS_STOP:
        return _("epochs")
    return _("{minutes} minutes").format(minutes=TUNING_MINUTES[max(0, stop)])
