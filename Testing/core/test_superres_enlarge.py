"""Super-resolution by networks that double rows and columns: geometry, consistency, refusals."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, Cancelled, OutOfMemory
from mriforge.models.card import ModelCard
from mriforge.models.store import save_model
from mriforge.networks.registry import build
from mriforge.physics.downsampling import KernelDownsampling, gaussian_kernel
from mriforge.physics.fermi import FermiCrop
from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes import load_recipe
from mriforge.superres.enlarge import Enlarger, acquisition_of, check_doubling
from mriforge.superres.job import SuperresOptions, superres
from mriforge.training.enlarge import cubic
from mriforge.volume import Grid, Volume

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import phantom


class Cubic(torch.nn.Module):
    """What a perfect network does to a smooth image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return cubic(image)


def card(operator: str = "kernel", **changes: object) -> ModelCard:
    recipe = load_recipe("edsr")
    if operator == "kernel":
        changes["kernel"] = json.loads(gaussian_kernel((0.7, 1.0)).to_json())
    degradation = dataclasses.replace(recipe.degradation, operator=operator, **changes)
    options = {"width": 4, "blocks": 1}
    recipe = dataclasses.replace(
        recipe,
        degradation=degradation,
        network=dataclasses.replace(recipe.network, options=options),
    )
    return ModelCard(
        name="mine",
        network="edsr",
        recipe="edsr",
        network_options=options,
        settings=recipe.as_dict(),
        input=dataclasses.asdict(recipe.input),
        trained_on=[{"file": "x", "licence": "CC0"}],
    )


def saved(tmp_path: Path, operator: str = "kernel", **changes: object) -> Path:
    torch.manual_seed(0)
    state = build("edsr", width=4, blocks=1).state_dict()
    return save_model(tmp_path / "mine", state, card(operator, **changes)).path


@pytest.mark.parametrize("size", [(40, 44), (42, 46), (40, 46)])
def test_results_lie_where_the_target_grid_says(size: tuple[int, int]) -> None:
    """Even and odd numbers of samples: 20, 22; 21, 23; 20, 23."""
    y, x = np.mgrid[: size[0], : size[1]]
    blob = np.exp(-((y - 18.3) ** 2 + (x - 22.6) ** 2) / (2 * 6.0**2)).astype(np.float32)
    grid = Grid((2, *size), (0.8, 0.9, 3.0))
    op = KernelDownsampling(grid, gaussian_kernel(0.3))
    low = op.A(torch.from_numpy(np.stack([blob, 2 * blob])))
    target = KspaceCrop.towards(op.low, grid.stored_shape)
    assert target.high.matches(grid, 1e-9)
    enlarger = Enlarger(Cubic(), torch.device("cpu"), cancel=lambda: None, log=print, at_once=1)
    found = enlarger(low[None, None])[0, 0]
    assert found.shape == (2, *size)
    gap = (found - torch.from_numpy(np.stack([blob, 2 * blob])))[:, 3:-3, 3:-3]
    assert float(gap.abs().max()) < 0.01


def test_memory_that_runs_out_means_fewer_slices_then_an_error() -> None:
    class Hungry(Cubic):
        most = 1

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if len(image) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(image)

    low = torch.rand(1, 1, 5, 8, 8)
    enlarger = Enlarger(Hungry(), torch.device("cpu"), cancel=lambda: None, log=print)
    assert torch.allclose(enlarger(low), cubic(low), atol=1e-6)
    Hungry.most = 0
    with pytest.raises(OutOfMemory, match="single slice"):
        enlarger(low)


def test_it_can_be_stopped() -> None:
    def cancel() -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        Enlarger(Cubic(), torch.device("cpu"), cancel=cancel, log=print)(torch.rand(1, 1, 1, 8, 8))


def test_a_volume_is_sharpened_and_explains_what_was_acquired(tmp_path) -> None:
    grid = Grid((3, 40, 44), (1.0, 1.0, 4.0))
    op = KernelDownsampling(grid, gaussian_kernel((0.7, 1.0)))
    low = Volume(op.A(torch.from_numpy(phantom(grid.shape))).clamp(min=0).numpy(), op.low)
    options = SuperresOptions(model=saved(tmp_path), scale=2.0, device="cpu")
    found = superres(low, options)
    assert found.image.grid.matches(grid, 1e-6)
    figures = found.figures["consistency"]
    # An untrained network: what the kernel lets through is restored all the same.
    assert figures["restored"] and figures["residual_after"] < 0.1 < figures["residual_before"]
    rough = superres(low, dataclasses.replace(options, consistency=False))
    assert not rough.figures["consistency"]["restored"]
    json.dumps(found.figures)


@pytest.mark.parametrize("operator", ["kernel", "gaussian", "fermi"])
def test_the_acquisition_is_that_of_the_training(operator: str) -> None:
    target = KspaceCrop(Grid((2, 40, 44)), (22, 20, 2))
    found = acquisition_of(card(operator), target)
    assert isinstance(found, FermiCrop if operator == "fermi" else KernelDownsampling)
    assert found.low.matches(target.low, 1e-9)


def test_other_factors_are_refused(tmp_path) -> None:
    low = Volume(phantom((3, 20, 22)), Grid((3, 20, 22)))
    with pytest.raises(BadInput, match="doubles rows and columns"):
        superres(low, SuperresOptions(model=saved(tmp_path), scale=3.0, device="cpu"))
    check_doubling("mine", KspaceCrop(Grid((2, 40, 44)), (22, 20, 2)))
    with pytest.raises(BadInput, match="--scale 2"):
        check_doubling("mine", KspaceCrop(Grid((4, 40, 44)), (22, 20, 2)))


def test_fine_tuning_it_is_refused(tmp_path) -> None:
    low = Volume(phantom((3, 20, 22)), Grid((3, 20, 22), (2.0, 2.0, 1.0)))
    prior = Volume(phantom((3, 40, 44)), Grid((3, 40, 44)))
    options = SuperresOptions(model=saved(tmp_path), prior=prior, finetune=True, device="cpu")
    with pytest.raises(BadInput, match="nothing about fine-tuning"):
        superres(low, options)
