"""The main job on small images: geometry, consistency, gate, fine-tuning, odd inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mriforge.degrade import DegradeOptions, degrade
from mriforge.errors import BadInput, Cancelled, MissingModel
from mriforge.events import Events
from mriforge.models.card import ModelCard
from mriforge.models.store import load_model, save_model
from mriforge.networks.registry import build
from mriforge.physics.interpolation import BASELINES
from mriforge.recipes import load_recipe
from mriforge.recipes.schema import PatchSpec
from mriforge.superres.finetune import PriorSampler, degrade_prior, split_boxes
from mriforge.superres.gate import decibel_gain, decide
from mriforge.superres.job import SuperresOptions, superres
from mriforge.superres.subject import finetune_model
from mriforge.superres.target import plan_acquisition
from mriforge.training.patches import GridSampler, KnownPair
from mriforge.volume import Grid, Series, Volume

OPTIONS = {"residual": True, "width": 4}


def head(shape: tuple[int, int, int], seed: int = 0, move: float = 0.0) -> np.ndarray:
    """Smooth ellipses with fine texture, positive."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    image = 400.0 * ((x + move) ** 2 / 0.7 + y**2 / 0.6 + z**2 / 2 < 1)
    for _ in range(12):
        cx, cy, r = rng.uniform(-0.5, 0.5, 3)
        image += 120 * ((x + move - cx) ** 2 + (y - cy) ** 2 < (0.08 + 0.2 * abs(r)) ** 2)
    return (image + rng.normal(0, 2, shape)).clip(0).astype(np.float32)


def model_folder(tmp_path, name="tiny", scramble=False):
    torch.manual_seed(0)
    network = build("unet3d_small", **OPTIONS)
    if scramble:
        torch.nn.init.normal_(network.head.weight, std=0.5)
    card = ModelCard(
        name, "unet3d_small", "unet3d_small", network_options=OPTIONS,
        input={"upsample": "sinc", "scale": "percentile", "percentile": 99.5},
    )  # fmt: skip
    return save_model(tmp_path / name, network.state_dict(), card).path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def scrambled(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("models"), "scrambled", scramble=True)


def series(shape=(3, 4, 24, 28), times=None) -> Series:
    frames = np.stack([head(shape[1:], move=0.02 * t) for t in range(shape[0])])
    grid = Grid(shape[1:], (1.2, 1.1, 4.0), (5.0, -7.0, 90.0), (0, 1, 0, 1, 0, 0, 0, 0, -1))
    return Series(frames, grid, np.arange(shape[0]) * 0.4 if times is None else times)


@pytest.mark.parametrize(
    "shape", [(3, 4, 24, 28), (2, 1, 31, 26), (1, 5, 25, 23), (4, 1, 40, 40), (1, 2, 14, 13)]
)
def test_series_of_any_shape_come_back_on_the_original_grid(shape, tiny):
    truth = series(shape)
    low = degrade(truth, DegradeOptions(keep=0.25, axes=(0, 1)))
    result = superres(low, SuperresOptions(model=tiny, like=truth.grid, device="cpu"))
    assert result.image.grid.matches(truth.grid, 1e-6)
    assert np.array_equal(result.image.times, truth.times)
    assert result.image.array.dtype == np.float32
    assert np.isfinite(result.image.array).all()
    assert result.figures["consistency"]["residual_after"] < 1e-5


def test_acquired_kspace_is_in_the_result_exactly_whatever_the_network_says(scrambled):
    truth = series()
    low = degrade(truth, DegradeOptions(keep=0.1, axes=(0, 1)))
    result = superres(low, SuperresOptions(model=scrambled, like=truth.grid, device="cpu"))
    operator, _ = plan_acquisition(low.grid, like=truth.grid)
    again = operator.A(torch.from_numpy(result.image.array)).numpy()
    assert np.abs(np.abs(again) - low.array).max() < 1e-4 * low.array.max()
    figures = result.figures["consistency"]
    assert figures["residual_before"] > 100 * figures["residual_after"]


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_baselines_are_methods_too(name):
    truth = series()
    low = degrade(truth, DegradeOptions(keep=0.25, axes=(0, 1)))
    options = SuperresOptions(model=name, like=truth.grid, consistency=False)
    result = superres(low, options)
    operator, _ = plan_acquisition(low.grid, like=truth.grid)
    expected = BASELINES[name](torch.from_numpy(low.array), operator).numpy()
    assert np.allclose(result.image.array, expected, atol=1e-3)


