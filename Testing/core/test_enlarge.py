"""Training of networks that double rows and columns: pairs, turns, folds, and a whole run."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput
from mriforge.io import write
from mriforge.jobs import Request, check_request, run_request
from mriforge.models.store import load_model
from mriforge.networks.registry import build
from mriforge.physics.downsampling import gaussian_kernel
from mriforge.recipes import Recipe, load_recipe
from mriforge.recipes.schema import PatchSpec, ValidationSpec
from mriforge.superres.cost import Cost
from mriforge.training.augment import turned
from mriforge.training.data import Dataset
from mriforge.training.enlarge import Halving, HeldOutPairs, PairSampler, cubic, cut_pair
from mriforge.training.folds import groups, refolded
from mriforge.volume import Grid, Volume

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import phantom, training_volume


def recipe(operator: str = "gaussian", **patches: object) -> Recipe:
    full = load_recipe("edsr")
    changes = {"operator": operator}
    if operator == "kernel":
        changes["kernel"] = json.loads(gaussian_kernel((0.8, 1.4)).to_json())
    size = {"size": (1, 12, 14), "batch": 3, "per_slab": 2, **patches}
    return dataclasses.replace(
        full,
        degradation=dataclasses.replace(full.degradation, **changes),
        patches=dataclasses.replace(full.patches, **size),
        network=dataclasses.replace(full.network, options={"width": 4, "blocks": 1}),
    )


# --- pairs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["kernel", "gaussian", "fermi"])
def test_batches_are_pairs_of_one_place(operator: str) -> None:
    sampler = PairSampler([training_volume((4, 50, 58))], recipe(operator))
    batch = sampler.batch(3)
    assert batch.input.shape == (3, 1, 1, 12, 14) and batch.target.shape == (3, 1, 1, 24, 28)
    again = PairSampler([training_volume((4, 50, 58))], recipe(operator)).batch(3)
    assert torch.equal(batch.input, again.input) and torch.equal(batch.target, again.target)
    # Cubic interpolation of what is given is near what is wanted, and nearer than when shifted.
    near = float((cubic(batch.input) - batch.target).square().mean())
    for shift in (1, -1):
        moved = cubic(batch.input).roll(shift, -1)
        assert near < float((moved - batch.target).square().mean())


def test_low_resolution_samples_lie_on_even_pixels() -> None:
    """A smooth image: samples are its own values at even rows and columns, in every patch."""
    y, x = np.mgrid[:56, :60]
    smooth = np.exp(-((y - 25.3) ** 2 + (x - 33.7) ** 2) / (2 * 9.0**2)).astype(np.float32)
    make = Halving(dataclasses.replace(recipe().degradation, sigma=0.3))
    low = make(torch.from_numpy(smooth)[None])
    assert torch.allclose(low[0], torch.from_numpy(smooth)[::2, ::2], atol=2e-3)
    rng = np.random.default_rng(0)
    patches = PatchSpec("slab", (1, 10, 11), foreground=0.5)
    for _ in range(5):
        one, two = cut_pair(rng, low, torch.from_numpy(smooth)[None], patches)
        assert torch.allclose(one, two[:, ::2, ::2], atol=2e-3)
    assert float((cubic(low)[0] - torch.from_numpy(smooth))[4:-4, 4:-4].abs().max()) < 3e-3


def test_slices_of_odd_sizes_lose_their_last_lines() -> None:
    sampler = PairSampler([training_volume((3, 51, 63))], recipe())
    low, sharp = sampler.slab(np.random.default_rng(0))
    assert {tuple(sharp.shape[1:]), tuple(n * 2 for n in low.shape[1:])} <= {(48, 60), (60, 48)}


def test_noise_is_that_of_magnitudes() -> None:
    make = Halving(recipe().degradation)
    low = make(torch.zeros(1, 64, 64), 0.1, np.random.default_rng(0))
    assert float(low.min()) >= 0
    assert float(low.mean()) == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operator": "kernel"}, "none is given"),
        ({"operator": "network"}, "none is named"),
        ({"operator": "kspace_crop"}, "does not halve"),
        (
            {"operator": "kernel", "kernel": json.loads(gaussian_kernel(1.0, (2, 3)).to_json())},
            "doubles rows",
        ),
    ],
)
def test_what_does_not_make_pairs(changes: dict, words: str) -> None:
    spec = dataclasses.replace(load_recipe("edsr").degradation, **changes)
    with pytest.raises(BadInput, match=words):
        Halving(spec)


def test_slices_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(BadInput, match="40 x 27 pixels; the recipe needs at least 28"):
        PairSampler([training_volume((4, 27, 40))], recipe())


# --- turns -------------------------------------------------------------------------------------


def test_quarters_of_a_turn_are_exact() -> None:
    slab = torch.rand(2, 5, 7)
    for quarter in range(5):
        assert torch.equal(turned(slab, quarter / 4), torch.rot90(slab, quarter, (1, 2)))


@pytest.mark.parametrize("shape", [(64, 64), (64, 80)])
def test_eighths_of_a_turn_go_the_same_way(shape: tuple[int, int]) -> None:
    """Twice an eighth is a quarter; a blob goes where turning by 45 degrees puts it."""
    height, width = shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cy, cx = (height - 1) / 2, (width - 1) / 2
    blob = torch.exp(-((y - cy - 3) ** 2 + (x - cx - 15) ** 2) / (2 * 4.0**2))[None]

    def place(image: torch.Tensor) -> np.ndarray:
        h, w = image.shape[1:]
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        total = image.sum()
        return np.array([
            float((image[0] * rows).sum() / total) - (h - 1) / 2,
            float((image[0] * columns).sum() / total) - (w - 1) / 2,
        ])  # fmt: skip

    quarter = place(turned(blob, 0.25))
    half = place(turned(blob, 0.125))
    start = place(blob)
    # The eighth lies between the start and the quarter, as far out.
    wanted = (start + quarter) / np.sqrt(2)
    assert np.abs(half - wanted).max() < 0.05
    assert turned(blob, 0.125).shape == blob.shape


def test_turning_happens_where_the_recipe_says_so() -> None:
    sampler = PairSampler([training_volume((4, 50, 58))], recipe())
    shapes = {sampler.sharp_slab(np.random.default_rng(n)).shape[1:] for n in range(12)}
    assert shapes == {(50, 58), (58, 50)}


# --- folds -------------------------------------------------------------------------------------


def test_every_subject_is_held_out_once() -> None:
    subjects = [f"s{n}" for n in range(12)] * 2
    dealt = groups(subjects, 5, seed=1)
    assert sorted(s for group in dealt for s in group) == sorted(set(subjects))
    assert {len(group) for group in dealt} == {2, 3}
    assert dealt == groups(list(reversed(subjects)), 5, seed=1)


def test_refolding_keeps_the_volumes_of_a_subject_together() -> None:
    volumes = [
        dataclasses.replace(training_volume(seed=n), subject=f"s{n // 2}", name=f"v{n}")
        for n in range(10)
    ]
    data = Dataset(volumes[:8], volumes[8:])
    seen = []
    for fold in range(1, 6):
        found = refolded(data, ValidationSpec(fold=fold, folds=5))
        held = {volume.subject for volume in found.validation}
        assert len(held) == 1 and len(found.validation) == 2 and len(found.train) == 8
        assert held.isdisjoint(volume.subject for volume in found.train)
        seen += held
    assert sorted(seen) == [f"s{n}" for n in range(5)]
    assert refolded(data, ValidationSpec()) is data
    with pytest.raises(BadInput, match="group 6 of 5"):
        refolded(data, ValidationSpec(fold=6, folds=5))
    with pytest.raises(BadInput, match="5 subjects cannot be dealt into 6"):
        refolded(data, ValidationSpec(folds=6))


# --- networks and runs -------------------------------------------------------------------------


def test_edsr_takes_volumes_slice_by_slice() -> None:
    net = build("edsr", width=4, blocks=1)
    volume = torch.rand(2, 1, 3, 6, 7)
    found = net(volume)
    assert found.shape == (2, 1, 3, 12, 14)
    assert torch.allclose(found[1, :, 2], net(volume[1:, :, 2])[0], atol=1e-6)


def test_arithmetic_that_the_recipe_states() -> None:
    for name in ("edsr", "edsr:small", "edsr:fermi"):
        full = load_recipe(name)
        cost = Cost(build(full.network.name, **full.network.options))
        assert full.arithmetic == pytest.approx(cost.macs((1, 64, 64)) / 128**2, rel=0.01)


def test_published_values() -> None:
    full = load_recipe("edsr")
    assert full.patches.size == (1, 48, 48) and full.augmentation.rotations == 8
    assert full.network.options["blocks"] == 16 and full.loss.l1 == 1.0
    assert load_recipe("edsr:gaussian").degradation.sigma == 1.5
    names = [load_recipe(f"edsr:{v}").degradation.operator for v in ("gaussian", "fermi", "dsn")]
    assert names == ["gaussian", "fermi", "network"]


def test_held_out_figures_of_cubic_interpolation_are_zero() -> None:
    held = HeldOutPairs.of_recipe(
        dataclasses.replace(recipe(), validation=ValidationSpec(3, (1, 14, 14))),
        [training_volume((4, 50, 58))],
        "cpu",
    )

    class Cubic(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return cubic(image)

    figures = held(Cubic())
    assert figures["gain_db"] == pytest.approx(0.0, abs=1e-9) and figures["psnr"] > 10


TOML = """
name = "small"
[network]
name = "edsr"
options = {width = 4, blocks = 1}
[degradation]
operator = "OPERATOR"
[input]
upsample = "none"
[patches]
size = [1, 12, 12]
batch = 4
[augmentation]
rotations = 8
[optimiser]
lr = 1e-3
[training]
steps = 12
validate_every = 6
[validation]
patches = 2
size = [1, 14, 14]
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    rows = []
    for number in range(3):
        shape = (3, 44, 48)
        write(Volume(phantom(shape, number), Grid(shape)), str(tmp_path / f"{number}.nii.gz"))
        rows.append({"path": f"{number}.nii.gz", "subject": f"s{number}", "split": "train",
                     "licence": "CC0"})  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "k.json").write_text(gaussian_kernel((0.8, 1.4)).to_json(), encoding="utf-8")
    for operator in ("kernel", "gaussian"):
        text = TOML.replace("OPERATOR", operator)
        (tmp_path / f"{operator}.toml").write_text(text, encoding="utf-8")
    return {path.name: str(path) for path in tmp_path.iterdir()}


