"""Labelled cases: manifests, layouts of folders, splits, what is refused, and where labels land."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.anatomy import NUMBER
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.io import write
from mriforge.recipes import load_recipe
from mriforge.training.cases import load_pair, load_tissues, read_cases, with_splits
from mriforge.training.cases_layouts import meanings, remarks
from mriforge.training.cases_manifest import Case
from mriforge.training.organs import load_organ_cases
from mriforge.volume import Grid, Series, Volume

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)  # RAS storage
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0)
GRID = Grid((6, 8, 10), (3.0, 3.0, 3.0), (-13.0, 20.0, -7.0))
PLACES = {1: (-4.0, 26.0, -1.0), 4: (2.0, 35.0, 5.0), 5: (11.0, 29.0, -1.0)}
"""Where the organs of :func:`outlines` are, LPS mm."""


def outlines(grid: Grid = GRID, numbers: dict[int, int] | None = None) -> Volume:
    """Balls at :data:`PLACES`, with our labels or the ``numbers`` of another map."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.stored_shape), indexing="ij"), -1)
    world = grid.index_to_world(index.astype(float))
    array = np.zeros(grid.stored_shape, np.uint8)
    for label, place in PLACES.items():
        inside = np.linalg.norm(world - np.array(place), axis=-1) < 4.0
        array[inside] = (numbers or {}).get(label, label)
    return Volume(np.ascontiguousarray(array.T), grid)


def picture(labels: Volume) -> Volume:
    """An image that is as bright as its labels."""
    noise = np.random.default_rng(0).random(labels.array.shape, np.float32)
    return labels.with_array(100 * labels.array.astype(np.float32) + noise)


def pair(folder: Path, name: str, labels: Volume | None = None) -> dict[str, str]:
    """Files of a case and its line in a manifest."""
    labels = labels or outlines()
    write(picture(labels), folder / f"{name}_image.nii.gz")
    write(labels, folder / f"{name}_labels.nii.gz")
    return {
        "image": f"{name}_image.nii.gz", "labels": f"{name}_labels.nii.gz", "subject": name
    }  # fmt: skip


def manifest(folder: Path, *rows: dict) -> Path:
    """``cases.json`` of these rows."""
    path = folder / "cases.json"
    path.write_text(json.dumps({"cases": list(rows)}))
    return path


