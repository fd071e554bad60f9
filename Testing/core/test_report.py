"""The report: orientation of slices, pictures for every kind of series, the evaluate job."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from itertools import permutations, product

import numpy as np
import pytest

from mriforge.errors import BadInput, MissingDependency
from mriforge.evaluate import evaluate_files
from mriforge.io import read, write
from mriforge.metrics.compare import compare
from mriforge.report.planes import sample_nearest, slice_axis, view_across
from mriforge.report.scene import choose_scene
from mriforge.volume import Grid, Series

RIGHT_DOWN = {
    "axial": {0: (1, 0), 1: (0, 1), 2: (0, 0)},
    "coronal": {0: (1, 0), 1: (0, 0), 2: (0, -1)},
    "sagittal": {0: (0, 0), 1: (1, 0), 2: (0, -1)},
}
LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_orientation_is_shown_the_radiological_way(order):
    for signs in product((1, -1), repeat=3):
        direction = np.zeros((3, 3))
        direction[order, range(3)] = signs
        grid = Grid((4, 5, 6), (1, 2, 3), (7, 8, 9), tuple(direction.ravel()))
        indices = np.indices(grid.shape)
        world = grid.index_to_world(np.stack(indices[::-1], axis=-1))
        for axis in range(3):
            view = view_across(grid, axis)
            assert "".join(view.letters) == LETTERS[view.plane] and view.tilt == 0
            assert view.pixel == (grid.spacing[2 - view.down], grid.spacing[2 - view.right])
            for lps in range(3):
                picture = view.slice(world[..., lps], 1)
                assert np.allclose(picture, view.positions(grid, 1)[..., lps])
                steps = picture[0, 1] - picture[0, 0], picture[1, 0] - picture[0, 0]
                assert tuple(np.sign(steps)) == RIGHT_DOWN[view.plane][lps]


def test_slices_are_taken_across_the_thick_axis():
    assert slice_axis(Grid((6, 68, 68), (0.96, 0.96, 16.8))) == 0
    assert slice_axis(Grid((68, 6, 68), (0.96, 16.8, 0.96))) == 1
    assert slice_axis(Grid((160, 160, 160))) == 0
    assert slice_axis(Grid((40, 40, 1), (1, 1, 1))) == 2


def test_oblique_grids_are_named_so():
    turn = np.deg2rad(30)
    direction = (1, 0, 0, 0, np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn))
    view = view_across(Grid((4, 8, 8), direction=direction), 0)
    assert view.plane == "axial" and view.tilt == pytest.approx(30)
    assert view.title == "Oblique (30 degrees from axial)"


def test_input_on_a_coarser_grid_is_drawn_where_it_is():
    fine, coarse = Grid((1, 8, 8)), Grid((1, 4, 4), (2, 2, 1), (0.5, 0.5, 0))
    positions = view_across(fine, 0).positions(fine, 0)
    values = np.arange(16.0).reshape(1, 4, 4)
    drawn = sample_nearest(values, coarse, positions)
    assert np.array_equal(drawn, np.kron(values[0], np.ones((2, 2))))


def images(frames, shape, spacing=(1.0, 1.0, 1.0)):
    random = np.random.default_rng(0)
    grid = Grid(shape, spacing)
    z, y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
    body = 800.0 * (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 < 0.7)
    truth = body + random.normal(0, 20, (frames, *shape))

    def make(noise):
        array = (truth + random.normal(0, noise, truth.shape)).astype(np.float32)
        return Series(array, grid, np.arange(frames) * 0.5)

    return {"rough <b>": make(90), "sinc": make(40), "network": make(15)}, make(0)


class Page(HTMLParser):
    """Collects what a browser would load, and checks that tags close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.bold = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.sources += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("frames", "shape", "spacing", "pictures"),
    [
        (1, (20, 24, 28), (1, 1, 1), 2),
        (1, (1, 40, 41), (1.4, 1.4, 8), 2),
        (3, (1, 40, 40), (1.4, 1.4, 8), 3),
        (12, (6, 30, 30), (0.96, 0.96, 16.8), 4),
        (2, (3, 4, 2), (1, 2, 5), 3),
        (1, (1, 1, 9), (1, 1, 1), 2),
        (1, (5, 1, 1), (3, 1, 1), 2),
    ],
)
def test_every_kind_of_series_gives_a_whole_page(frames, shape, spacing, pictures, tmp_path):
    pytest.importorskip("matplotlib")
    from mriforge.report.html import Report

    methods, truth = images(frames, shape, spacing)
    report = Report("Title & more", "subtitle")
    report.comparison(compare(methods, truth, baseline="sinc", input=methods["rough <b>"]))
    report.table(["a", "b"], [["1", "<2>"]], "caption")
    report.provenance({"Image": "x<y>.nii.gz"})
    path = report.write(tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.sources) == pictures
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"https?://|<script|@import|url\(", text)
    assert "Research use only" in text and "rough &lt;b&gt;" in text and "x&lt;y&gt;" in text
    assert '<span class="best">' in text