def test_fine_tuning_learns_and_the_gate_lets_it_through(tiny):
    truth = series()
    prior = Volume(head((6, 26, 30), move=0.1), Grid((6, 26, 30), (1.2, 1.1, 4.0)))
    low = degrade(truth, DegradeOptions(keep=0.1, axes=(0, 1)))
    options = SuperresOptions(
        model=tiny, prior=prior, finetune=True, steps=40, like=truth.grid, device="cpu"
    )
    figures = superres(low, options).figures
    assert figures["finetune"]["steps"] == 40
    assert figures["finetune"]["held_out_gain_db_after"] > 0.02
    assert 0 < figures["gate"]["step"] <= 1


def test_the_gate_turns_a_harmful_network_into_zero_filling(scrambled, monkeypatch):
    truth = series()
    prior = Volume(head((6, 26, 30)), Grid((6, 26, 30), (1.2, 1.1, 4.0)))
    low = degrade(truth, DegradeOptions(keep=0.1, axes=(0, 1)))
    zero_filled = superres(low, SuperresOptions(model="sinc", like=truth.grid, consistency=False))
    options = SuperresOptions(
        model=scrambled, prior=prior, finetune=True, steps=1, like=truth.grid, device="cpu",
        consistency=False,
    )  # fmt: skip
    gated = superres(low, options)

    def error(image):
        return float(np.square(image.array - truth.array).sum())

    assert error(gated.image) <= error(zero_filled.image) * 1.05
    assert gated.figures["gate"]["step"] < 0.5


def test_gate_has_the_closed_form():
    torch.manual_seed(1)
    base, truth = torch.randn(4, 5, 6), torch.randn(4, 5, 6)
    proposal = base + 2.0 * (truth - base)
    gate = decide(base, proposal, truth)
    assert gate.step == pytest.approx(0.5)
    assert decide(base, base - (truth - base), truth).step == 0.0
    assert decide(base, base, truth).gain_db == 0.0
    assert decibel_gain(truth, truth / 10) == pytest.approx(20.0, abs=1e-4)


def test_tuning_never_sees_the_held_out_box():
    for shape in ((9, 20, 22), (1, 30, 24), (3, 12, 12), (4, 8, 8)):
        tune, held = split_boxes(shape)
        seen = np.zeros(shape, int)
        for box in tune:
            seen[box] += 1
        seen[held] += 1
        assert (seen == 1).all()
        assert seen[held].size >= 0.05 * seen.size


def test_samplers_repeat_themselves_and_cover_the_grid():
    prior = Volume(head((5, 20, 22)), Grid((5, 20, 22)))
    operator, _ = plan_acquisition(Grid((5, 10, 11), (2, 2, 1)), scale=2.0)
    pair = degrade_prior(prior, operator, "sinc", 99.5)
    tune, _ = split_boxes((5, 20, 22))
    random = PriorSampler(pair, tune, PatchSpec(size=(4, 8, 8), batch=3), seed=1, flip=True)
    assert torch.equal(random.batch(7).input, random.batch(7).input)
    assert not torch.equal(random.batch(7).input, random.batch(8).input)
    spec = PatchSpec(mode="grid", size=(2, 8, 8), stride=(1, 4, 4), batch=4)
    grid = GridSampler([KnownPair(pair.low[b], pair.sharp[b]) for b in tune], spec, seed=1)
    drawn = [grid.batch(step).target for step in range(grid.epoch_steps)]
    distinct = {patch.numpy().tobytes() for patch in torch.cat(drawn)}
    assert len(distinct) == len(grid)


def test_published_epochs_run_on_a_small_prior(tiny):
    truth = series((1, 4, 26, 26))
    prior = Volume(head((4, 26, 26)), Grid((4, 26, 26), (1.2, 1.1, 4.0)))
    low = degrade(truth, DegradeOptions(keep=0.25, axes=(0, 1)))
    options = SuperresOptions(
        model=tiny, prior=prior, finetune=True, epochs=1, like=truth.grid, device="cpu"
    )
    assert superres(low, options).figures["finetune"]["stopped"] == "steps"


def test_registration_carries_the_grid_and_finds_a_shift():
    from mriforge.superres.register import register_rigid

    array = head((12, 40, 40))
    fixed = Volume(array, Grid(array.shape, (2.0, 2.0, 3.0)))
    moving = Volume(array, Grid(array.shape, (2.0, 2.0, 3.0), (6.0, -4.0, 3.0)))
    found = register_rigid(moving, fixed)
    assert np.abs(np.array(found.grid.origin)).max() < 0.5
    with pytest.raises(BadInput, match="four slices"):
        register_rigid(fixed, Volume(array[:1], Grid((1, 40, 40))))