def found_places(image: Volume, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Centre of each label, LPS mm."""
    return {
        int(label): image.grid.index_to_world(np.argwhere(labels == label)[:, ::-1]).mean(0)
        for label in np.unique(labels)
        if label
    }


def assert_in_place(case: Case, spacing: float = 1.5, organs: tuple[int, ...] = (1, 4, 5)) -> None:
    image, labels = load_pair(case, spacing)
    assert labels.dtype == np.uint8 and image.array.dtype == np.float32
    assert labels.shape == image.grid.shape == image.array.shape
    assert image.grid.spacing == (spacing,) * 3 and image.grid.direction == LPS
    places = found_places(image, labels)
    assert set(places) == set(organs)
    for label, place in places.items():
        assert place == pytest.approx(PLACES[label], abs=1.0)


def refusal(*words: str):
    return pytest.raises(BadInput, match="(?s)" + ".*".join(words))


# Manifests


def test_a_manifest_as_json_and_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [pair(tmp_path, f"p{n}") for n in range(2)]
    rows[0] |= {"split": "train", "licence": "CC0", "contrast": "T1 VIBE"}
    rows[1] |= {"split": "validation"}
    from_json = read_cases(manifest(tmp_path, *rows))
    assert [case.split for case in from_json] == ["train", "validation"]
    assert (from_json[0].licence, from_json[0].contrast) == ("CC0", "T1 VIBE")
    assert from_json[0].image == tmp_path / "p0_image.nii.gz"
    monkeypatch.setenv("CASES", str(tmp_path))
    with open(tmp_path / "other.csv", "w", newline="") as handle:
        table = csv.DictWriter(handle, ("image", "labels", "subject", "split", "organs"))
        table.writeheader()
        for row in rows:
            line = {key: row.get(key, "") for key in table.fieldnames}
            table.writerow(
                line | {"labels": f"${{CASES}}/{row['labels']}", "organs": "liver;spleen"}
            )
    from_csv = read_cases(tmp_path / "other.csv")
    assert [case.labels for case in from_csv] == [case.labels for case in from_json]
    assert from_csv[0].organs == (1, 2) and from_json[0].organs == tuple(range(1, 11))
    assert read_cases(tmp_path) == from_json, "a folder is read by the manifest in it"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, ("Case 1 of the manifest", "unknown column 'colour'")),
        ({"labels": ""}, ("has no 'labels'",)),
        ({"subject": None}, ("has no 'subject'",)),
        ({"split": "test"}, ("has the split 'test'", "train, validation")),
        ({"scheme": "mine"}, ("has the scheme 'mine'", "totalsegmentator")),
        ({"organs": ["liver", "heart"]}, ("'heart' is not an organ", "right_kidney")),
        ({"organs": "duodenum", "scheme": "btcv"}, ("'duodenum' is not an organ",)),
        ({"labels": "gone.nii.gz"}, ("label map .*gone.nii.gz of 'a' is not there",)),
        ({"image": "gone.nii.gz"}, ("image .*gone.nii.gz of 'a' is not there",)),
        ({"ct": "a_image.nii.gz"}, ("an MR image and a CT",)),
    ],
)
def test_mistakes_in_a_manifest(tmp_path: Path, change: dict, words: tuple[str, ...]) -> None:
    path = manifest(tmp_path, pair(tmp_path, "a") | change)
    with refusal(*words):
        read_cases(path)


def test_other_things_than_manifests(tmp_path: Path) -> None:
    with refusal("is not there"):
        read_cases(tmp_path / "absent")
    with refusal("no labelled cases", "nnU-Net"):
        read_cases(tmp_path)
    with refusal("names no cases"):
        read_cases(manifest(tmp_path))
    (tmp_path / "cases.json").write_text("{")
    with refusal("neither CSV nor valid JSON"):
        read_cases(tmp_path)
    (tmp_path / "cases.json").write_text('{"cases": 3}')
    with refusal("should hold a list of cases"):
        read_cases(tmp_path)


# Splits


def some(*subjects: str, split: str = "") -> list[Case]:
    return [Case(Path(f"{number}.nii"), who, split) for number, who in enumerate(subjects)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=60))
def test_without_splits_subjects_are_held_out_whole(names: list[str]) -> None:
    cases = with_splits(some(*names), "here")
    told = {case.subject: case.split for case in cases}
    assert all(case.split == told[case.subject] for case in cases)
    count = Counter(told.values())
    assert count["train"] >= 1 and (count["validation"] >= 1) == (len(told) > 1)
    assert count["validation"] == max(len(told) // 5, int(len(told) > 1))
    again = with_splits(some(*reversed(names)), "here")
    assert {case.subject: case.split for case in again} == told


def test_of_many_subjects_sixteen_are_held_out() -> None:
    cases = with_splits(some(*(f"s{n:04d}" for n in range(2000))), "here")
    assert Counter(case.split for case in cases) == {"train": 1984, "validation": 16}


def test_splits_that_cannot_be() -> None:
    with refusal("subject 'a' is in two splits of here"):
        with_splits([*some("a", split="train"), *some("a", split="validation")], "here")
    with refusal("none for 'b'"):
        with_splits([*some("a", split="train"), *some("b")], "here")
    with refusal("no case with split 'train'"):
        with_splits(some("a", split="validation"), "here")
    told = with_splits([*some("a", split="train"), *some("a")], "here")
    assert [case.split for case in told] == ["train", "train"]


# Voxels


@pytest.mark.parametrize("direction", [LPS, FLIPPED, CORONAL])
@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (1.2, 1.2, 3.5)])
def test_labels_land_where_they_were(
    tmp_path: Path, direction: tuple[float, ...], spacing: tuple[float, float, float]
) -> None:
    size = np.abs(np.array(direction).reshape(3, 3).T @ [27.0, 21.0, 15.0])
    shape = tuple((np.round(size / spacing).astype(int) + 1)[::-1])
    middle = np.array([0.5, 30.5, 0.5])
    axes = np.array(direction).reshape(3, 3) * spacing
    grid = Grid(shape, spacing, tuple(middle - axes @ ((np.array(shape[::-1]) - 1) / 2)), direction)
    path = manifest(tmp_path, pair(tmp_path, "a", outlines(grid)))
    assert_in_place(read_cases(path)[0])


def test_labels_may_be_stored_in_another_order(tmp_path: Path) -> None:
    """A label map from another program: the same voxels, rows and columns turned round."""
    row = pair(tmp_path, "a")
    corner = GRID.index_to_world(np.array([9.0, 7.0, 0.0]))
    turned = Volume(
        np.ascontiguousarray(outlines().array[:, ::-1, ::-1]),
        Grid(GRID.shape, GRID.spacing, tuple(corner), FLIPPED),
    )
    write(turned, tmp_path / row["labels"])
    assert_in_place(read_cases(manifest(tmp_path, row))[0])


def test_organs_that_are_not_outlined_are_background(tmp_path: Path) -> None:
    row = pair(tmp_path, "a") | {"organs": ["liver", "left_kidney"]}
    assert_in_place(read_cases(manifest(tmp_path, row))[0], organs=(1, 5))


def test_a_series_of_one_volume_is_a_volume(tmp_path: Path) -> None:
    row = pair(tmp_path, "a")
    labels = outlines()
    image = picture(labels).array
    write(Series(image[None], GRID, np.zeros(1)), tmp_path / row["image"])
    assert_in_place(read_cases(manifest(tmp_path, row))[0])
    write(Series(np.stack([image, image]), GRID, np.arange(2.0)), tmp_path / row["image"])
    with refusal("a_image", "series of 2 volumes"):
        load_pair(read_cases(tmp_path)[0], 3.0)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("shape", ("do not have the same voxels", "10 x 8 x 6")),
        ("place", ("do not have the same voxels", "Resample the label map onto its image")),
        ("between", ("a_labels", "between whole numbers")),
        ("unknown", ("a_labels", "the labels 77")),
        ("empty", ("a_labels", "outlines none of the organs")),
        ("negative", ("a_labels", "whole numbers from 0")),
        ("flat", ("a_image", "the same value")),
        ("nan", ("a_image", "not numbers")),
    ],
)
def test_voxels_that_are_refused(tmp_path: Path, what: str, words: tuple[str, ...]) -> None:
    row = pair(tmp_path, "a")
    labels = outlines()
    array = labels.array.astype(np.float32)
    moved = Grid(GRID.shape, GRID.spacing, (-12.0, 20.0, -7.0))
    image = picture(labels).array
    changed = {
        "shape": Volume(labels.array[1:], Grid((5, 8, 10), GRID.spacing, GRID.origin)),
        "place": Volume(labels.array, moved),
        "between": labels.with_array(array * 0.5),
        "unknown": labels.with_array(np.where(array == 1, 77, array).astype(np.uint8)),
        "empty": labels.with_array(np.zeros_like(labels.array)),
        "negative": labels.with_array(labels.array.astype(np.int16) - 1),
        "flat": labels.with_array(np.ones_like(image)),
        "nan": labels.with_array(np.where(array == 1, np.nan, image)),
    }[what]
    write(changed, tmp_path / row["image" if what in ("flat", "nan") else "labels"])
    case = read_cases(manifest(tmp_path, row))[0]
    with refusal(*words):
        load_pair(case, 3.0)


def test_tissues_of_label_maps_with_and_without_ct(tmp_path: Path) -> None:
    grid = Grid((12, 20, 24), (4.0, 4.0, 4.0), (-50.0, -10.0, -20.0))
    labels = outlines(grid, {1: 5, 4: 2, 5: 3})  # numbers of TotalSegmentator
    body = np.full(grid.shape, -1000.0, np.float32)
    body[:, 3:-3, 3:-3] = 40.0
    write(labels, tmp_path / "l.nii.gz")
    write(Volume(body, grid), tmp_path / "ct.nii.gz")
    row = {"labels": "l.nii.gz", "scheme": "totalsegmentator", "licence": "CC0"}
    rows = [row | {"subject": "with", "ct": "ct.nii.gz"}, row | {"subject": "without"}]
    for case in read_cases(manifest(tmp_path, *rows)):
        assert case.image is None
        tissues = load_tissues(case, 3.0)
        assert tissues.grid.spacing == (3.0, 3.0, 3.0) and tissues.subject == case.subject
        assert tissues.source == {"source": "l.nii.gz", "licence": "CC0"}
        ours = tissues.labels()
        places = found_places(Volume(ours, tissues.grid), ours)
        assert set(places) == {1, 4, 5}
        for label, place in places.items():
            assert place == pytest.approx(PLACES[label], abs=1.6)
        assert (tissues.array == NUMBER["air"]).any()
        assert (tissues.array > NUMBER["left_renal_medulla"]).sum() > 100, "the rest of a body"


def test_folder_of_anatomies(tmp_path: Path) -> None:
    tissues = np.zeros(GRID.shape, np.uint8)
    tissues[1:-1, 1:-1, 1:-1] = NUMBER["muscle"]
    tissues[2:4, 3:5, 3:5] = NUMBER["stomach_contents"]
    write(Volume(tissues, GRID), tmp_path / "anatomy_000003.nii.gz")
    line = {"path": "anatomy_000003.nii.gz", "subject": "abdomen-3", "seed": 3}
    (tmp_path / "anatomies.json").write_text(json.dumps({"anatomies": [line]}))
    (case,) = read_cases(tmp_path)
    found = load_tissues(case, 3.0)
    assert np.array_equal(found.array, tissues) and found.grid.matches(GRID)
    assert set(np.unique(found.labels())) == {0, 6}
    assert found.source["source"].startswith("simulated") and len(found.organs) == 10


# Layouts of others


def nnunet(folder: Path, names: dict, channels: dict, count: int = 2, **more) -> Path:
    """nnU-Net's raw data with our balls as labels 3 (liver), 1 and 2 (kidneys)."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        labels = outlines(numbers={1: 3, 4: 1, 5: 2})
        write(labels, folder / "labelsTr" / f"case_{number}.nii.gz")
        for channel in channels:
            write(picture(labels), folder / "imagesTr" / f"case_{number}_{int(channel):04d}.nii.gz")
    about = {"labels": names, "channel_names": channels, "file_ending": ".nii.gz", **more}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


NAMES = {"background": 0, "Kidney_R": 1, "left kidney": 2, "Liver": 3, "gall bladder": 4}


def test_nnunet(tmp_path: Path) -> None:
    folder = nnunet(tmp_path, NAMES, {"0": "T1", "1": "T2"}, licence="CC BY 4.0")
    (folder / "labelsTr" / ".DS_Store").write_text("")
    cases = read_cases(folder)
    assert [(c.subject, c.contrast, c.split) for c in cases] == [
        ("case_0", "T1", "train"),
        ("case_0", "T2", "train"),
        ("case_1", "T1", "validation"),
        ("case_1", "T2", "validation"),
    ]
    assert cases[1].image.name == "case_0_0001.nii.gz"
    assert cases[0].organs == (1, 4, 5) and cases[0].licence == "CC BY 4.0"
    assert_in_place(cases[0])


def test_nnunet_of_ct_gives_tissues(tmp_path: Path) -> None:
    (case,) = read_cases(nnunet(tmp_path, NAMES, {"0": "CT"}, count=1))
    assert case.image is None and case.ct.name == "case_0_0000.nii.gz"
    with refusal("is not a CT"):
        load_tissues(case, 3.0)


def test_nnunet_lacks_an_image_or_a_name(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "a", NAMES, {"0": "MRI"})
    (folder / "imagesTr" / "case_1_0000.nii.gz").unlink()
    with refusal("image .*case_1_0000.nii.gz of 'case_1' is not there"):
        read_cases(folder)
    fewer = {name: number for name, number in NAMES.items() if number != 1}
    cases = read_cases(nnunet(tmp_path / "b", fewer, {"0": "MRI"}))
    with refusal("case_0", "the label 1, which dataset.json does not name"):
        load_pair(cases[0], 3.0)


def test_names_of_labels_in_both_ways_and_in_other_words() -> None:
    where = Path("dataset.json")
    assert meanings({"0": "background", "2": "LIVER", "7": "aorta"}, where) == (
        (0, 0), (2, 1), (7, 0)
    )  # fmt: skip
    words = ["kidneyR", "Right-Kidney", "r_kidney", "right_kidney", "Kidney Right", "rkidney"]
    for word in words:
        assert meanings({word: 5}, where) == ((5, 4),), word
    assert meanings({"jejunum": 1, "ileum": 2}, where) == ((1, 8), (2, 8))
    assert meanings({"liver": 1, "kidneys": 2, "bowel": 3}, where)[1:] == ((2, 0), (3, 0))


def test_what_is_done_with_names_that_are_almost_ours_is_said(tmp_path: Path) -> None:
    where = Path("dataset.json")
    assert remarks({**NAMES, "vertebral_bodies": 9, "bowel": 10, "L": 11}, where) == ()
    (said,) = remarks({"background": 0, "1": "Kidneys", "liver": 2}, where)
    assert "dataset.json: 'Kidneys' does not say which side, and is not learned as kidneys" in said
    (said,) = remarks({"liver": 1, "vertebrae": 2}, where)
    assert "'vertebrae' is learned as it is outlined" in said and "arches" in said
    levels = {f"vertebrae_{level}": n for n, level in enumerate(("L1", "T12", "C7", "S1", "L2"), 1)}
    (said,) = remarks(levels, where)
    assert (
        "'vertebrae_L1', 'vertebrae_T12', 'vertebrae_C7', ... is not learned as vertebrae" in said
    )
    names = {("kidneys" if name == "Kidney_R" else name): n for name, n in NAMES.items()}
    heard = Heard()
    recipe = load_recipe("denseunet_small")
    found = load_organ_cases(recipe, nnunet(tmp_path, names, {"0": "MRI"}), heard)
    assert all(4 not in case.organs for case in (*found.train, *found.validation))
    assert sum("'kidneys' does not say which side" in line for line in heard.lines) == 1, "once"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (None, ("no table of labels",)),
        ({"heart": 1}, ("names none of the organs", "Pancreas")),
        ({"liver": 1, "kidneys": [2, 3]}, ("'kidneys' is not one label",)),
        ({"liver": 1, "ignore": 2}, ("are to be ignored",)),
    ],
)
def test_names_that_are_refused(names: dict | None, words: tuple[str, ...]) -> None:
    with refusal(*words):
        meanings(names, Path("dataset.json"))


