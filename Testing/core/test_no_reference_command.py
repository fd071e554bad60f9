"""`mriforge evaluate --no-reference`: beside a reference, alone, its report, what it refuses."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from scipy import ndimage

from mriforge.cli import main
from mriforge.errors import BadInput
from mriforge.evaluate import evaluate_alone, evaluate_files
from mriforge.evaluate.quality import make_judge
from mriforge.io import write
from mriforge.metrics.no_reference.niqe import fit_niqe
from mriforge.metrics.no_reference.pristine import SHIPPED, load_niqe, save_niqe
from mriforge.metrics.no_reference.quality import judge
from mriforge.volume import Grid, Series, Volume

GRID = Grid((5, 80, 96), (1.0, 1.0, 4.0), (3, 4, 5))


def sharp_array(seed=0):
    """Tissue with edges of many sizes, a little noise."""
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(rng.standard_normal(GRID.shape), (0, 3, 3))
    fine = ndimage.gaussian_filter(rng.standard_normal(GRID.shape), (0, 1, 1))
    image = 300 + 150 * np.sign(coarse) + 90 * np.sign(fine) + 8 * rng.standard_normal(GRID.shape)
    image[:, :12], image[:, -12:] = 0, 0
    return np.abs(image).astype(np.float32)


def blurred(array, sigma):
    return ndimage.gaussian_filter(array, (*[0] * (array.ndim - 2), sigma, sigma))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """File of a model of such images: the shipped one knows brains."""
    slices = [s for seed in range(3, 9) for s in sharp_array(seed) / 2]
    path = tmp_path_factory.mktemp("model") / "own.json"
    save_niqe(fit_niqe(slices, provenance={"trained_on": [{"subject": "blobs"}]}), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    truth = sharp_array()
    found = {}
    for name, array in {
        "reference": truth,
        "image": blurred(truth, 0.7),
        "soft": blurred(truth, 1.5),
        "empty": np.where(np.arange(96) < 10, truth, 0),
    }.items():
        found[name] = folder / f"{name}.nii.gz"
        write(Volume(array, GRID), found[name])
    return found


def test_beside_a_reference(files, own, tmp_path):
    outputs = {"json_path": tmp_path / "f.json", "csv_path": tmp_path / "f.csv"}
    result = evaluate_files(
        files["image"],
        files["reference"],
        compare_with={"soft": files["soft"]},
        no_reference=make_judge(own),
        **outputs,
    )
    found = json.loads(outputs["json_path"].read_text())["no_reference"]
    assert found == json.loads(json.dumps(result["no_reference"])) and found["plane"] == "axial"
    methods = found["methods"]
    assert list(methods) == ["soft", "image", "reference"]
    for figure in ("niqe", "piqe", "mscn_distance"):
        assert methods["reference"][figure] < methods["image"][figure] < methods["soft"][figure]
    assert methods["reference"]["mscn_distance"] < 1e-7
    assert all(method["slices"] == 5 for method in methods.values())
    assert found["pristine"]["trained_on"] == ["blobs"]
    assert result["psnr"] > 0 and "niqe" not in result
    rows = list(csv.DictReader(outputs["csv_path"].open()))
    assert [row["method"] for row in rows] == ["soft", "image", "reference"]
    assert float(rows[1]["niqe"]) == pytest.approx(methods["image"]["niqe"], rel=1e-6)
    assert rows[2]["psnr"] == "" and float(rows[2]["piqe"]) > 0 and "brisque" not in rows[0]


def test_alone_and_on_the_command_line(files, tmp_path, capsys):
    target = tmp_path / "f.json"
    arguments = ["evaluate", str(files["image"]), "--no-reference", "--json", str(target)]
    assert main([*arguments, "--csv", str(tmp_path / "f.csv")]) == 0
    found = json.loads(target.read_text())["no_reference"]
    assert list(found["methods"]) == ["image"] and "mscn_distance" not in found["methods"]["image"]
    printed = capsys.readouterr().out
    assert "axial slices" in printed and f"{found['methods']['image']['niqe']:.4f}" in printed
    assert (tmp_path / "f.csv").read_text().startswith("method,frame,time,niqe,piqe\nimage,0,0,")
    assert found["pristine"]["patches"] == load_niqe().patches and found["pristine"]["trained_on"]


def test_images_of_other_sizes_are_judged_alone(files, tmp_path):
    small = tmp_path / "small.npy"
    write(Volume(sharp_array()[:, ::2, ::2], Grid((5, 40, 48), (2, 2, 4))), small)
    found = evaluate_alone(files["image"], make_judge(), compare_with={"small": small})
    assert list(found["no_reference"]["methods"]) == ["image", "small"]


def test_every_frame_of_a_series_is_judged(own):
    frames = np.stack([sharp_array(), blurred(sharp_array(), 1.0)])
    series = Series(frames, GRID, np.array([0.0, 2.5]))
    found = judge(series, make_judge(own))
    assert [frame.time for frame in found.frames] == [0.0, 2.5] and found.slices == 10
    assert found.frames[0].niqe < found.frames[1].niqe
    assert found.mean("niqe") == pytest.approx(np.mean([f.niqe for f in found.frames]))
    single = judge(Volume(frames[1], GRID), make_judge(own))
    assert single.mean("piqe") == found.frames[1].piqe and math.isnan(single.mean("brisque"))


def test_the_mask_is_the_foreground(files):
    array = np.zeros(GRID.shape, np.uint8)
    array[1:3, 10:70, 10:90] = 1
    image = Volume(sharp_array(), GRID)
    found = judge(image, make_judge(), mask=Volume(array, GRID))
    assert found.slices == 2
    with pytest.raises(BadInput, match="mask is empty"):
        judge(image, make_judge(), mask=Volume(0 * array, GRID))


def test_nothing_to_judge_is_said_and_is_no_failure(files, capsys):
    result = evaluate_alone(files["empty"], make_judge())["no_reference"]
    assert result["methods"]["image"]["niqe"] is None
    assert "no axial slice has more than 25 % foreground" in result["note"]
    assert main(["evaluate", str(files["empty"]), "--no-reference"]) == 0
    assert "25 % foreground" in capsys.readouterr().out


def test_reports_have_the_table(files, tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "alone.html"
    evaluate_alone(files["image"], make_judge(), report=page)
    text = page.read_text(encoding="utf-8")
    assert "Quality without a reference" in text and "NIQE" in text and "BRISQUE" not in text
    page = tmp_path / "beside.html"
    evaluate_files(files["image"], files["reference"], no_reference=make_judge(), report=page)
    text = page.read_text(encoding="utf-8")
    assert "MSCN distance" in text and "<td>reference</td>" in text and "PSNR" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--reference {reference} --plane axial", "--plane needs --no-reference"),
        ("--reference {reference} --pristine {model}", "--pristine needs --no-reference"),
        ("--no-reference --ssim-map {out}", "--ssim-map needs --reference"),
        ("--no-reference --resample", "--resample needs --reference"),
        ("--no-reference --organs", "--reference is missing"),
        ("--no-reference --organs --reference {reference}", "does not go with --organs"),
        ("--no-reference --plane oblique", "--plane is axial, coronal or sagittal"),
        ("--no-reference --plane coronal", "coronal slices have 5 x 96 pixels"),
        ("--no-reference --pristine {reference}", "is no NIQE model"),
        ("--no-reference --brisque {folder}", "needs its published weights"),
        ("--no-reference --compare image={reference}", "name of the image itself"),
        ("--no-reference --compare reference={reference}", "name of the reference itself"),
    ],
)
def test_what_is_refused_with_one_line(files, tmp_path, capsys, options, message):
    places = {"out": tmp_path / "o.nii.gz", "folder": tmp_path, "model": SHIPPED, **files}
    given = options.format(**places).split()
    assert main(["evaluate", str(files["image"]), *given]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "o.nii.gz").exists()
