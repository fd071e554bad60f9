"""What a user wants sharpened and how: the panel's choices as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from slicer.i18n import tr as _

from mriforge.interslice.wish import SlicePlan, plan_slices, thickest_axis
from mriforge.superres.choices import DEFAULT_MODEL, FUSION, INPLANE, SLICES, Choice, choice_named
from mriforge.superres.wish import Target, plan_target
from mriforge.volume import Grid
from MRIForgeLib.devices import Device

TUNING_MINUTES = (2, 5, 10, 30)
"""Stops of the time slider; the stop after them stands for whole epochs."""
EPOCHS_STOP = len(TUNING_MINUTES)
LEARNING_STOP = 2
"""Last stop of the slider for methods that learn from the images themselves: 10 minutes."""


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


class Profile(Enum):
    """What is known of the slice profile; the names are those of the command line."""

    AUTO = "auto"
    GAUSSIAN = "gaussian"
    BOX = "box"
    ESTIMATE = "estimate"
    LEARNT = "learnt"

    @staticmethod
    def label(profile: Profile) -> str:
        """Text of the entry in a list."""
        return {
            Profile.AUTO: _("Automatic"),
            Profile.GAUSSIAN: _("Gaussian"),
            Profile.BOX: _("Box"),
            Profile.ESTIMATE: _("Estimated from the image"),
            Profile.LEARNT: _("Learnt from the image"),
        }[profile]


class Merge(Enum):
    """How the results of both in-plane directions become one; as on the command line."""

    AUTO = "auto"
    MEAN = "mean"
    FBA = "fba"

    @staticmethod
    def label(merge: Merge) -> str:
        """Text of the entry in a list."""
        return {
            Merge.AUTO: _("As the method has it"),
            Merge.MEAN: _("Mean"),
            Merge.FBA: _("Fourier burst accumulation"),
        }[merge]


class SliceAxis(Enum):
    """Which stored axis runs across the slices."""

    AUTO = "auto"
    FIRST = "0"
    SECOND = "1"
    THIRD = "2"

    @staticmethod
    def label(axis: SliceAxis) -> str:
        """Text of the entry in a list."""
        return {
            SliceAxis.AUTO: _("Along the largest voxel size"),
            SliceAxis.FIRST: _("First (i)"),
            SliceAxis.SECOND: _("Second (j)"),
            SliceAxis.THIRD: _("Third (k)"),
        }[axis]

    @property
    def number(self) -> int | None:
        """The stored axis; None: that of the largest voxel size."""
        return None if self is SliceAxis.AUTO else int(self.value)


class TargetStack(Enum):
    """Whether stacks have different contrasts, and which of them is wanted."""

    ALL = 0
    FIRST = 1
    SECOND = 2
    THIRD = 3

    @staticmethod
    def label(stack: TargetStack) -> str:
        """Text of the entry in a list."""
        return {
            TargetStack.ALL: _("The same in all stacks"),
            TargetStack.FIRST: _("Different: that of stack 1"),
            TargetStack.SECOND: _("Different: that of stack 2"),
            TargetStack.THIRD: _("Different: that of stack 3"),
        }[stack]


@dataclass(frozen=True)
class Wishes:
    """One run of super-resolution, for thick slices or in plane, or of a fusion of stacks.

    Attributes:
        input_node: scalar volume, or sequence (or its proxy volume); of a fusion the first stack.
        prior_node, reference_node, like_node, output_node: optional nodes.
        method: name of :func:`mriforge.superres.choices.choices`.
        factors, spacing: along the stored axes (i, j, k); used with their kind of target. For
            thick slices the factor across the slices counts; a fusion has cubes of spacing[0].
        minutes, epochs, steps: how long to learn; at most one, none: the recipe's default.
        all_frames: of a sequence; otherwise the frame that is shown.
        keep_model_as: name under which the tuned model is kept; empty: it is not.
        memory_gib: bound of the network's working memory; 0: what is free.
        profile: of the slices; a :class:`Profile` or its name, or a file.
        thickness_mm: of the slices; 0: from the header, or estimated.
        merge: how the results of both in-plane directions become one.
        slice_axis: stored axis across the slices; None: that of the largest voxel size.
        stack_nodes: of a fusion the second and third stack; missing ones are None.
        target_stack: of a fusion of different contrasts the stack (1, 2, 3) whose contrast is
            wanted, the others only say where edges are; 0: all have the same.
        align, slice_motion: of a fusion: align the stacks, and each slice, rigidly first.
        uncertainty: also calibrate intervals and make the map of their half-widths.
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
    profile: Profile | str = Profile.AUTO
    thickness_mm: float = 0.0
    merge: Merge = Merge.AUTO
    slice_axis: int | None = None
    stack_nodes: tuple[Any, ...] = ()
    target_stack: int = 0
    align: bool = True
    slice_motion: bool = False
    uncertainty: bool = False

    @cached_property
    def choice(self) -> Choice | None:
        """The method, looked up once; None: there is none of that name."""
        return choice_named(self.method)

    @property
    def kind(self) -> str:
        """Kind of the method, see :mod:`mriforge.superres.choices`."""
        return INPLANE if self.choice is None else self.choice.kind

    @property
    def learns(self) -> bool:
        """Whether something is learned first, which takes the time that was chosen."""
        if self.choice is None or self.choice.kind == INPLANE:
            return self.finetune
        return self.choice.learned

    @property
    def stacks(self) -> list[Any]:
        """The stacks of a fusion that are there, in order."""
        return [node for node in (self.input_node, *self.stack_nodes) if node is not None]

    def wanted_spacing(self, low: Grid) -> tuple[float, float, float] | None:
        """Voxel size in mm along (i, j, k), where the target is a factor or a size."""
        if self.target is TargetKind.SPACING:
            return tuple(self.spacing)
        if self.target is TargetKind.FACTOR:
            sizes = zip(low.spacing, self.factors, strict=True)
            return tuple(size / factor for size, factor in sizes)
        return None

    def slice_target(self, low: Grid) -> dict[str, Any]:
        """Options of the job for thick slices that say how fine; without ``like``."""
        axis = thickest_axis(low) if self.slice_axis is None else self.slice_axis
        wish: dict[str, Any] = {} if self.slice_axis is None else {"slice_axis": axis}
        if self.target is TargetKind.SPACING:
            wish["spacing"] = tuple(self.spacing)
        elif self.target is TargetKind.FACTOR:
            wish["scale"] = self.factors[axis]
        return wish

    def slice_plan(self, low: Grid, like: Grid | None) -> SlicePlan:
        """The grid that will come out of a method for thick slices.

        Raises:
            BadInput: impossible wishes.
        """
        wish = self.slice_target(low)
        if self.target is TargetKind.LIKE:
            wish["like"] = like
        return plan_slices(low, axis=wish.pop("slice_axis", None), **wish)

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


