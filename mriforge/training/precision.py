"""Where half the digits train as well in half the time."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

_AGREES = 0.05


@cache
def bfloat16_on_cpu() -> bool:
    """Whether this processor multiplies bfloat16 itself, with the right gradients of 2-D networks.

    Only 2-D: torch 2.13 (oneDNN) reads uninitialised memory in the bfloat16 weight gradient of
    3-D convolutions whose sizes are not multiples of 16. The gradient of a small 2-D network of
    odd sizes is compared with that in single precision before the answer is yes.
    """
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    if not native():
        return False
    # Whoever asks may be predicting; the answer needs gradients all the same.
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 5, 3, padding=1)
        ).to(memory_format=torch.channels_last)
        image = torch.rand(3, 1, 13, 19)
        exact, fast = (_gradient(layers, image, cast) for cast in (False, True))
    return bool((exact - fast).norm() <= _AGREES * exact.norm())


def _gradient(layers: nn.Module, image: torch.Tensor, cast: bool) -> torch.Tensor:
    layers.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=cast):
        output = layers(image)
    output.float().square().mean().backward()
    return torch.cat([p.grad.flatten() for p in layers.parameters()])
