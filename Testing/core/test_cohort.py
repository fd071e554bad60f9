"""Cohorts before anything runs: rows from tables and BIDS folders, what is refused, what counts as
changed, which rows are unlike the others."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriforge.cohort.content import content_of, differs, files_of
from mriforge.cohort.manifest import read_settings, read_table, rows_of_table
from mriforge.cohort.outliers import figures_of, outliers, z_scores
from mriforge.cohort.plan import make_plan
from mriforge.cohort.rows import Common, Row, stem_of
from mriforge.cohort.state import BatchFolder, State
from mriforge.errors import BadInput, MissingModel
from mriforge.jobs import Request, check_request

sys.path.insert(0, str(Path(__file__).parent))


def image(path: Path, value: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 2), value, np.float32), np.eye(4)), path)
    return path


def table(folder: Path, text: str, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def degrade_rows(folder: Path, text: str, **texts: str) -> list[Row]:
    common = Common({"keep": "0.25", **texts}, {}, folder, folder)
    return rows_of_table(table(folder, text), "degrade", common)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        image(tmp_path / f"{name}.nii.gz")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "id,input\nA,a.nii.gz\n\nB,b.nii.gz\n"),
        ("t.csv", "\ufeffid;input\nA;a.nii.gz\nB;b.nii.gz\n"),
        ("t.tsv", "id\tinput\nA\ta.nii.gz\n\t\nB\tb.nii.gz\n"),
    ],
)
def test_separators(tmp_path: Path, name: str, text: str) -> None:
    found = read_table(table(tmp_path, text, name))
    assert [row for _, row in found] == [
        {"id": "A", "input": "a.nii.gz"},
        {"id": "B", "input": "b.nii.gz"},
    ]
    assert found[0][0] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,input\nx,y\n", "no column 'id'"),
        ("id,input,input\nx,y,z\n", "twice"),
        ("id,input\n", "no rows"),
        ("id,input\nx,y,z\n", "line 2: 3 cells for 2 columns"),
        ("id,input,sharpness\nx,y,3\n", "no use for a column. 'sharpness' is no option"),
        ("id,input,kepe\nx,y,3\n", "Did you mean 'keep'"),
        ("id,input,keep\nx,a.nii.gz,much\n", "Line 2: --keep needs a number, not 'much'"),
        ("id,command,input\nx,batch,a.nii.gz\n", "cannot run 'batch'"),
        ("id,input\nx,${NO_SUCH_PLACE}/a.nii.gz\n", "not set"),
    ],
)
def test_tables_that_are_refused(pair: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        degrade_rows(pair, text, output="{id}_low.nii.gz")
    assert message in refused.value.one_line()


def test_a_row_wins_over_set_and_set_over_the_file(pair: Path, monkeypatch) -> None:
    monkeypatch.setenv("IMAGES", str(pair))
    settings = table(pair, 'keep = 0.5\nseed = 7\noutput = "low/{id}.nii.gz"\n', "common.toml")
    values = read_settings(settings)
    common = Common({"seed": "8", "slice-gap": "0.5"}, values, Path("/elsewhere"), pair)
    text = "id,input,seed\nA,a.nii.gz,9\nB,${IMAGES}/b.nii.gz,\n"
    first, second = rows_of_table(table(pair, text), "degrade", common)
    assert first.values == {
        "input": str(pair / "a.nii.gz"),
        "output": str(pair / "low/A.nii.gz"),
        "keep": 0.5,
        "seed": 9,
        "slice_gap": 0.5,
    }
    assert second.values["seed"] == 8 and second.values["input"] == str(pair / "b.nii.gz")
    settings = table(pair, '{"keep": 0.5, "axes": [0, 2]}', "common.json")
    assert read_settings(settings)["axes"] == [0, 2]
    with pytest.raises(BadInput, match=r"Nothing is called \{subject\}"):
        degrade_rows(pair, text, output="{subject}.nii.gz")


def test_several_files_in_a_cell(pair: Path) -> None:
    text = "id,command,inputs,output\nA,fuse,a.nii.gz; b.nii.gz,{}/o.nii.gz\n"
    (row,) = rows_of_table(table(pair, text), None, Common())
    assert row.values["inputs"] == [str(pair / "a.nii.gz"), str(pair / "b.nii.gz")]
    assert row.command == "fuse"


def test_everything_is_refused_before_anything_starts(pair: Path) -> None:
    text = "id,input,output\nA,a.nii.gz,o.nii.gz\nB,gone.nii.gz,p.nii.gz\nC,b.nii.gz,q.txt\n"
    folder = BatchFolder(pair / "batch")
    with pytest.raises(BadInput) as refused:
        make_plan(degrade_rows(pair, text), folder)
    said = refused.value.one_line()
    assert "2 of 3 rows cannot run, so none was started" in said
    assert "Row 'B' (line 3): There is no file or folder" in said and "Row 'C' (line 4)" in said
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A,a.nii.gz,o.nii.gz\nB,b.nii.gz,./o.nii.gz", "would both write"),
        ("A,a.nii.gz,o.npy\nB,b.nii.gz,o.npy", "would both write"),
        ("A,a.nii.gz,b.nii.gz\nB,b.nii.gz,o.nii.gz", "which row 'A' writes"),
        ("A,a.nii.gz,there.nii.gz", "there already"),
        ("A,a.nii.gz,o.nii.gz\nA,b.nii.gz,p.nii.gz", "stands twice"),
        ("A,a.nii.gz,o.nii.gz\na,b.nii.gz,p.nii.gz", "stands twice"),
        (",a.nii.gz,o.nii.gz", "no id"),
        ("A,a.nii.gz,a.nii.gz", "also the input"),
    ],
)
def test_rows_that_do_not_go_together(pair: Path, rows: str, message: str) -> None:
    image(pair / "there.nii.gz")
    with pytest.raises(BadInput) as refused:
        make_plan(degrade_rows(pair, f"id,input,output\n{rows}\n"), BatchFolder(pair / "batch"))
    assert message in refused.value.one_line()


def test_a_missing_model_is_one_message(pair: Path) -> None:
    rows = rows_of_table(
        table(pair, "id,input\nA,a.nii.gz\nB,b.nii.gz\n"),
        "segment",
        Common({"model": "no_such_model", "output": "{id}_organs.nii.gz"}, {}, pair, pair),
    )
    with pytest.raises(MissingModel, match="no_such_model"):
        make_plan(rows, BatchFolder(pair / "batch"))


def test_what_a_result_depends_on(pair: Path) -> None:
    (pair / "a.json").write_text("{}")
    (pair / "profile.txt").write_text("0 1 0")
    values = {"input": str(pair / "a.nii.gz"), "output": str(pair / "a_low.nii.gz")}
    options = check_request(Request("degrade", {**values, "keep": 0.25, "slice_thickness": 3.0,
                                                "profile": str(pair / "profile.txt")}))  # fmt: skip
    names = {os.path.basename(path) for path in files_of("degrade", options)}
    assert names == {"a.nii.gz", "a.json", "profile.txt"}
    # A file that the job itself writes beside its input is none of its inputs.
    values = {**values, "json": str(pair / "a.json")}
    options = check_request(Request("superres", {**values, "scale": 2.0}))
    names = {os.path.basename(path) for path in files_of("superres", options)}
    assert names == {"a.nii.gz", "model.safetensors", "card.json"}


def test_content_not_time_decides(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_text("one")
    os.utime(path, ns=(10**18, 10**18))
    known = content_of(str(path))
    assert not differs(str(path), known)
    os.utime(path, ns=(2 * 10**18, 2 * 10**18))
    assert not differs(str(path), known)
    path.write_text("two")
    assert differs(str(path), known)
    # Same size and time: not read again.
    os.utime(path, ns=(10**18, 10**18))
    assert not differs(str(path), known)
    # A file that was young when it was looked at is always read again.
    young = content_of(str(path), None)
    path.write_text("six")
    fresh = content_of(str(path))
    path.write_text("ten")
    os.utime(path, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    assert fresh["mtime_ns"] == 0 and differs(str(path), fresh) and differs(str(path), young)
    path.unlink()
    assert differs(str(path), known)


def test_content_of_folders(tmp_path: Path) -> None:
    for name in ("1.dcm", "sub/2.dcm"):
        path = tmp_path / "scan" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, ns=(10**18, 10**18))
    folder = str(tmp_path / "scan")
    known = content_of(folder)
    assert not differs(folder, known)
    (tmp_path / "scan/sub/2.dcm").rename(tmp_path / "scan/sub/3.dcm")
    assert differs(folder, known)
    (tmp_path / "scan/sub/3.dcm").rename(tmp_path / "scan/sub/2.dcm")
    assert not differs(folder, known)
    (tmp_path / "scan/1.dcm").write_text("9.dcm")
    assert differs(folder, known)


def test_states_survive_a_new_field_and_a_torn_file(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path)
    state = State("A", "degrade", "done", result={"x": float("nan")})
    folder.write("A", state)
    assert folder.read("A") == State("A", "degrade", "done", result={"x": None})
    path = folder.state_path("A")
    path.write_text(path.read_text().replace("{", '{"newer": 1,', 1))
    assert folder.read("A").status == "done"
    path.write_text(path.read_text()[:40])
    assert folder.read("A") is None


def test_a_row_is_for_one_process(tmp_path: Path) -> None:
    folder, order = BatchFolder(tmp_path), []

    def second() -> None:
        with folder.row("A", lambda: False):
            order.append("second")

    with folder.row("A", lambda: False):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.5)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize("name", ["sub-01", "a/b", "ä b", "x" * 300, "..", "CON", "a:b", "_"])
def test_keys_are_file_names_and_differ(name: str) -> None:
    key = Row(name, "degrade", {}).key
    assert key and len(key) <= 80 and not set(key) & set('/\\: "*?<>|') and key[0] != "."
    assert key != Row(name + "'", "degrade", {}).key


@pytest.mark.parametrize(
    ("path", "stem"),
    [("/x/a.nii.gz", "a"), ("a.b.nii", "a.b"), ("scan/", "scan"), ("c.seq.nrrd", "c"), ("d", "d")],
)
def test_stems(path: str, stem: str) -> None:
    assert stem_of(path) == stem


def test_robust_z_scores() -> None:
    # median 3, deviations 2, 1, 0, 1, 97: MAD 1
    assert z_scores([1, 2, 3, 4, 100]) == pytest.approx([-1.349, -0.6745, 0, 0.6745, 65.4265])
    # more than half the same: mean absolute deviation 10 / 5 = 2
    assert z_scores([5, 5, 5, 5, 15]) == pytest.approx([0, 0, 0, 0, 10 / (2 * 1.253314)])
    assert z_scores([2.0] * 6) == [0.0] * 6


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(1e-3, 1e3))
def test_scores_do_not_depend_on_units(values: list[float], unit: float) -> None:
    scaled = z_scores([unit * v + 0.0 for v in values])
    for one, other in zip(z_scores(values), scaled, strict=True):
        assert one * other >= 0
        if abs(one) > 1e-3 and max(map(abs, values)) < 1e3 * (max(values) - min(values)):
            assert other == pytest.approx(one, rel=1e-6)


def test_outliers_by_their_worst_figure() -> None:
    rows = {f"s{n}": {"psnr": 30 + 0.1 * n, "seconds": 1.0} for n in range(7)}
    rows["s3"]["psnr"], rows["s6"]["seconds"] = 12.0, 900.0
    found = outliers(rows)
    assert found["s3"].figure == "psnr" and found["s3"].score < -3.5 and found["s3"].beyond
    assert not found["s6"].beyond, "a slow machine is no property of a subject"
    assert outliers({name: rows[name] for name in list(rows)[:4]}) == {}


def test_figures_of_a_result() -> None:
    result = {
        "output": "x.nii.gz",
        "gate": {"kept": True, "gain": 2},
        "voxel_mm": [1.0, 1.0, 3.0],
        "volumes": {"liver": [1.0, 2.0, 3.0, 6.0]},
        "frames": [{"psnr": 1}],
        "missing": None,
    }
    assert figures_of(result) == {
        "gate.gain": 2.0,
        "voxel_mm.0": 1.0,
        "voxel_mm.1": 1.0,
        "voxel_mm.2": 3.0,
        "volumes.liver": 3.0,
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two subjects; the second with two sessions, of which one lacks its T1w."""
    folder = tmp_path / "data"
    folder.mkdir()
    about = {"Name": "test", "BIDSVersion": "1.9.0"}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    for place, stem in (
        ("01/ses-a", "01_ses-a"),
        ("02/ses-a", "02_ses-a"),
        ("02/ses-b", "02_ses-b"),
    ):
        for kind in ("acq-ax_T2w", "acq-cor_T2w", "T1w"):
            if (stem, kind) != ("02_ses-b", "T1w"):
                image(folder / f"sub-{place}/anat/sub-{stem}_{kind}.nii.gz")
    image(folder / "derivatives/old/sub-01/anat/sub-01_desc-old_T2w.nii.gz")
    return folder


