"""What the benchmarks of organ segmentation share: options, scores, going on from a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

from mriforge.volume import Grid, Volume

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import organ_runs
import organs_ct
import organs_synthetic

GRID = Grid((6, 8, 10), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))


def given(folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    organ_runs.add_run_options(parser)
    organ_runs.add_image_options(parser)
    return parser.parse_args([str(folder), *words])


def test_contrasts_are_those_of_the_model_unless_asked_for(tmp_path: Path) -> None:
    views, ways, scores = organ_runs.begin(given(tmp_path), "scores", spacing_mm=3.0)
    trained = views.card.settings["organs"]
    assert ways == ("axial", "coronal", "sagittal", "vote", "probability")
    assert scores.setting == {
        "model": "denseunet_small",
        "sha256": views.card.sha256,
        "spacing_mm": 3.0,
        "random_contrast": trained["random_contrast"],
        "sequence": trained["sequence"],
        "quality": trained["quality"],
    }
    asked = ("--random-contrast", "0.4", "--sequence", "any", "--quality", "any")
    asked = given(tmp_path, "--ways", "vote", *asked)
    _, ways, scores = organ_runs.begin(asked, "others")
    assert ways == ("vote",)
    assert [scores.setting[name] for name in organ_runs.CONTRAST_OPTIONS] == [0.4, "", "any"]


def test_scores_are_kept_and_not_mixed_with_those_of_another_setting(tmp_path, capsys) -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1:5, 2:6, 2:6] = 1
    half = labels.copy()
    half[1:3] = 0
    scores = organ_runs.Scores(tmp_path, "scores", {"model": "a"})
    answers = {"axial": (labels, 1.0), "vote": (half, 3.0)}
    organ_runs.score_case(scores, "3 mm", "torso 1", answers, Volume(labels, GRID), [1])
    assert "3 mm, torso 1: axial 1.000, vote 0.667" in capsys.readouterr().out
    again = organ_runs.Scores(tmp_path, "scores", {"model": "a"})
    assert again.has("3 mm", "vote", "torso 1") and not again.has("3 mm", "vote", "torso 2")
    assert again.table("3 mm", "vote").overall("dice")[0] == pytest.approx(2 / 3)
    with pytest.raises(SystemExit, match="another setting"):
        organ_runs.Scores(tmp_path, "scores", {"model": "b"})


@pytest.mark.parametrize("benchmark", [organs_ct, organs_synthetic])
def test_every_documented_option_is_one(benchmark, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "--help"])
    with pytest.raises(SystemExit):
        benchmark.main()
    options = capsys.readouterr().out
    documented = {word.strip("[]") for word in benchmark.__doc__.split() if word.startswith("[--")}
    assert len(documented) >= 5
    assert all(option in options for option in documented)