def wishes_of(node: Any) -> Wishes:
    """The choices of a panel as plain values; what does not belong to its method is left out.

    Args:
        node: the panel's parameter node.
    """
    choice = choice_named(node.method)
    kind = INPLANE if choice is None else choice.kind
    tuned = kind == INPLANE and node.finetune
    time: dict[str, Any] = {}
    if tuned:
        time = tuning_time(node.tuningStop, node.epochs)
    elif kind != INPLANE and choice.learned:
        time = tuning_time(min(node.tuningStop, LEARNING_STOP), node.epochs)
    return Wishes(
        input_node=node.inputNode,
        prior_node=node.priorVolume if kind == INPLANE else None,
        reference_node=node.referenceNode,
        like_node=node.likeVolume,
        output_node=node.outputVolume,
        method=node.method,
        target=node.target,
        factors=(node.factorI, node.factorJ, node.factorK),
        spacing=(node.spacingI, node.spacingJ, node.spacingK),
        finetune=tuned,
        **time,
        register=node.register,
        all_frames=node.allFrames,
        consistency=node.consistency,
        gate=node.gate,
        device=node.device,
        memory_gib=node.memory,
        keep_model_as=node.keepModelAs.strip() if tuned else "",
        profile=node.profile,
        thickness_mm=node.thickness,
        merge=node.merge,
        slice_axis=node.sliceAxis.number if kind == SLICES else None,
        stack_nodes=(node.stack2, node.stack3),
        target_stack=node.targetStack.value,
        align=node.align,
        slice_motion=node.sliceMotion,
        uncertainty=node.uncertainty and kind != FUSION,
    )