def training(files: dict[str, str], out: Path, **options: object) -> Request:
    given = {"recipe": files["kernel.toml"], "data": files["data.json"], "out": str(out)}
    return Request("train", given | {"device": "cpu"} | options)


def test_a_whole_training_with_a_kernel_and_a_fold(files, tmp_path) -> None:
    out = tmp_path / "run"
    result = run_request(training(files, out, kernel=files["k.json"], fold="2/3"))
    assert result["steps"] == 12
    model, card = load_model(result["output"])
    assert model(torch.rand(1, 1, 2, 8, 9)).shape == (1, 1, 2, 16, 18)
    assert card.input["upsample"] == "none"
    assert len(card.figures["held_out_subjects"]) == 1
    assert np.shape(card.settings["degradation"]["kernel"]["taps"]) == (13, 13)
    with pytest.raises(BadInput, match="another recipe"):
        run_request(training(files, out, kernel=files["k.json"], fold="1/3", resume=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--kernel FILE"),
        ({"recipe": "gaussian.toml", "kernel": "k.json"}, "does not make its images by a kernel"),
        ({"recipe": "downsampling_gan"}, "mriforge kernel"),
        ({"kernel": "k.json", "fold": "4/3"}, "--fold is K/N"),
        ({"kernel": "k.json", "fold": "x"}, "--fold is K/N"),
        ({"kernel": "k.json", "fold": "1/1"}, "--fold is K/N"),
    ],
)
def test_trainings_that_are_refused(files, tmp_path, options: dict, words: str) -> None:
    given = {name: files.get(value, value) for name, value in options.items()}
    with pytest.raises(BadInput, match=words):
        check_request(training(files, tmp_path / "run", **given))
