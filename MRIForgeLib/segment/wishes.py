"""What a user wants outlined and how: the panel's choices as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from slicer.i18n import tr as _

from mriforge.jobs.segment import VIEWS, Options
from MRIForgeLib.devices import Device
from MRIForgeLib.sequences import sequence_of

DEFAULT_MODEL: str = Options.model


class Fusion(Enum):
    """How the views become one answer; the names are those of the command line."""

    VOTE = "vote"
    PROBABILITY = "probability"

    @staticmethod
    def label(fusion: Fusion) -> str:
        """Text of the entry in a list."""
        return {
            Fusion.VOTE: _("Majority of the views"),
            Fusion.PROBABILITY: _("Mean of their probabilities"),
        }[fusion]


@dataclass(frozen=True)
class Wishes:
    """One segmentation; defaults are the command's.

    Attributes:
        input_node: scalar volume, or sequence (or its proxy volume).
        all_frames: of a sequence; otherwise the frame that is shown.
        model: name of a trained model.
        views: those that vote, of :data:`mriforge.jobs.segment.VIEWS`.
        fusion: how they become one answer.
        largest, holes: keep the largest part of each organ; fill its holes.
        disagreement: also make a map of where the views disagree; needs two views.
        surfaces: make the surfaces for 3-D views; not of a sequence.
        memory_gib: at most; 0: what is free.
    """

    input_node: Any
    all_frames: bool = True
    model: str = DEFAULT_MODEL
    views: tuple[str, ...] = VIEWS
    fusion: Fusion = Fusion.VOTE
    largest: bool = Options.largest
    holes: bool = Options.holes
    disagreement: bool = True
    surfaces: bool = True
    device: Device = Device.AUTO
    memory_gib: float = 0.0

    @property
    def frames(self) -> int:
        """How many volumes are outlined."""
        source = sequence_of(self.input_node)
        if source is None or not (self.all_frames or self.input_node is source.sequence):
            return 1
        return source.sequence.GetNumberOfDataNodes()

    @property
    def has_map(self) -> bool:
        """Whether a map of disagreement comes out: one view cannot disagree."""
        return self.disagreement and len(self.views) > 1

    def options(self) -> dict[str, Any]:
        """Options of the command ``segment``, without its files."""
        found: dict[str, Any] = {
            "model": self.model,
            "views": ",".join(self.views),
            "fusion": self.fusion.value,
            "largest": self.largest,
            "holes": self.holes,
            "device": self.device.value,
        }
        if self.memory_gib > 0:
            found["memory"] = self.memory_gib
        return found


def wishes_of(node: Any) -> Wishes:
    """The choices of a panel as plain values.

    Args:
        node: the panel's parameter node.
    """
    chosen = {"axial": node.axial, "coronal": node.coronal, "sagittal": node.sagittal}
    return Wishes(
        input_node=node.inputNode,
        all_frames=node.allFrames,
        model=node.model,
        views=tuple(view for view in VIEWS if chosen[view]),
        fusion=node.fusion,
        largest=node.largest,
        holes=node.holes,
        device=node.device,
        memory_gib=node.memory,
    )
