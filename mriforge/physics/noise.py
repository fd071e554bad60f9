"""Thermal noise: complex and Gaussian in the scanner, Rician in the magnitude image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, frame: int = 0) -> np.random.Generator:
    """Random numbers of one frame: the same on every machine and in any order of frames."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, frame])))


def complex_noise(shape: tuple[int, ...], sd: float, random: np.random.Generator) -> Tensor:
    """Independent Gaussian noise of standard deviation ``sd`` in each channel, complex64."""
    parts = random.standard_normal((*shape, 2), dtype=np.float32) * np.float32(sd)
    return torch.view_as_complex(torch.from_numpy(parts))


def add_complex_noise(image: Tensor, sd: float, random: np.random.Generator) -> Tensor:
    """``image`` (real or complex) plus noise of ``sd`` in each channel, complex."""
    return image + complex_noise(tuple(image.shape), sd, random).to(image.device)


def add_rician_noise(image: Tensor, sd: float, random: np.random.Generator) -> Tensor:
    """Magnitude of a noisy complex image: Rician where there is signal, Rayleigh in air."""
    return add_complex_noise(image, sd, random).abs()
