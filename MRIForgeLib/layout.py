"""The view layout of a comparison: one slice view per image, and a table or a plot below.

Every combination of images has its own layout id, and an id always means the same views: a scene
saved while a comparison is open comes back with it once :func:`register` has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape

import slicer
from slicer.i18n import tr as _

BASE_ID = 49137
"""Our layouts are numbered from here. Slicer's own end at 100, and 100 is shared by everyone."""

VIEW_GROUP = 491
"""Views of one group move together; Slicer's own layouts use 0 and 1."""

ROLES = ("low", "result", "reference", "ssim", "difference")
"""What a comparison can show, in the order of the views."""

STACK_ROLES = (
    "low",
    "stack2",
    "stack3",
    "result",
    "residual1",
    "residual2",
    "residual3",
    "reference",
)
"""What a comparison of fused stacks can show: the stacks and the result, below them their maps."""

_ALL_ROLES = (*ROLES, *(role for role in STACK_ROLES if role not in ROLES))
_STACKS_ID = BASE_ID + 128
"""From here those with a role of stacks are numbered: the others keep their ids."""

TAGS = {
    "low": "MRIForgeLow",
    "result": "MRIForgeResult",
    "reference": "MRIForgeReference",
    "ssim": "MRIForgeSSIM",
    "difference": "MRIForgeDifference",
    "stack2": "MRIForgeStack2",
    "stack3": "MRIForgeStack3",
    "residual1": "MRIForgeResidual1",
    "residual2": "MRIForgeResidual2",
    "residual3": "MRIForgeResidual3",
}
"""Singleton tag, and so layout name, of each view."""

TABLE_TAG = "MRIForgeTable"
PLOT_TAG = "MRIForgePlot"
BELOW = (None, "table", "plot")

_COLORS = {
    "low": "#B0B0B0",
    "result": "#4FC3F7",
    "reference": "#AED581",
    "ssim": "#FFD54F",
    "difference": "#E57373",
    "stack2": "#9E9E9E",
    "stack3": "#8C8C8C",
    "residual1": "#E57373",
    "residual2": "#E06666",
    "residual3": "#DB5959",
}
_IMAGES, _EXTRA = 750, 250
"""Shares of the window."""


def labels(roles: Iterable[str] = ()) -> dict[str, str]:
    """What stands in the bar of each view, in the user's language.

    Args:
        roles: what is shown together; the input of a fusion is one of its stacks.
    """
    return {
        "low": _("Input") if set(roles) <= set(ROLES) else _("Stack 1"),
        "result": _("Result"),
        "reference": _("Reference"),
        "ssim": _("SSIM"),
        "difference": _("Difference"),
        "stack2": _("Stack 2"),
        "stack3": _("Stack 3"),
        "residual1": _("Residual 1"),
        "residual2": _("Residual 2"),
        "residual3": _("Residual 3"),
    }


def layout_id(roles: Iterable[str], below: str | None = None) -> int:
    """The id of the layout that shows these images.

    Args:
        roles: some of :data:`ROLES`, or of :data:`STACK_ROLES`, in any order.
        below: ``None``, ``"table"`` or ``"plot"``.

    Raises:
        ValueError: no role, an unknown one, or an unknown ``below``.
    """
    chosen = _ordered(roles)
    known, start = (ROLES, BASE_ID) if set(chosen) <= set(ROLES) else (STACK_ROLES, _STACKS_ID)
    bits = sum(1 << known.index(role) for role in chosen)
    if below not in BELOW:
        raise ValueError(f"below is one of {BELOW}, not {below!r}")
    return start + bits + (BELOW.index(below) << len(known))


def is_ours(number: int) -> bool:
    """Whether a layout id is one of ours."""
    return any(
        start < number < start + (len(BELOW) << len(known))
        for start, known in ((BASE_ID, ROLES), (_STACKS_ID, STACK_ROLES))
    )


def rows_of(roles: Iterable[str]) -> list[tuple[str, ...]]:
    """The images row by row: up to three in one row, four as two over two, five as three over two.

    Of fused stacks the stacks and the result are above, their residual maps and the reference
    below.

    Beside a module panel of 430 pixels on a screen of 1366 x 768 a view is then at least 300
    pixels wide.
    """
    chosen = _ordered(roles)
    maps = tuple(role for role in chosen if role.startswith("residual"))
    if maps:
        lower = maps + tuple(role for role in chosen if role == "reference")
        return [tuple(role for role in chosen if role not in lower), lower]
    if len(chosen) <= 3:
        return [chosen]
    first = (len(chosen) + 1) // 2
    return [chosen[:first], chosen[first:]]