def test_many_methods_over_several_levels(tmp_path):
    pytest.importorskip("matplotlib")
    from mriforge.report.html import Report, shared_difference_limit

    methods, truth = images(2, (4, 20, 20))
    many = {f"method {n}": methods["sinc"] for n in range(9)}
    levels = {"25 %": compare(many, truth), "10 %": compare(methods, truth)}
    assert shared_difference_limit(list(levels.values())) in (0.05, 0.1, 0.2)
    report = Report("Levels")
    report.levels(levels)
    for name, level in levels.items():
        report.comparison(level, name, frame=0, difference_limit=0.1)
    assert len(Page(report.html()).sources) == 7


def test_equal_and_constant_images_do_not_break_the_page():
    pytest.importorskip("matplotlib")
    from mriforge.report.html import Report

    _, truth = images(3, (4, 20, 20))
    black = Series(np.zeros_like(truth.array), truth.grid, truth.times)
    report = Report("Equal")
    report.comparison(compare({"same": truth, "black": black}, truth))
    assert "equal" in report.html()


def test_the_scene_is_the_same_whatever_the_methods_are():
    methods, truth = images(1, (8, 30, 30))
    one = choose_scene(compare(methods, truth))
    other = choose_scene(compare({"network": methods["network"]}, truth))
    assert one == other


@pytest.fixture
def files(tmp_path):
    methods, truth = images(3, (4, 20, 20), (1, 1, 5))
    names = {"image": methods["network"], "other": methods["sinc"], "reference": truth}
    return {name: write(image, tmp_path / f"{name}.nii.gz") for name, image in names.items()}


def test_the_job_writes_everything(files, tmp_path):
    pytest.importorskip("matplotlib")
    out = {
        "ssim_map": tmp_path / "ssim.nii.gz",
        "difference_map": tmp_path / "difference.nrrd",
        "json_path": tmp_path / "figures.json",
        "csv_path": tmp_path / "figures.csv",
        "report": tmp_path / "report.html",
    }
    result = evaluate_files(
        files["image"], files["reference"], compare_with={"sinc": files["other"]}, **out
    )
    data = json.loads(out["json_path"].read_text())
    assert data["psnr"] == pytest.approx(result["psnr"]) and len(data["frames"]) == 3
    assert result["compare"]["sinc"]["ssim_test"]["mean_difference"] > 0
    assert read(out["ssim_map"]).array.max() <= 1
    gap = read(files["image"]).array - read(files["reference"]).array
    assert np.allclose(read(out["difference_map"]).array, gap, atol=1e-3)
    assert len(out["csv_path"].read_text().splitlines()) == 7
    Page(out["report"].read_text(encoding="utf-8"))
    assert {"json", "csv", "report", "ssim_map", "difference_map"} <= set(result)


def test_the_job_refuses_before_it_writes(files, tmp_path):
    wrong = write(images(2, (4, 20, 20), (1, 1, 5))[1], tmp_path / "two.nii.gz")
    before = sorted(tmp_path.iterdir())
    target = tmp_path / "figures.json"
    with pytest.raises(BadInput, match="frames"):
        evaluate_files(wrong, files["reference"], json_path=target)
    with pytest.raises(BadInput, match="same name"):
        evaluate_files(files["image"], files["reference"], json_path=target, csv_path=target)
    with pytest.raises(BadInput):
        evaluate_files(files["image"], tmp_path / "none.nii.gz", json_path=target)
    assert sorted(tmp_path.iterdir()) == before


def test_without_matplotlib_only_the_report_is_refused(files, tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match="matplotlib"):
        evaluate_files(files["image"], files["reference"], report=tmp_path / "r.html")
    assert evaluate_files(files["image"], files["reference"])["ssim"] > 0


def test_real_series(shared_data, tmp_path):
    pytest.importorskip("matplotlib")
    image = read(shared_data / "dynamic" / "sct_cspine_fmri_4D.nii.gz")
    from mriforge.report.html import Report

    reference = Series(image.array[:9], image.grid, image.times[:9], "time", image.time_unit)
    blurred = (reference.array + np.roll(reference.array, 1, axis=3)) / 2
    report = Report("Real")
    found = compare({"blurred": reference.with_array(blurred)}, reference)
    report.comparison(found)
    scene = choose_scene(found)
    assert scene.view.axis == 0 and scene.view.plane == "axial"
    assert len(Page(report.html()).sources) == 4
