"""The list of methods of a panel, and which of its widgets belong to the chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.interslice.wish import thickest_axis
from mriforge.superres.choices import FUSION, INPLANE, SLICES, Choice, choice_named, choices
from MRIForgeLib.nodes import grid_of, sequence_of
from MRIForgeLib.superres import advice, labels, selfcheck, slices
from MRIForgeLib.superres.wishes import (
    EPOCHS_STOP,
    LEARNING_STOP,
    TargetKind,
    Wishes,
    tuning_text,
    wishes_of,
)

_RESTORING = ("consistencyCheckBox", "gateCheckBox", "uncertaintyCheckBox", "selfCheckButton")
_BELONGS = {
    INPLANE: (
        "priorLabel",
        "priorSelector",
        "finetuneCheckBox",
        "registerCheckBox",
        "keepModelLabel",
        "keepModelLineEdit",
        "memoryLabel",
        "memorySpinBox",
        *_RESTORING,
    ),
    SLICES: (
        "profileLabel",
        "profileComboBox",
        "thicknessLabel",
        "thicknessSpinBox",
        "mergeLabel",
        "mergeComboBox",
        "sliceAxisLabel",
        "sliceAxisComboBox",
        *_RESTORING,
    ),
    FUSION: (
        "thicknessLabel",
        "thicknessSpinBox",
        "stack2Label",
        "stack2Selector",
        "stack3Label",
        "stack3Selector",
        "targetStackLabel",
        "targetStackComboBox",
        "alignCheckBox",
        "sliceMotionCheckBox",
    ),
}
"""Widgets that are shown for some kinds of methods only."""

_PER_AXIS = "IJK"
_LARGEST_FACTOR = 16.0


class MethodSection:
    """Connects ``methodComboBox`` and shows what belongs to the method.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._chosen: dict[str, str] = {}
        self._sized: set[str] = set()

    def fill(self, current: str | None) -> None:
        """Lists the methods anew, those to work with first; ``current`` is selected."""
        combo = self.ui.methodComboBox
        blocked = combo.blockSignals(True)
        combo.clear()
        last = None
        for choice in choices():
            group = "" if choice.main else choice.kind
            if last not in (None, group):
                combo.insertSeparator(combo.count)
            last = group
            title = choice.title
            if not choice.ready:
                title = _("{title} (not trained)").format(title=title)
            combo.addItem(title, choice.name)
        if current is not None:
            combo.setCurrentIndex(combo.findData(current))
        combo.blockSignals(blocked)

    def forget(self) -> None:
        """The scene was closed: nothing is known of its images any more."""
        self._chosen.clear()
        self._sized.clear()

    def chosen(self, node: Any, name: str) -> None:
        """The user chose a method: for this input it stays."""
        if node.inputNode is not None:
            self._chosen[node.inputNode.GetID()] = name
        node.method = name

    def prepare(self, node: Any) -> bool:
        """Brings the choices in line with a new input or method; whether any was changed.

        Args:
            node: the panel's parameter node.
        """
        changes = self._method_for(node) or self._sizes_for(node)
        if not changes:
            return False
        inner = node.parameterNode
        blocked = inner.StartModify()
        for name, value in changes.items():
            setattr(node, name, value)
        inner.EndModify(blocked)
        return True

    def show(self, node: Any) -> Wishes:
        """Shows what belongs to the choices; returns them as plain values."""
        wishes, ui = wishes_of(node), self.ui
        choice = wishes.choice
        is_labels = labels.holds_labels(node.inputNode)
        kind = "" if is_labels else wishes.kind
        everything = {name for names in _BELONGS.values() for name in names}
        for name in everything:
            getattr(ui, name).setVisible(name in _BELONGS.get(kind, ()))
        for widget in (
            ui.referenceLabel,
            ui.referenceSelector,
            ui.methodLabel,
            ui.methodComboBox,
            ui.methodDescriptionLabel,
        ):
            widget.setVisible(not is_labels)
        ui.allFramesCheckBox.setVisible(
            kind in (INPLANE, SLICES) and sequence_of(wishes.input_node) is not None
        )
        ui.inputLabel.text = _("Stack 1:") if kind == FUSION else _("Image:")
        ui.methodComboBox.setCurrentIndex(ui.methodComboBox.findData(node.method))
        ui.methodDescriptionLabel.text = advice.describe(choice)
        ui.methodDescriptionLabel.toolTip = advice.limits(choice)
        ui.methodNoteLabel.text = "" if is_labels else slices.note(wishes, choice)
        ui.methodNoteLabel.setVisible(bool(ui.methodNoteLabel.text))
        self._show_target(node, kind)
        self._show_learning(node, kind, choice)
        return wishes

    def show_doubts(self, wishes: Wishes) -> None:
        """Notes above Apply; of labels, why they are not sharpened."""
        label = self.ui.warningLabel
        if labels.holds_labels(wishes.input_node):
            found = [labels.why_not(wishes) or advice.why_not(wishes)]
        else:
            found = advice.doubts(wishes)
        label.text = "\n".join(_("Note: {text}").format(text=text) for text in found)
        label.setVisible(bool(found))

    def allow_others(self, wishes: Wishes, free: bool) -> None:
        """Enables the buttons beside Apply.

        Args:
            free: nothing runs.
        """
        ui, given = self.ui, wishes.input_node
        is_labels = labels.holds_labels(given)
        for button in (ui.coarseButton, ui.thickButton):
            button.enabled = free and given is not None and not is_labels
        ui.selfCheckButton.enabled = free and given is not None and not selfcheck.why_not(wishes)
        ui.labelsButton.setVisible(is_labels)
        ui.labelsButton.enabled = free and is_labels and not labels.why_not(wishes)

    def _show_target(self, node: Any, kind: str) -> None:
        ui = self.ui
        for target, widgets in (
            (TargetKind.FACTOR, (ui.factorLabel, ui.factorWidget)),
            (TargetKind.SPACING, (ui.spacingLabel, ui.spacingWidget)),
            (TargetKind.LIKE, (ui.likeLabel, ui.likeSelector)),
        ):
            for widget in widgets:
                widget.setVisible(node.target is target)
        automatic = {
            INPLANE: TargetKind.label(TargetKind.AUTOMATIC),
            SLICES: _("Slices as close together as the pixels"),
            FUSION: _("Cubes as small as the smallest pixels"),
        }
        ui.targetComboBox.setItemText(0, automatic.get(kind, automatic[SLICES]))
        across = kind not in (INPLANE, FUSION)  # labels too
        axis = _slice_axis(node) if across else None
        for number, letter in enumerate(_PER_AXIS):
            factor = getattr(ui, f"factor{letter}SpinBox")
            factor.setVisible(axis in (None, number))
            getattr(ui, f"spacing{letter}SpinBox").setVisible(kind != FUSION or number == 0)
        ui.factorLabel.text = _("Factor (i, j, k):") if axis is None else _("Factor:")
        ui.spacingLabel.text = _("Voxel size:") if kind == FUSION else _("Voxel size (i, j, k):")

    def _show_learning(self, node: Any, kind: str, choice: Choice | None) -> None:
        ui = self.ui
        learns = kind == INPLANE or bool(kind and choice is not None and choice.learned)
        ui.tuningSection.setVisible(learns)
        in_plane = kind == INPLANE
        ui.tuningSection.text = _("Adapt to the subject") if in_plane else _("Learn from the scan")
        ui.tuningStopSlider.maximum = EPOCHS_STOP if in_plane else LEARNING_STOP
        for widget in (ui.epochsSpinBox, ui.registerCheckBox, ui.keepModelLineEdit):
            widget.enabled = node.finetune
        ui.tuningStopSlider.enabled = node.finetune or not in_plane
        ui.epochsSpinBox.setVisible(in_plane and node.tuningStop == EPOCHS_STOP)
        ui.tuningLengthLabel.text = tuning_text(node.tuningStop)
        ui.gateCheckBox.text = (
            _("Go no further than the prior justifies")
            if in_plane
            else _("Go no further than held-out slices justify")
        )

    def _method_for(self, node: Any) -> dict[str, Any]:
        """The method for an input that is new, unless the user has chosen one for it."""
        given = node.inputNode
        if given is None or given is node.methodNode:
            return {}
        own = self._chosen.get(given.GetID())
        current = choice_named(node.method)
        name = own if own and choice_named(own) else slices.suggested_method(given, current)
        return {"methodNode": given, "method": name}

    def _sizes_for(self, node: Any) -> dict[str, Any]:
        """Sensible numbers in place of those that mean nothing for the chosen kind."""
        choice = choice_named(node.method)
        kind = INPLANE if choice is None else choice.kind
        changes: dict[str, Any] = {}
        if kind == INPLANE or node.inputNode is None or labels.holds_labels(node.inputNode):
            return changes
        if node.tuningStop > LEARNING_STOP:
            changes["tuningStop"] = LEARNING_STOP
        grid = _grid(node.inputNode)
        if grid is None:
            return changes
        axis = _slice_axis(node)
        pixel = min(size for a, size in enumerate(grid.spacing) if a != axis)
        name = f"factor{_PER_AXIS[axis]}"
        if node.target is TargetKind.FACTOR and kind == SLICES and getattr(node, name) <= 1:
            factor = min(_LARGEST_FACTOR, grid.spacing[axis] / pixel)
            changes[name] = round(max(1.01, factor), 2)
        if node.target is TargetKind.SPACING and given_once(self._sized, node.inputNode.GetID()):
            sizes: Sequence[float] = list(grid.spacing)
            sizes[axis] = pixel
            if (node.spacingI, node.spacingJ, node.spacingK) == (1.0, 1.0, 1.0):
                changes.update(
                    {f"spacing{a}": max(0.05, s) for a, s in zip(_PER_AXIS, sizes, strict=True)}
                )
        return changes


def given_once(known: set[str], key: str) -> bool:
    """Whether ``key`` is new; it is known from then on."""
    new = key not in known
    known.add(key)
    return new


def _grid(node: Any) -> Any:
    try:
        return grid_of(node, labels=False)
    except BadInput:
        return None


def _slice_axis(node: Any) -> int:
    """The stored axis across the slices, as chosen or as the image says."""
    if node.sliceAxis.number is not None:
        return node.sliceAxis.number
    grid = None if node.inputNode is None else _grid(node.inputNode)
    return 2 if grid is None else thickest_axis(grid)
