"""``evaluate --organs``: files and folders, other grids, other methods, what is refused."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mriforge.anatomy import ORGANS
from mriforge.cli import main
from mriforge.errors import BadInput, Cancelled
from mriforge.evaluate import evaluate_organs
from mriforge.evaluate.label_files import translated
from mriforge.evaluate.organs import labels_of
from mriforge.events import Events
from mriforge.io import write
from mriforge.jobs import Request, run_request
from mriforge.metrics.overlap import organ_scores
from mriforge.volume import Grid, Series, Volume

GRID = Grid((16, 24, 28), (2.0, 1.5, 3.0), (5, -7, 11))


def labels(shift=(0, 0, 0), grid=GRID) -> np.ndarray:
    """A liver, a spleen and a left kidney as boxes."""
    array = np.zeros(grid.shape, np.uint8)
    array[2:12, 4:16, 2:12] = 1
    array[4:10, 12:20, 18:25] = 2
    array[1:6, 14:22, 13:18] = 5
    return np.roll(array, shift, (0, 1, 2))


@pytest.fixture
def save(tmp_path):
    """Writes a label map and returns its path."""

    def make(name: str, array: np.ndarray, grid: Grid = GRID) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Series(array, grid, np.arange(len(array))) if array.ndim == 4 else None
        return write(image or Volume(array, grid), path)

    return make


def folder(save, name: str, count: int = 7, seed: int = 0) -> Path:
    """A folder of cases, each shifted by its own number of voxels along x."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        array = labels((0, 0, int(rng.integers(0, 1 + 2 * (seed > 0)) + (seed > 0))))
        save(f"{name}/case{number}.nii.gz", array)
    return Path(save(f"{name}/case0.nii.gz", labels((0, 0, seed)))).parent


def test_figures_of_a_file_are_those_of_the_arrays(save, tmp_path):
    found, truth = save("found.nrrd", labels((0, 1, 1))), save("truth.nii.gz", labels())
    out = {k: tmp_path / f"o.{k}" for k in ("json", "csv")}
    result = evaluate_organs(found, truth, json_path=out["json"], csv_path=out["csv"])
    for expected in organ_scores(labels((0, 1, 1)), labels(), GRID.spacing, (1, 2, 5)):
        entry = result["organs"][expected.organ]
        for figure in ("dice", "jaccard", "msd_mm", "hd95_mm"):
            assert entry[figure]["mean"] == pytest.approx(getattr(expected, figure))
        assert entry["reference_ml"] == pytest.approx(expected.reference_ml)
    assert result["organs"]["pancreas"]["dice"]["mean"] is None
    assert json.loads(out["json"].read_text())["overall"] == result["overall"]
    lines = list(csv.DictReader(out["csv"].read_text().splitlines()))
    assert {line["method"] for line in lines} == {"found"}
    assert len(lines) == 10


def test_only_some_organs_are_judged(save):
    found, truth = labels(), labels()
    truth[truth == 2] = 0
    result = evaluate_organs(save("f.nii.gz", found), save("t.nii.gz", truth), only=(1, 5))
    assert list(result["organs"]) == ["liver", "left_kidney"]
    assert result["overall"]["dice"]["mean"] == 1
    everything = evaluate_organs(save("f.nii.gz", found), save("t.nii.gz", truth))
    assert everything["organs"]["spleen"]["invented"] == 1
    assert everything["overall"]["dice"]["mean"] == pytest.approx(2 / 3)


def test_other_grids_need_to_be_asked_for(save):
    """A flipped storage order and a finer grid are the same labels once resampled."""
    truth = save("truth.nii.gz", labels())
    turned = Grid(GRID.shape, GRID.spacing, tuple(GRID.index_to_world((27, 0, 0))),
                  (-1, 0, 0, 0, 1, 0, 0, 0, 1))  # fmt: skip
    flipped = save("flipped.nrrd", labels()[:, :, ::-1].copy(), turned)
    first = (-1 / 3,) * 3
    fine = GRID.resampled((84, 72, 48), tuple(s / 3 for s in GRID.spacing), first)
    finer = save("finer.nii.gz", np.kron(labels(), np.ones((3, 3, 3), np.uint8)), fine)
    for path in (flipped, finer):
        with pytest.raises(BadInput, match="not on one grid"):
            evaluate_organs(path, truth)
        result = evaluate_organs(path, truth, resample=True)
        assert result["overall"]["dice"]["mean"] == 1
        assert result["overall"]["hd95_mm"]["mean"] == 0