class Heard(Events):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def _log(self, text: str) -> None:
        self.lines.append(text)


def amos(folder: Path, numbers: dict[str, list[int]]) -> Path:
    for part, members in numbers.items():
        for kind in ("images", "labels"):
            (folder / f"{kind}{part}").mkdir(parents=True)
        for number in members:
            labels = outlines(numbers={1: 6, 4: 2, 5: 3})
            write(labels, folder / f"labels{part}" / f"amos_{number:04d}.nii.gz")
            write(picture(labels), folder / f"images{part}" / f"amos_{number:04d}.nii.gz")
    about = {"name": "AMOS", "licence": "CC BY 4.0", "labels": {"0": "background"}}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def test_amos_gives_its_mr_scans(tmp_path: Path) -> None:
    cases = read_cases(amos(tmp_path / "a", {"Tr": [4, 500, 507, 508], "Va": [12, 600]}))
    assert [(case.subject, case.split) for case in cases] == [
        ("amos_0507", "train"),
        ("amos_0508", "train"),
        ("amos_0600", "validation"),
    ]
    assert cases[0].organs == (1, 2, 3, 4, 5, 6, 7)
    assert_in_place(cases[0])
    cases = read_cases(amos(tmp_path / "b", {"Tr": [507, 508], "Va": [12]}))
    assert [case.split for case in cases] == ["train", "validation"], "one of them is held out"
    with refusal("no MR scans of AMOS"):
        read_cases(amos(tmp_path / "c", {"Tr": [4]}))


