"""The pages about organs: which slices, outlines where they belong, every kind of input."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.metrics.overlap import OrganScore, ScoreTable, organ_scores
from mriforge.report import outlines
from mriforge.report.figures import figure_class
from mriforge.report.organ_scores import scores_figure, scores_report
from mriforge.report.organs import organ_report, volumes_figure
from mriforge.report.outlines import choose_cuts, draw_outlines, labels_figure, outlines_figure
from mriforge.volume import Grid, Series, Volume

SHAPE = (30, 32, 40)
GRID = Grid(SHAPE, (3.0, 3.0, 4.0), (-60, -50, -60))


def torso():
    """A liver above, a kidney below, vertebrae throughout, in a bright ellipse."""
    _, y, x = np.indices(SHAPE)
    body = ((x - 20) / 18) ** 2 + ((y - 16) / 14) ** 2 < 1
    labels = np.zeros(SHAPE, np.uint8)
    labels[18:27, 6:20, 5:18] = 1
    labels[4:12, 14:22, 26:32] = 5
    labels[:, 22:28, 17:23] = 10
    image = (body * (100 + 40 * labels)).astype(np.float32)
    return image, labels * body.astype(np.uint8)


def pictures(page) -> list[np.ndarray]:
    """Every PNG of a page as ``(rows, columns, 3)``."""
    from PIL import Image

    found = re.findall(r'base64,([^"]+)"', page.read_text(encoding="utf-8"))
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found
    ]


def volumes(labels):
    return {o.key: float((labels == o.label).sum() * 0.036) for o in ORGANS}


def near(picture, colour, tolerance=12):
    """How many pixels have nearly this colour."""
    return int((np.abs(picture.astype(int) - colour).max(axis=-1) <= tolerance).sum())


def test_cuts_pass_through_the_organs():
    image, labels = torso()
    cuts = choose_cuts(image, labels, GRID)
    assert [cut.view.plane for cut in cuts] == ["axial", "axial", "coronal", "sagittal"]
    upper, lower = cuts[0].index, cuts[1].index
    assert 18 <= upper < 27
    assert 4 <= lower < 12
    seen = set(np.unique(np.concatenate([cut.picture(labels).ravel() for cut in cuts])))
    assert seen == {0, 1, 5, 10}
    for cut in cuts:
        assert (cut.picture(labels) > 0).sum() == (
            np.take(labels, cut.index, cut.view.axis) > 0
        ).sum()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cuts_do_not_depend_on_how_the_volume_is_stored(axis):
    """Storage order reversed along one axis: the same pictures."""
    image, labels = torso()
    first = [0, 0, 0]
    first[2 - axis] = SHAPE[axis] - 1
    matrix = np.eye(3)
    matrix[2 - axis, 2 - axis] = -1
    flipped = Grid(SHAPE, GRID.spacing, tuple(GRID.index_to_world(first)), tuple(matrix.ravel()))
    usual = choose_cuts(image, labels, GRID)
    other = choose_cuts(np.flip(image, axis), np.flip(labels, axis), flipped)
    for one, two in zip(usual[2:], other[2:], strict=True):
        shown = (one.picture(labels), two.picture(np.flip(labels, axis)))
        assert shown[0].shape == shown[1].shape
    assert [cut.view.letters for cut in usual] == [cut.view.letters for cut in other]
    above = [np.take(np.flip(labels, axis), cut.index, cut.view.axis) for cut in other[:2]]
    assert (above[0] == 1).any()
    assert (above[1] == 5).any()


def test_cuts_without_any_label_and_of_thin_stacks():
    image, labels = torso()
    cuts = choose_cuts(image, np.zeros_like(labels), GRID)
    assert [cut.index for cut in cuts] == [15, 16, 20]
    thin = Grid((3, *SHAPE[1:]), (3, 3, 8))
    shown = choose_cuts(image[20:23], labels[20:23], thin)
    assert {cut.view.plane for cut in shown} == {"axial"}
    coronal = Grid((60, 10, 80), (4.0, 6.0, 4.0))
    stack = np.zeros(coronal.shape, np.uint8)
    stack[20:40, 1:9, 30:50] = 1
    shown = choose_cuts(stack.astype(np.float32), stack, coronal)
    assert [cut.view.plane for cut in shown] == ["coronal"] * 3
    assert len({cut.index for cut in shown}) == 3
    assert choose_cuts(image[20:21, :3], labels[20:21, :3], Grid((1, 3, 40)))


def test_outlines_lie_on_the_border():
    """A box of 4 x 6 voxels: the line runs half a voxel outside the outermost centres."""
    labels = np.zeros((20, 30), np.uint8)
    labels[5:9, 10:16] = 1
    axes = figure_class()(4, 4).add_axes([0, 0, 1, 1])
    draw_outlines(axes, labels, (2.0, 3.0))
    (line,) = [item for item in axes.collections if len(item.get_paths())]
    points = np.concatenate([path.vertices for path in line.get_paths()])
    assert points[:, 0].min() == pytest.approx(30) and points[:, 0].max() == pytest.approx(48)
    assert points[:, 1].min() == pytest.approx(10) and points[:, 1].max() == pytest.approx(18)
    np.testing.assert_allclose(line.get_edgecolor()[0][:3], np.array(ORGANS[0].colour) / 255)


def test_a_name_stands_inside_its_organ():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:13] = labels[27:30, 10:30] = 1  # an L: its middle is outside
    labels[12:24, 20:30] = 2
    axes = figure_class()(4, 4).add_axes([0, 0, 1, 1])
    draw_outlines(axes, labels, (1.0, 1.0))
    names = {text.get_text(): text.get_position() for text in axes.texts}
    assert set(names) == {"liver", "spleen"}
    for name, label in (("liver", 1), ("spleen", 2)):
        column, row = (int(place) for place in names[name])
        assert labels[row, column] == label


def test_the_page_of_a_volume(tmp_path):
    image, labels = torso()
    doubt = np.zeros(SHAPE, np.float32)
    doubt[10:14] = 0.8
    page = organ_report(
        tmp_path / "page.html",
        volume=Volume(image, GRID),
        labels=Volume(labels, GRID),
        entropy=Volume(doubt, GRID),
        volumes=volumes(labels),
        provenance={"model": "denseunet_small"},
        warnings=["The <head> may not be an abdomen."],
        name="case 1",
    )
    text = page.read_text(encoding="utf-8")
    assert "The &lt;head&gt; may not be an abdomen." in text
    assert "denseunet_small" in text
    assert "Not found: spleen, pancreas, right kidney" in text
    assert "Super-resolved" not in text
    assert f"<td>Liver</td><td>{volumes(labels)['liver']:.1f}</td>" in text
    (picture,) = pictures(page)
    for organ in (ORGANS[0], ORGANS[4], ORGANS[9]):
        assert near(picture, organ.colour) > 500
    assert near(picture, ORGANS[1].colour) < 50  # no spleen, in the picture or below it


@pytest.mark.parametrize("maps", ["votes", "nothing"])
def test_the_page_with_votes_or_labels_alone(tmp_path, maps):
    image, labels = torso()
    votes = Volume(np.where(labels == 1, 2, 3).astype(np.uint8), GRID) if maps == "votes" else None
    page = organ_report(
        tmp_path / "page.html", volume=Volume(image, GRID), labels=Volume(labels, GRID),
        votes=votes, volumes=volumes(labels),
    )  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert ("where the views disagree" in text) == (maps == "votes")
    assert len(pictures(page)) == 1


def test_the_page_of_a_series_shows_volumes_over_time(tmp_path):
    image, labels = torso()
    frames = np.stack([labels, np.where(labels == 5, 0, labels), labels])
    ml = {o.key: [float((f == o.label).sum()) for f in frames] for o in ORGANS}
    page = organ_report(
        tmp_path / "page.html",
        volume=Series(np.stack([image] * 3), GRID, np.arange(3) * 0.5),
        labels=Series(frames, GRID, np.arange(3) * 0.5),
        volumes=ml,
        frame=2,
    )
    text = page.read_text(encoding="utf-8")
    assert "frame 3 of 3" in text
    assert "Over 3 frames" in text
    assert len(pictures(page)) == 2


def test_volumes_that_are_missing_are_not_drawn():
    table = {"liver": np.array([np.nan, 3.0, 5.0]), "spleen": np.zeros(3), "pancreas": np.ones(3)}
    assert volumes_figure(table, np.arange(3), "time", "s").startswith(b"\x89PNG")
    assert volumes_figure({}, np.arange(3), "", "").startswith(b"\x89PNG")


def test_what_a_page_refuses(tmp_path):
    image, labels = torso()
    other = Grid(SHAPE, (3, 3, 5))
    with pytest.raises(BadInput, match="one grid"):
        organ_report(
            tmp_path / "p.html", volume=Volume(image, GRID), labels=Volume(labels, other),
            volumes={},
        )  # fmt: skip
    with pytest.raises(BadInput, match="no frame 4"):
        organ_report(
            tmp_path / "p.html", volume=Volume(image, GRID), labels=Volume(labels, GRID),
            volumes={}, frame=4,
        )  # fmt: skip
    assert not (tmp_path / "p.html").exists()


def test_constant_and_negative_images_can_be_shown():
    image, labels = torso()
    for array in (np.zeros(SHAPE, np.float32), image - 500, np.full(SHAPE, 7, np.int16)):
        cuts = choose_cuts(array, labels, GRID)
        assert outlines_figure(array, labels, cuts).startswith(b"\x89PNG")


def test_only_judged_labels_are_shown_as_different():
    image, labels = torso()
    wrong = np.where(labels == 5, 0, labels)
    cuts = choose_cuts(image, labels, GRID)
    red = []
    for judged in ((1, 5, 10), (1, 10)):
        from PIL import Image

        png = labels_figure(wrong, labels, cuts, judged)
        red.append(near(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")), outlines._WRONG))
    assert red[0] > 1000
    assert red[1] == 0


def table(count, shift=0.0):
    rng = np.random.default_rng(3)
    return ScoreTable(
        {
            f"case {n}": [
                OrganScore(
                    o.label, d := 0.8 + 0.1 * rng.random() - shift, d / 2, 2.0, 5.0, 9.0, 10.0
                )
                for o in ORGANS
            ]
            for n in range(count)
        }
    )


@pytest.mark.parametrize("count", [1, 2, 8])
def test_box_plots_of_few_and_many_cases(count):
    figure = scores_figure({"vote": table(count), "axial": table(count, 0.05)})
    assert figure.startswith(b"\x89PNG")


def test_box_plots_with_organs_that_nobody_has():
    labels = torso()[1]
    scores = organ_scores(labels, labels, GRID.spacing)
    assert scores_figure({"found": ScoreTable({"a": scores})}).startswith(b"\x89PNG")


def test_the_page_of_scores(tmp_path):
    from mriforge.evaluate.organs import compare_all

    tables = {"found": table(7), "axial": table(7, 0.05)}
    tests = {"axial": compare_all(*tables.values())}
    page = scores_report(tmp_path / "p.html", tables, tests, provenance={"Reference": "by hand"})
    text = page.read_text(encoding="utf-8")
    assert "found against axial" in text
    assert "+0.050 (p = 0.016)" in text
    assert "Holm" in text
    assert "by hand" in text
    few = {name: table(3) for name in ("found", "axial")}
    page = scores_report(tmp_path / "q.html", few, {"axial": compare_all(*few.values())})
    assert "cannot give less than p = 0.25" in page.read_text(encoding="utf-8")