def test_folders_are_cohorts_with_tests_over_cases(save, tmp_path):
    truth = folder(save, "truth")
    good, poor = folder(save, "good", seed=1), folder(save, "poor", seed=4)
    report = tmp_path / "page.html"
    result = evaluate_organs(good, truth, compare_with={"poor": poor}, report=report)
    assert result["count"] == 7
    assert set(result["cases"]) == {f"case{n}" for n in range(7)}
    test = result["compare"]["poor"]["tests"]["dice"]
    assert test["over"] == "cases"
    assert test["overall"]["n"] == 7
    assert test["overall"]["mean_difference"] == pytest.approx(
        result["overall"]["dice"]["mean"] - result["compare"]["poor"]["overall"]["dice"]["mean"]
    )
    organ = test["organs"]["liver"]
    assert organ["wilcoxon_p_holm"] >= organ["wilcoxon_p"]
    text = report.read_text()
    assert "Wilcoxon" in text
    assert text.count("data:image/png") == 2
    json.dumps(result, allow_nan=False)


def test_a_single_case_is_tested_over_its_organs(save):
    files = [save(f"{n}.nii.gz", labels((0, 0, n))) for n in range(3)]
    result = evaluate_organs(files[1], files[0], compare_with={"other": files[2]})
    test = result["compare"]["other"]["tests"]["dice"]
    assert (test["over"], test["overall"]["n"]) == ("organs", 3)
    assert test["overall"]["mean_difference"] > 0


def test_frames_are_cases(save):
    found = save("f.nii.gz", np.stack([labels((0, 0, n)) for n in range(3)]))
    truth = save("t.nii.gz", np.stack([labels()] * 3))
    result = evaluate_organs(found, truth)
    assert list(result["cases"]) == ["t, frame 1", "t, frame 2", "t, frame 3"]
    dice = [result["cases"][name][0]["dice"] for name in result["cases"]]
    assert dice[0] == 1 > dice[1] > dice[2]
    with pytest.raises(BadInput, match="frames"):
        evaluate_organs(save("one.nii.gz", labels()), truth)


def test_references_with_numbers_of_others(save):
    """AMOS: liver 6, spleen 1, left kidney 3; the map does not outline vertebrae."""
    amos = np.array([0, 6, 1, 0, 0, 3, 0, 0, 0, 0, 0], np.int16)[labels()]
    found = labels()
    found[0, 0, 0] = 10
    result = evaluate_organs(save("f.nii.gz", found), save("t.nii.gz", amos), scheme="amos")
    assert list(result["organs"]) == [o.key for o in ORGANS[:7]]
    assert result["overall"]["dice"]["mean"] == 1
    assert result["organs"]["liver"]["reference_ml"] > 0
    amos[0, 0, 0] = 99
    with pytest.raises(BadInput, match=r"t\.nii\.gz.*99"):
        evaluate_organs(save("f.nii.gz", found), save("t.nii.gz", amos), scheme="amos")


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 1, 2)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_vertebrae_lose_their_arches_in_any_storage_order(save, order, flips):
    """A canal behind a body: what is behind the body is not ours, wherever Posterior is stored."""
    spine = np.zeros((14, 30, 20), np.uint8)
    for n in range(2):
        spine[1 + 6 * n : 6 + 6 * n, 4:16, 4:16] = 27 + n
        spine[1 + 6 * n : 6 + 6 * n, 16:28, 9:11] = 27 + n
    spine[:, 17:22, 8:12] = 79
    matrix = np.eye(3)
    for axis in flips:
        matrix[2 - axis, 2 - axis] = -1
    stored = np.flip(spine, flips).transpose(order)
    columns = [2 - axis for axis in order][::-1]
    grid = Grid(stored.shape, (3.0, 3.0, 3.0), (0, 0, 0), tuple(matrix[:, columns].ravel()))
    usual = translated(Series(spine[None], Grid(spine.shape, (3.0,) * 3), [0]), "totalsegmentator",
                       "a").array[0]  # fmt: skip
    other = translated(Series(stored[None], grid, [0]), "totalsegmentator", "b").array[0]
    assert (usual == 10).any()
    assert not (usual[:, 23:] == 10).any()
    np.testing.assert_array_equal(other, np.flip(usual, flips).transpose(order))


