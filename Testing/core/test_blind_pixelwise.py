"""The comparator that is trained by pixels: it works on pairs, and blurs where they are shifted."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.blind.pixelwise import learn_pixelwise, save_pixelwise
from mriforge.errors import BadInput
from mriforge.networks.registry import build
from mriforge.physics.downsampling import KernelDownsampling, gaussian_kernel
from mriforge.recipes import load_recipe
from mriforge.training.enlarge import Halving
from mriforge.volume import Grid

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import phantom


def pairs(shift: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    sharp = torch.from_numpy(phantom((3, 72, 80)))
    op = KernelDownsampling(Grid(tuple(sharp.shape)), gaussian_kernel(1.0))
    low = op.A(sharp).numpy()
    return list(sharp.numpy()), [np.roll(one, shift * (-1) ** n, 1) for n, one in enumerate(low)]


def test_network_halves() -> None:
    net = build("dsn", width=4)
    assert net(torch.rand(2, 1, 12, 14)).shape == (2, 1, 6, 7)
    assert net(torch.rand(2, 1, 3, 12, 14)).shape == (2, 1, 3, 6, 7)


def test_it_learns_pairs_and_blurs_what_is_shifted() -> None:
    high, low = pairs()
    options = {"steps": 150, "width": 8, "lr": 5e-3}
    stack = torch.from_numpy(np.stack(high))[None, None]
    truth = torch.from_numpy(np.stack(low))

    def error(model: torch.nn.Module) -> float:
        with torch.no_grad():
            return float((model(stack)[0, 0] - truth).abs().mean())

    matched = learn_pixelwise(high, low, **options)
    shifted = learn_pixelwise(high, pairs(3)[1], **options)
    assert error(matched) < 0.8 * error(shifted)


def test_a_saved_network_makes_pairs_for_a_recipe(tmp_path) -> None:
    model = build("dsn", width=4)
    folder = save_pixelwise(tmp_path / "dsn", model, "somewhere").path
    spec = dataclasses.replace(load_recipe("edsr:dsn").degradation, network=str(folder))
    sharp = torch.rand(2, 16, 20)
    with torch.no_grad():
        wanted = model(sharp[None, None])[0, 0]
    assert torch.allclose(Halving(spec)(sharp), wanted, atol=1e-6)


def test_what_is_no_pair_is_refused() -> None:
    high, low = pairs()
    with pytest.raises(BadInput, match="are no pair"):
        learn_pixelwise(high, [one[:-1] for one in low])
    with pytest.raises(BadInput, match="at least 64"):
        learn_pixelwise([np.ones((40, 40))], [np.ones((20, 20))])