def test_saved_model_is_used_again_with_its_gate(tiny, tmp_path):
    prior = Volume(head((6, 26, 30)), Grid((6, 26, 30), (1.2, 1.1, 4.0)))
    out = finetune_model(prior, tmp_path / "me", model=tiny, keep=0.1, steps=30, device="cpu")
    _, card = load_model(out["model"])
    assert card.training["tuned_from"] == load_model(tiny)[1].sha256
    truth = series()
    low = degrade(truth, DegradeOptions(keep=0.1, axes=(0, 1)))
    result = superres(low, SuperresOptions(model=out["model"], like=truth.grid, device="cpu"))
    assert result.figures["gate"]["step"] == pytest.approx(card.figures["gate"]["step"])
    with pytest.raises(BadInput, match="already a fine-tuning"):
        finetune_model(prior, tmp_path / "me", model=tiny, keep=0.1, steps=30)


def test_resumed_tuning_equals_uninterrupted_tuning(tiny, tmp_path):
    prior = Volume(head((5, 24, 24)), Grid((5, 24, 24)))

    class Stop(Events):
        asked = 0

        @property
        def cancelled(self):
            self.asked += 1
            if self.asked == 12:
                self.control.cancel()
            return super().cancelled

    whole = finetune_model(prior, tmp_path / "a", model=tiny, keep=0.1, steps=25, device="cpu")
    with pytest.raises(Cancelled):
        finetune_model(
            prior, tmp_path / "b", model=tiny, keep=0.1, steps=25, device="cpu",
            events=Stop(),
        )  # fmt: skip
    assert not (tmp_path / "b" / "model").exists()
    resumed = finetune_model(
        prior, tmp_path / "b", model=tiny, keep=0.1, steps=25, device="cpu", resume=True
    )
    assert whole["sha256"] == resumed["sha256"]


def test_frames_can_be_chosen_and_volumes_stay_volumes(tiny):
    truth = series()
    low = degrade(truth, DegradeOptions(keep=0.25, axes=(0, 1)))
    one = superres(low, SuperresOptions(model=tiny, scale=2.0, frames=(2,), device="cpu"))
    assert len(one.image) == 1 and one.image.times[0] == truth.times[2]
    single = superres(low[2], SuperresOptions(model=tiny, scale=2.0, device="cpu"))
    assert isinstance(single.image, Volume)
    with pytest.raises(BadInput, match="frames"):
        superres(low, SuperresOptions(model=tiny, scale=2.0, frames=(9,)))


def test_strided_averaging_is_near_the_tiled_result(tiny):
    truth = series((1, 26, 30, 30))
    low = degrade(truth, DegradeOptions(keep=0.25, axes=(0, 1)))
    tiled = superres(low, SuperresOptions(model=tiny, like=truth.grid, device="cpu"))
    strided = superres(low, SuperresOptions(model=tiny, like=truth.grid, device="cpu", stride=6))
    assert np.allclose(tiled.image.array, strided.image.array, atol=0.02 * tiled.image.array.max())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "no-such-model", "scale": 2.0}, MissingModel),
        ({"model": "sinc", "scale": 2.0, "finetune": True}, BadInput),
        ({"scale": 1.0}, BadInput),
        ({"scale": 2.0, "device": "abacus"}, BadInput),
    ],
)
def test_what_cannot_be_is_refused(options, error, tiny):
    options = {"model": tiny, **options}
    with pytest.raises(error):
        superres(series(), SuperresOptions(**options))


def test_an_empty_image_has_no_scale(tiny):
    truth = series((1, 4, 24, 24))
    with pytest.raises(BadInput, match="no signal"):
        superres(truth.with_array(truth.array * 0), SuperresOptions(model=tiny, scale=2.0))


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("mdcsrn:small", {"growth": 2, "blocks": 2}),
        ("dragan:small", {"growth": 2, "blocks": 1}),
        ("gan_cpce:small", {"width": 4}),
        ("gan_circle", {"width": 6, "narrowest": 2, "blocks": 3}),
    ],
)
def test_dense_and_adversarial_networks_sharpen_and_adapt(tmp_path, recipe, options):
    """3-D and slice by slice, with and without a loss of their own to be fine-tuned by."""
    chosen = load_recipe(recipe)
    options = chosen.network.options | options
    network = build(chosen.network.name, **options)
    card = ModelCard(
        "net", chosen.network.name, chosen.name, network_options=options,
        input={"upsample": "sinc", "scale": "percentile", "percentile": 99.5},
        settings=chosen.as_dict(),
    )  # fmt: skip
    path = save_model(tmp_path / "net", network.state_dict(), card).path
    truth = series((2, 6, 32, 36))
    low = degrade(truth, DegradeOptions(keep=0.25, axes=(0, 1)))
    made = SuperresOptions(
        model=path, prior=truth[0], like=truth.grid, finetune=True, steps=3, device="cpu"
    )
    result = superres(low, made)
    assert result.image.grid.matches(truth.grid, 1e-6) and np.isfinite(result.image.array).all()
    assert result.figures["finetune"]["steps"] == 3
    tiles = superres(low, SuperresOptions(model=path, like=truth.grid, tile=(40,) * 3, margin=4))
    assert tiles.image.array.shape == truth.array.shape
