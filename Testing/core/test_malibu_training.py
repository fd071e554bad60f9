"""MALIBU: simulated pairs, training on them, and the trained network at work."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.jobs import Request, run_request
from mriforge.networks.feature_maps import to_maps
from mriforge.recipes import load_recipe
from mriforge.recipes.schema import FactorSpec, NetworkSpec, Recipe, TrainingSpec, ValidationSpec
from mriforge.recon.malibu import apply_malibu, load_malibu
from mriforge.recon.pairs import Acquisition, PairOptions, make_pairs, moved, random_unitary
from mriforge.training.factor_pairs import load_pairs, read_pair, write_pair
from mriforge.training.factors import FactorSampler, denormalised, normalised, varied
from mriforge.training.job import train

TINY = PairOptions(matrix=32, rank=4, coils=3, inversions=3, variants=3, held_out=0.5)


def run_job(command: str, options: dict) -> dict:
    return run_request(Request(command, options))


def relative(found, wanted) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("pairs")
    made = make_pairs(place, 6, options=TINY)
    assert made == {"subjects": 2, "held_out": 1, "pairs": 7}
    return place


@pytest.fixture(scope="module")
def acquisition() -> Acquisition:
    options = dataclasses.replace(TINY, matrix=48, inversions=4)
    return Acquisition.simulated(100_003, options, np.random.default_rng(0), Events())


def tiny(**factors) -> Recipe:
    recipe = load_recipe("mdcn_small")
    options = {"rank": 4, "growth": 8, "blocks": 2, "residual": True}
    return dataclasses.replace(
        recipe,
        network=NetworkSpec("mdcn_small", options),
        factors=dataclasses.replace(recipe.factors, **factors),
        optimiser=dataclasses.replace(recipe.optimiser, lr=3e-3),
        training=TrainingSpec(steps=120, validate_every=40, mixed_precision=False),
        validation=ValidationSpec(patches=2),
    )


def test_the_kernel_measures_what_the_scan_measured(acquisition) -> None:
    """Without data: the same object, coils and noise level give the same gridded factors."""
    maps = acquisition.encoding.maps
    one = torch.eye(len(maps), dtype=torch.complex64)
    measured = acquisition.encoding.gridded
    again = acquisition._adjoint(acquisition.truth, maps, one, weighted=True)
    truth = acquisition.truth
    errors = [relative(part, truth) for part in (measured, again)]
    assert errors[0] == pytest.approx(errors[1], rel=0.35)
    assert relative(again, measured) < 0.6 * relative(truth, measured)


def test_noise_without_data_is_as_strong_as_that_of_data(acquisition) -> None:
    encoding, rng = acquisition.encoding, np.random.default_rng(3)
    shape = encoding.data.shape
    parts = rng.standard_normal((*shape, 2), np.float32)
    noise = acquisition.deviation / 2**0.5 * torch.view_as_complex(torch.from_numpy(parts))
    direct = encoding.operator.A_adjoint(noise, encoding.density())
    zero, maps = torch.zeros_like(acquisition.truth), encoding.maps
    made = acquisition._adjoint(zero, maps, random_unitary(len(maps), rng), weighted=True)
    for one, other in zip(direct, made, strict=True):
        assert float(one.norm()) == pytest.approx(float(other.norm()), rel=0.15)


def test_random_unitary_matrices() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_unitary(4, rng) for _ in range(2)]
    for matrix in drawn:
        assert torch.allclose(matrix @ matrix.mH, torch.eye(4, dtype=matrix.dtype), atol=1e-5)
    assert not torch.allclose(*drawn)


def test_moving_is_the_same_for_all_components_and_keeps_their_relations() -> None:
    y, x = np.mgrid[-24:24, -24:24]
    blob = torch.from_numpy(np.exp(-(x**2 + y**2) / 80.0).astype(np.complex64))
    factors = torch.stack([blob, 3j * blob])
    found = moved(factors, np.random.default_rng(5))
    assert torch.allclose(found[1], 3j * found[0], atol=1e-4)
    assert relative(found[0].abs(), blob.abs()) > 0.02
    assert float(found[0].abs().max()) == pytest.approx(1, abs=0.05)
    assert float(found[0].angle()[14:34, 14:34].std()) > 0.02


def test_iterative_labels_are_nearer_to_the_truth_than_gridding(acquisition) -> None:
    for pair in (acquisition.measured(True), acquisition.variant(np.random.default_rng(1), True)):
        assert relative(pair["label"], pair["truth"]) < 0.6 * relative(pair["input"], pair["truth"])


def test_pairs_on_disk(folder: Path) -> None:
    pairs = load_pairs(folder, "truth", 4)
    assert (len(pairs.train), len(pairs.validation)) == (6, 1)
    assert not {p.subject for p in pairs.train} & {p.subject for p in pairs.validation}
    assert {about["pairs"] for about in pairs.provenance()} == {3}
    assert all(about["licence"] and about["matrix"] == [32, 32] for about in pairs.provenance())
    given, truth = pairs.train[1].arrays("input", "truth")
    assert given.shape == truth.shape == (4, 32, 32) and given.dtype == torch.complex64
    assert 0.1 < relative(given, truth) < 1.0


def test_making_pairs_goes_on_where_it_was_stopped(folder: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    listed = (folder / "pairs.json").read_text(encoding="utf-8")
    make_pairs(folder, 6, options=TINY)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")} == files
    assert (folder / "pairs.json").read_text(encoding="utf-8") == listed
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        make_pairs(folder / "new", 6, options=TINY, events=Events(control))


@pytest.mark.parametrize("exact", [False, True])
def test_what_is_written_is_read(tmp_path: Path, exact: bool) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(3, 5, 4, 2)) * [[[[1e6]]], [[[1.0]]], [[[0.0]]]]).astype(np.float32)
    values = values.view(np.complex64)[..., 0]
    write_pair(tmp_path / "a.npz", {"input": values, "truth": 2 * values}, exact)
    found = read_pair(tmp_path / "a.npz", ("input", "truth"))
    for one, other in zip(found["input"], values, strict=True):
        assert np.abs(one - other).max() <= (0 if exact else 1e-3 * np.abs(other).max())


def test_bad_pairs_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no pairs\.json"):
        load_pairs(tmp_path, "truth", 4)
    with pytest.raises(BadInput, match="4 components"):
        load_pairs(folder, "truth", 8)
    with pytest.raises(BadInput, match="no 'label'"):
        load_pairs(folder, "iterative", 4)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(BadInput, match="damaged"):
        read_pair(tmp_path / "broken.npz", ("input",))
    write_pair(tmp_path / "nan.npz", {"input": np.full((1, 2, 2), np.nan + 0j)}, exact=True)
    with pytest.raises(BadInput, match="not finite"):
        read_pair(tmp_path / "nan.npz", ("input",))


@pytest.mark.parametrize("normalise", ["instance", "component"])
@pytest.mark.parametrize("label_scale", ["own", "input"])
def test_what_is_normalised_for_training_comes_back_at_inference(normalise, label_scale) -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randn(1, 3, 64, 64, dtype=torch.complex64, generator=generator)
    label = label * torch.tensor([50.0, 2.0, 0.1])[:, None, None]
    noise = torch.randn(1, 3, 64, 64, dtype=torch.complex64, generator=generator)
    given = label + 0.3 * label.abs().mean((2, 3), keepdim=True) * noise
    spec = FactorSpec(normalise=normalise, label_scale=label_scale)
    one = normalised(given, label, spec)
    back = denormalised(one.label, to_maps(given), spec)
    assert relative(back, to_maps(label)) < (1e-5 if label_scale == "input" else 0.03)
    assert float(one.weight.square().mean()) == pytest.approx(1, rel=1e-4)


def test_augmentation_treats_input_and_label_alike() -> None:
    factors = torch.randn(1, 3, 8, 8, dtype=torch.complex64).expand(2, -1, -1, -1)
    spec = FactorSpec(flip=True, phase=True, signs=True)
    seen = [varied(factors, spec, np.random.default_rng(n)) for n in range(6)]
    for both in seen:
        assert torch.equal(both[0], both[1])
        assert torch.allclose(both.abs().sum(), factors.abs().sum(), rtol=1e-4)
    assert not torch.allclose(seen[0], seen[1])
    assert torch.equal(varied(factors, FactorSpec(), np.random.default_rng(0)), factors)


def test_batches_are_a_function_of_their_number_and_epochs_see_every_pair(folder: Path) -> None:
    pairs = load_pairs(folder, "truth", 4).train
    sampler = FactorSampler(pairs, tiny(batch=2, crop=16))
    assert sampler.epoch_steps == 3
    one, again = sampler.batch(4), FactorSampler(pairs, tiny(batch=2, crop=16)).batch(4)
    assert torch.equal(one.input, again.input) and torch.equal(one.target.maps, again.target.maps)
    assert one.input.shape == (2, 8, 16, 16)
    plain = tiny(batch=1, flip=False, phase=False, signs=False)
    sums = [float(FactorSampler(pairs, plain).batch(n).target.maps.sum()) for n in range(6)]
    assert len({round(value, 3) for value in sums}) == 6


@pytest.mark.parametrize("settings", [{}, {"normalise": "instance", "label_scale": "own"}])
def test_a_short_training_improves_and_works_on_new_scans(folder, tmp_path, settings):
    outcome = train(tiny(**settings), folder, tmp_path / "out", device="cpu")
    first, *history = outcome.result.history
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    best = outcome.result.best
    assert best["nrmse"] < 0.9 * first["nrmse"]
    assert best["agreement_db"] > first["agreement_db"] + 2
    if not settings:
        # The input's best complex factor is not known to the network.
        assert best["nrmse"] < 0.9 * best["nrmse_input"]
    card = outcome.model.card
    assert card.task == "factors" and card.input["label_scale"] == settings.get(
        "label_scale", "input"
    )
    pair = load_pairs(folder, "truth", 4).validation[0]
    given, truth = pair.arrays("input", "truth")
    model = load_malibu(outcome.model.path, 4, half=False)
    # Two slices, the second in other units: scale and phase have to follow.
    both = torch.stack([given, 7 * given], 1)
    found = apply_malibu(model, both)
    assert found.shape == both.shape and found.dtype == torch.complex64
    assert relative(found[:, 0], truth) == pytest.approx(outcome.result.best["nrmse"], rel=1e-3)
    assert relative(found[:, 1], 7 * found[:, 0]) < 1e-3
    assert json.dumps(model.card_summary())
    halved = apply_malibu(load_malibu(outcome.model.path, 4, half=True), both)
    assert relative(halved, found) < 0.03


def test_models_for_something_else_are_refused(folder, tmp_path) -> None:
    recipe = dataclasses.replace(tiny(), training=TrainingSpec(steps=1, mixed_precision=False))
    outcome = train(recipe, folder, tmp_path / "out", device="cpu")
    with pytest.raises(BadInput, match="trained for 4 components") as caught:
        load_malibu(outcome.model.path, 32)
    assert "--rank 4" in caught.value.hint
    with pytest.raises(BadInput, match="takes 4 components"):
        apply_malibu(load_malibu(outcome.model.path), torch.zeros(3, 1, 8, 8) * 1j)
    with pytest.raises(BadInput, match="for superresolution"):
        load_malibu("unet3d_small")
    wrong = dataclasses.replace(tiny(), loss=dataclasses.replace(tiny().loss, dice=1.0))
    with pytest.raises(BadInput, match="'dice'"):
        train(wrong, folder, tmp_path / "wrong", device="cpu")


def test_the_command_line_makes_pairs_and_trains_on_them(tmp_path: Path) -> None:
    place = tmp_path / "pairs"
    size = {"matrix": 32, "rank": 4, "coils": 2, "inversions": 3, "variants": 2}
    made = run_job("simulate", {"what": "factors", "output": str(place), "count": 2, **size})
    assert made["pairs"] == 3
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'name = "mine"\nsource = "test"\ntask = "factors"\n[network]\nname = "mdcn_small"\n'
        '[network.options]\nrank = 4\ngrowth = 4\nblocks = 1\n[factors]\nlabels = "truth"\n'
        "[training]\nsteps = 2\n[variants.deep.network.options]\nblocks = 2\n",
        encoding="utf-8",
    )
    options = {"recipe": f"{recipe}:deep", "data": str(place), "out": str(tmp_path / "out")}
    done = run_job("train", options)
    assert done["steps"] == 2
    assert load_malibu(done["output"]).card.network_options["blocks"] == 2


def test_an_output_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(BadInput, match="is a file"):
        run_job("simulate", {"what": "factors", "output": str(tmp_path / "file")})
    with pytest.raises(BadInput, match=r"must end with \.h5"):
        run_job("simulate", {"what": "multitasking", "output": str(tmp_path / "raw.nii")})