def bids(folder: Path, job: str, filters: dict[str, str], **texts: str) -> list[Row]:
    pytest.importorskip("bids")
    from mriforge.cohort.bids_rows import rows_of_dataset

    common = Common(texts, {}, folder, folder)
    return rows_of_dataset(folder, job, filters, common, folder / "derivatives/new")


def test_images_of_a_bids_folder(dataset: Path) -> None:
    rows = bids(dataset, "degrade", {"suffix": "T2w", "acquisition": "ax"}, keep="0.25")
    assert [row.id for row in rows] == [
        f"sub-{s}_acq-ax_T2w" for s in ("01_ses-a", "02_ses-a", "02_ses-b")
    ]
    output = "derivatives/new/sub-01/ses-a/anat/sub-01_ses-a_acq-ax_desc-degrade_T2w.nii.gz"
    assert rows[0].values["output"] == str(dataset / output)
    assert make_plan(rows, BatchFolder(dataset / "derivatives/new")).todo
    chosen = bids(dataset, "degrade", {"subject": "sub-01,02", "session": "b"}, keep="0.25")
    assert [row.id[:12] for row in chosen] == ["sub-02_ses-b", "sub-02_ses-b"]


def test_files_of_the_same_session(dataset: Path) -> None:
    filters = {"suffix": "T2w", "acquisition": "ax", "session": "a"}
    rows = bids(dataset, "superres", filters, prior="bids:suffix=T1w", output="{subject}/x.nii.gz")
    assert [os.path.basename(row.values["prior"]) for row in rows] == [
        "sub-01_ses-a_T1w.nii.gz",
        "sub-02_ses-a_T1w.nii.gz",
    ]
    assert rows[1].values["output"] == str(dataset / "02/x.nii.gz")
    with pytest.raises(BadInput, match="sub-02_ses-b_acq-ax_T2w: 'prior': no images fit"):
        bids(dataset, "superres", {"acquisition": "ax"}, prior="bids:suffix=T1w")
    with pytest.raises(BadInput, match="2 images fit"):
        bids(dataset, "superres", {"suffix": "T1w"}, prior="bids:suffix=T2w")