def layout_xml(roles: Iterable[str], below: str | None = None) -> str:
    """Description of the layout, for ``vtkMRMLLayoutNode``.

    The table or plot takes as little from the images as it can: with five images it fills the
    free place of the second row, with four it stands beside them, with fewer below them.
    """
    names = labels(roles)
    rows = [[_slice_view(role, names[role]) for role in row] for row in rows_of(roles)]
    extra = _extra_view(below)
    if extra and len(rows) == 2 and len(rows[1]) < len(rows[0]):
        rows[1].append(extra)
        extra = ""
    grid = _box("vertical", [_box("horizontal", row) for row in rows])
    if not extra:
        return grid
    direction = "horizontal" if len(rows) == 2 else "vertical"
    return (
        f'<layout type="{direction}" split="true">'
        f'<item splitSize="{_IMAGES}">{grid}</item><item splitSize="{_EXTRA}">{extra}</item>'
        "</layout>"
    )


def describe(layout_node: slicer.vtkMRMLLayoutNode, roles: Sequence[str], below: str | None) -> int:
    """Makes sure that the layout is known; returns its id."""
    number, xml = layout_id(roles, below), layout_xml(roles, below)
    if layout_node.IsLayoutDescription(number):
        layout_node.SetLayoutDescription(number, xml)
    else:
        layout_node.AddLayoutDescription(number, xml)
    return number


def register(layout_node: slicer.vtkMRMLLayoutNode) -> None:
    """Makes every layout of ours known, so that a saved scene that uses one can be opened."""
    blocked = layout_node.StartModify()
    for bits in range(1, 1 << len(ROLES)):
        roles = [role for place, role in enumerate(ROLES) if bits >> place & 1]
        for below in BELOW:
            describe(layout_node, roles, below)
    for roles in _usual_stacks():
        for below in BELOW:
            describe(layout_node, roles, below)
    layout_node.EndModify(blocked)


def _usual_stacks() -> list[tuple[str, ...]]:
    """The choices of images that a fusion of two or three stacks gives."""
    found = []
    for count in (2, 3):
        stacks = STACK_ROLES[:count]
        maps = STACK_ROLES[4 : 4 + count]
        for rest in ((), ("reference",), maps, (*maps, "reference")):
            found.append((*stacks, "result", *rest))
    return found


def _ordered(roles: Iterable[str]) -> tuple[str, ...]:
    chosen = set(roles)
    if not chosen or not chosen <= set(_ALL_ROLES):
        raise ValueError(f"roles are some of {_ALL_ROLES}, not {sorted(chosen)}")
    for known in (ROLES, STACK_ROLES):
        if chosen <= set(known):
            return tuple(role for role in known if role in chosen)
    raise ValueError(f"roles are some of {ROLES} or of {STACK_ROLES}, not {sorted(chosen)}")


def _box(direction: str, items: Sequence[str]) -> str:
    if len(items) == 1 and items[0].startswith("<layout"):
        return items[0]
    inside = "".join(f"<item>{item}</item>" for item in items)
    return f'<layout type="{direction}">{inside}</layout>'


def _slice_view(role: str, label: str) -> str:
    properties = {
        "orientation": "Axial",
        "viewlabel": label,
        "viewcolor": _COLORS[role],
        "viewgroup": str(VIEW_GROUP),
    }
    return _view("vtkMRMLSliceNode", TAGS[role], properties)


def _extra_view(below: str | None) -> str:
    if below == "table":
        return _view("vtkMRMLTableViewNode", TABLE_TAG, {"viewlabel": "T"})
    if below == "plot":
        return _view("vtkMRMLPlotViewNode", PLOT_TAG, {"viewlabel": "P"})
    return ""


def _view(kind: str, tag: str, properties: Mapping[str, str]) -> str:
    inside = "".join(
        f'<property name="{name}" action="default">{escape(value)}</property>'
        for name, value in properties.items()
    )
    return f'<view class="{kind}" singletontag="{tag}">{inside}</view>'
