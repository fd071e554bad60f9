"""The layouts of comparisons: ids, places, what the real layout logic makes of them."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

import pytest
import slicer

ROLES = ("low", "result", "reference", "ssim", "difference")
CHOICES = [roles for count in range(1, 6) for roles in itertools.combinations(ROLES, count)]


@pytest.fixture
def layout(app):
    from MRIForgeLib import layout

    return layout


def views(xml: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(xml).iter("view"))


def property_of(view: ElementTree.Element, name: str) -> str:
    (found,) = (each.text for each in view.iter("property") if each.get("name") == name)
    return found


def test_each_choice_of_images_has_its_own_id(layout):
    numbers = [
        layout.layout_id(roles, below) for roles in CHOICES for below in (None, "table", "plot")
    ]
    assert len(set(numbers)) == len(numbers) == 31 * 3
    assert min(numbers) > 100
    assert all(layout.is_ours(number) for number in numbers)
    assert not layout.is_ours(min(numbers) - 1)
    assert not layout.is_ours(max(numbers) + 1)
    assert not layout.is_ours(slicer.vtkMRMLLayoutNode.SlicerLayoutUserView)


def test_the_order_of_the_roles_does_not_matter(layout):
    assert layout.layout_id(["ssim", "low"]) == layout.layout_id(["low", "ssim"])
    assert layout.layout_xml(["ssim", "low"]) == layout.layout_xml(["low", "ssim"])


@pytest.mark.parametrize("roles", [[], ["prior"], ["low", "prior"]])
def test_unknown_roles_are_refused(layout, roles):
    with pytest.raises(ValueError, match="roles are some of"):
        layout.layout_id(roles)


def test_an_unknown_extra_view_is_refused(layout):
    with pytest.raises(ValueError, match="below is one of"):
        layout.layout_id(["result"], "3d")


@pytest.mark.parametrize(
    ("count", "rows"), [(1, [1]), (2, [2]), (3, [3]), (4, [2, 2]), (5, [3, 2])]
)
def test_rows(layout, count, rows):
    assert [len(row) for row in layout.rows_of(ROLES[:count])] == rows


@pytest.mark.parametrize("roles", CHOICES, ids="-".join)
def test_a_view_for_each_image_in_one_group_of_our_own(layout, roles):
    found = views(layout.layout_xml(roles))
    assert [view.get("singletontag") for view in found] == [layout.TAGS[role] for role in roles]
    assert {property_of(view, "viewgroup") for view in found} == {str(layout.VIEW_GROUP)}
    assert len({property_of(view, "viewlabel") for view in found}) == len(roles)
    assert len({property_of(view, "viewcolor") for view in found}) == len(roles)


def test_the_group_is_none_of_slicers_own(layout, app):
    known = app.layoutManager().layoutLogic().GetLayoutNode()
    groups = {"0"}
    for number in known.GetLayoutIndices():
        if layout.is_ours(number):
            continue
        for view in views(known.GetLayoutDescription(number) or "<layout/>"):
            groups |= {p.text for p in view.iter("property") if p.get("name") == "viewgroup"}
    assert str(layout.VIEW_GROUP) not in groups


@pytest.mark.parametrize("below", ["table", "plot"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_extra_view_takes_a_free_place_or_a_strip(layout, count, below):
    root = ElementTree.fromstring(layout.layout_xml(ROLES[:count], below))
    extra = {"table": layout.TABLE_TAG, "plot": layout.PLOT_TAG}[below]
    last_row = list(root)[-1]
    tags = [view.get("singletontag") for view in last_row.iter("view")]
    if count == 5:
        assert root.get("split") is None
        assert tags == [layout.TAGS["ssim"], layout.TAGS["difference"], extra]
    else:
        assert root.get("split") == "true"
        assert root.get("type") == ("horizontal" if count == 4 else "vertical")
        assert tags == [extra]
        sizes = [int(item.get("splitSize")) for item in root]
        assert sizes[0] > sizes[1]


def test_fused_stacks_have_their_maps_below_them_and_ids_of_their_own(layout):
    stacks = ("low", "stack2", "stack3", "result")
    maps = ("residual1", "residual2", "residual3")
    assert layout.rows_of([*maps, *stacks]) == [stacks, maps]
    assert layout.rows_of(stacks) == [stacks[:2], stacks[2:]]
    assert layout.rows_of([*maps, *stacks, "reference"])[1] == (*maps, "reference")
    choices = [stacks, (*stacks, *maps), (*stacks, *maps, "reference"), ("low", "stack2", "result")]
    numbers = {layout.layout_id(roles, below) for roles in choices for below in layout.BELOW}
    assert len(numbers) == 12 and all(layout.is_ours(number) for number in numbers)
    assert not numbers & {layout.layout_id(roles, "table") for roles in CHOICES}
    with pytest.raises(ValueError, match="or of"):
        layout.layout_id(["ssim", "stack2"])


def test_describing_again_changes_an_outdated_description(layout):
    node = slicer.vtkMRMLLayoutNode()
    number = layout.layout_id(["result"])
    node.AddLayoutDescription(number, "<layout/>")
    assert layout.describe(node, ["result"], None) == number
    assert node.GetLayoutDescription(number) == layout.layout_xml(["result"])


def test_registering_makes_every_layout_known_at_once(layout):
    node = slicer.vtkMRMLLayoutNode()
    changes = []
    node.AddObserver("ModifiedEvent", lambda *_: changes.append(1))
    layout.register(node)
    ours = [number for number in node.GetLayoutIndices() if layout.is_ours(number)]
    assert len(ours) == (31 + 8) * 3
    assert len(changes) == 1
    # What a scene that was saved while comparing does when it is opened.
    node.SetViewArrangement(layout.layout_id(layout.ROLES, "table"))
    assert layout.TAGS["ssim"] in node.GetCurrentLayoutDescription()