def test_nothing_found_is_an_answer(save):
    found = save("f.nii.gz", np.zeros(GRID.shape, np.uint8))
    result = evaluate_organs(found, save("t.nii.gz", labels()))
    assert result["overall"]["dice"]["mean"] == 0
    assert result["overall"]["msd_mm"]["mean"] is None
    assert result["organs"]["liver"]["missed"] == 1


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.full(GRID.shape, 11, np.uint8), "from 11 to 11"),
        (np.full(GRID.shape, -1, np.int16), "from -1"),
        (np.full(GRID.shape, 0.5, np.float32), "whole numbers"),
        (np.full(GRID.shape, np.nan, np.float32), "no map of organ labels"),
    ],
)
def test_voxels_that_are_no_labels(save, tmp_path, array, sentence):
    target = tmp_path / "out.json"
    with pytest.raises(BadInput, match=sentence) as caught:
        evaluate_organs(save("f.nii.gz", array), save("t.nii.gz", labels()), json_path=target)
    assert "f.nii.gz" in caught.value.message
    assert not target.exists()


def test_whole_numbers_as_floats_are_labels(save):
    found = save("f.nii.gz", labels().astype(np.float32))
    assert evaluate_organs(found, save("t.nii.gz", labels()))["overall"]["dice"]["mean"] == 1


def test_folders_that_do_not_fit(save, tmp_path):
    truth, found = folder(save, "truth", 3), folder(save, "found", 3)
    with pytest.raises(BadInput, match="folder of cases"):
        evaluate_organs(found, truth / "case0.nii.gz")
    with pytest.raises(BadInput, match="folder of cases"):
        evaluate_organs(found / "case0.nii.gz", truth)
    os.remove(found / "case1.nii.gz")
    with pytest.raises(BadInput, match="has no file for"):
        evaluate_organs(found, truth)
    save("found/case1.nrrd", labels())
    assert evaluate_organs(found, truth)["count"] == 3
    save("found/case1.nii.gz", labels())
    with pytest.raises(BadInput, match="two files for case1"):
        evaluate_organs(found, truth)


def test_options_that_do_not_go_together(save):
    files = {"input": str(save("f.nii.gz", labels())), "reference": str(save("t.nii.gz", labels()))}
    for extra, sentence in (
        ({"organs": True, "mask": files["input"]}, "--mask is for images"),
        ({"only": "liver"}, "need --organs"),
        ({"scheme": "amos"}, "need --organs"),
        ({"organs": True, "scheme": "amus"}, "no scheme"),
        ({"organs": True, "only": "liver,heart"}, "--only takes"),
        ({"organs": True, "only": "liver,liver"}, "--only takes"),
        ({"organs": True, "compare": {"found": files["input"]}}, "Choose another name"),
    ):
        with pytest.raises(BadInput) as caught:
            run_request(Request("evaluate", {**files, **extra}), Events())
        assert sentence in f"{caught.value.message} {caught.value.hint}"
    assert labels_of("Left kidney, liver") == (1, 5)
    assert labels_of(None) is None


def test_cancelled_before_anything_is_written(save, tmp_path):
    events = Events()
    events.control.cancel()
    target = tmp_path / "out.json"
    with pytest.raises(Cancelled):
        evaluate_organs(
            save("f.nii.gz", labels()), save("t.nii.gz", labels()), json_path=target, events=events
        )
    assert not target.exists()


def test_the_command_prints_a_table(save, capsys):
    truth, found, other = (
        str(save(f"{name}.nii.gz", labels((0, 0, n)))) for n, name in enumerate("tfo")
    )
    code = main(["evaluate", found, "--reference", truth, "--organs", "--only",
                 "liver,spleen,pancreas", "--compare", f"other={other}", "--quiet"])  # fmt: skip
    text = capsys.readouterr().out
    assert code == 0
    assert text.splitlines()[0].split() == ["organ", "dice", "jaccard", "msd_mm", "hd95_mm"]
    assert "found against other, Dice" in text
    assert "left kidney" not in text