GREYS = {1: 63, 4: 126, 5: 189}
"""Grey values of CHAOS by our labels."""


def chaos(folder: Path, patient: int, series: dict[str, str], ground: str) -> None:
    """One sequence of a patient: ``series`` maps folders of images to the names of their files.

    Files are numbered from the head down, as a scanner may, against the order of the stack.
    """
    labels = outlines(numbers=GREYS)
    for place, name in series.items():
        target = folder / str(patient) / place
        write(picture(labels), target)
        slices = {}
        for path in target.iterdir():
            header = sitk.ImageFileReader()
            header.SetFileName(str(path))
            header.ReadImageInformation()
            slices[float(header.GetMetaData("0020|0032").split("\\")[2])] = path
        for number, z in enumerate(sorted(slices, reverse=True)):
            slices[z].rename(target / name.format(2 * number + 1))
    target = folder / str(patient) / ground
    target.mkdir(parents=True)
    for number in range(len(labels.array)):
        plane = sitk.GetImageFromArray(labels.array[::-1][number])
        sitk.WriteImage(plane, str(target / f"IMG-0004-{2 * number + 1:05d}.png"))


def test_chaos(tmp_path: Path) -> None:
    start = tmp_path / "Train_Sets" / "MR"
    dual = {
        "T1DUAL/DICOM_anon/InPhase": "IMG-0004-{:05d}.dcm",
        "T1DUAL/DICOM_anon/OutPhase": "IMG-0005-{:05d}.dcm",
    }
    for patient in (2, 10):
        chaos(start, patient, dual, "T1DUAL/Ground")
    chaos(start, 10, {"T2SPIR/DICOM_anon": "IMG-0001-{:05d}.dcm"}, "T2SPIR/Ground")
    cases = read_cases(tmp_path)
    assert [(case.subject, case.contrast, case.split) for case in cases] == [
        ("CHAOS 2", "T1DUAL InPhase", "validation"),
        ("CHAOS 2", "T1DUAL OutPhase", "validation"),
        ("CHAOS 10", "T1DUAL InPhase", "train"),
        ("CHAOS 10", "T1DUAL OutPhase", "train"),
        ("CHAOS 10", "T2SPIR", "train"),
    ]
    assert read_cases(start) == cases
    assert cases[0].organs == (1, 2, 4, 5) and "NC" in cases[0].licence
    for case in cases[2:]:
        assert_in_place(case)
    next((start / "10" / "T2SPIR" / "Ground").glob("*.png")).unlink()
    with refusal("5 pictures", "6 slices"):
        load_pair(cases[-1], 3.0)
    ground = start / "2" / "T1DUAL" / "Ground"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4), np.uint8)), str(min(ground.iterdir())))
    with refusal("4, 4", "pixels, its image .10, 8"):
        load_pair(cases[0], 3.0)