def test_stacks_of_a_session_are_one_row(dataset: Path) -> None:
    rows = bids(dataset, "fuse", {"suffix": "T2w"})
    assert [row.id for row in rows] == ["sub-01_ses-a", "sub-02_ses-a", "sub-02_ses-b"]
    assert [len(row.values["inputs"]) for row in rows] == [2, 2, 2]
    assert rows[0].values["output"].endswith("anat/sub-01_ses-a_desc-fuse_T2w.nii.gz")


def test_bids_folders_that_are_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no BIDS entity 'sufix'"):
        bids(dataset, "degrade", {"sufix": "T2w"})
    with pytest.raises(BadInput, match="No image") as refused:
        bids(dataset, "degrade", {"suffix": "bold"})
    assert "T1w, T2w" in refused.value.hint
    with pytest.raises(BadInput, match="is not a BIDS data set"):
        bids(tmp_path, "degrade", {})
    with pytest.raises(BadInput, match="takes no image"):
        bids(dataset, "simulate", {})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheduler": "tcp://x:1"}, "--scheduler is about Dask"),
        ({"filter": {"suffix": "T2w"}}, "--filter chooses images of a BIDS folder"),
        ({"engine": "dask", "scheduler": "tcp://x:1", "gpus": "0"}, "--gpus is about this machine"),
        ({"engine": "dask", "resources": {"GPU": "one"}}, "needs a number"),
    ],
)
def test_options_that_do_not_go_together(pair: Path, values: dict, message: str) -> None:
    path = table(pair, "id,input\nA,a.nii.gz\n")
    given = {"manifest": str(path), "out": str(pair / "out"), "job": "degrade", **values}
    with pytest.raises(BadInput, match=message):
        check_request(Request("batch", given))
