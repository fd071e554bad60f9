"""The kinds `abdomen` and `anatomies` of `simulate`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.io import read
from mriforge.jobs import Request, run_request
from mriforge.training.cases import load_tissues, read_cases


def simulate(what: str, output: Path, **options: object) -> dict:
    return run_request(Request("simulate", {"what": what, "output": str(output), **options}))


def test_an_abdomen_with_its_truth(tmp_path: Path) -> None:
    names = {name: str(tmp_path / f"{name}.nii.gz") for name in ("labels", "tissues")}
    result = simulate("abdomen", tmp_path / "mr.nii.gz", seed=3, spacing=5.0, **names)
    image, labels = read(tmp_path / "mr.nii.gz"), read(names["labels"])
    assert image.grid.matches(labels.grid)
    assert set(np.unique(labels.array)) == set(range(11))
    for organ in ORGANS:
        counted = (labels.array == organ.label).sum() * 0.125
        assert result["volumes_ml"][organ.key] == pytest.approx(counted, abs=0.01)
    body = read(names["tissues"]).array > 0
    assert image.array[body].mean() > 3 * image.array[~body].mean()


def test_contrast_changes_the_image_alone(tmp_path: Path) -> None:
    for contrast in (1, 2):
        labels = str(tmp_path / f"labels{contrast}.nii.gz")
        simulate("abdomen", tmp_path / f"{contrast}.nii.gz", seed=3, spacing=6.0,
                 contrast=contrast, labels=labels)  # fmt: skip
    images = [read(tmp_path / f"{contrast}.nii.gz").array for contrast in (1, 2)]
    truths = [read(tmp_path / f"labels{contrast}.nii.gz").array for contrast in (1, 2)]
    assert np.array_equal(*truths)
    assert abs(np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1]) < 0.99


def test_anatomies_go_on_where_they_were_stopped_and_can_be_learned_from(tmp_path: Path) -> None:
    folder = tmp_path / "torsos"
    first = simulate("anatomies", folder, count=2, seed=8, spacing=6.0)
    assert (first["anatomies"], first["made"]) == (2, 2)
    again = simulate("anatomies", folder, count=3, seed=8, spacing=6.0)
    assert again["made"] == 1
    index = json.loads((folder / "anatomies.json").read_text())["anatomies"]
    assert [line["split"] for line in index] == ["train", "validation", "train"]
    cases = read_cases(folder)
    assert [case.split for case in cases] == ["train", "validation", "train"]
    tissues = load_tissues(cases[0], 6.0)
    assert set(np.unique(tissues.labels())) == set(range(11))
    assert len(tissues.organs) == 10


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        simulate("abdomen", tmp_path / "mr.txt", spacing=6.0)
    assert not list(tmp_path.iterdir())
