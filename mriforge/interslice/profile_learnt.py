"""A slice profile learned from one scan, adversarially, after ESPRESO.

A generator turns a learned embedding into the weights of a slice over the fine samples, positive,
symmetric and adding up to one. Patches of the scan's own slices, blurred by them along one in-plane
axis and sampled as far apart as the slices are, shall look like patches across the real slices: a
discriminator learns to tell them apart, and the generator to deceive it.

From the publications (Han et al., ESPRESO, 2023; used by ECLARE, Remedios et al., arXiv
2503.11787): learned embedding, softmax, 21 symmetric weights, adversarial training with Adam [R].
Ours: layers and widths, learning rates, batch of 32 instead of 256, the start at a Gaussian as wide
as the slices are apart, the running mean of the weights and the early stop [D: minutes on a CPU
instead of an hour]; pairs along either in-plane axis and ratios that are not whole [D].
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.physics.interpolation import cubic_matrix
from mriforge.physics.profiles import FWHM_PER_SIGMA, Profile
from mriforge.volume import Volume

TAPS = 21
_FEWEST = 8
"""Slices: the discriminator sees seven at once."""
_AS_FINE = 1.2
"""Pixels up to this much coarser than the finer ones are as good."""
_TRIES = 4000
_TISSUE = 0.15


@dataclass(frozen=True)
class LearntSettings:
    """How the profile is learned.

    Attributes:
        minutes: time budget.
        steps: most steps.
        batch: patches of either kind in a step.
        patch: slices along a patch, and pixels along its other axis.
        generator_rate: of Adam.
        discriminator_rate: of Adam.
        channels: of the discriminator.
        stable: the early stop: relative change of the width, over ``patience`` steps.
        patience: see ``stable``; the first check comes after four times as many.
        seed: of weights and patches.
    """

    minutes: float = 2.0
    steps: int = 3000
    batch: int = 32
    patch: int = 16
    generator_rate: float = 5e-4
    discriminator_rate: float = 1e-3
    channels: int = 32
    stable: float = 0.01
    patience: int = 150
    seed: int = 0


@dataclass(frozen=True)
class LearntProfile:
    """What was learned.

    Attributes:
        profile: the weights, each over one fine sample.
        fwhm_mm: full width at half maximum of the Gaussian with their standard deviation.
        steps: taken.
        stopped: ``"stable"``, ``"time"`` or ``"steps"``.
    """

    profile: Profile
    fwhm_mm: float
    steps: int
    stopped: str


class TapGenerator(nn.Module):
    """Learned embedding to ``(taps,)`` weights that add up to one.

    They are symmetric and do not rise with the distance from the centre: the logarithms fall from
    one to the next by what the network says.

    Args:
        taps: odd.
        sd: standard deviation, in samples, of the Gaussian that it starts from.
        embedding: length of what is learned at the input.
    """

    def __init__(self, taps: int, sd: float, embedding: int = 64) -> None:
        super().__init__()
        self.half = taps // 2
        self.embedding = nn.Parameter(torch.randn(embedding))
        self.layers = nn.Sequential(
            nn.Linear(embedding, 64), nn.LeakyReLU(0.1), nn.Linear(64, self.half)
        )
        with torch.no_grad():
            last = self.layers[-1]
            last.weight.mul_(0.1)
            fall = (torch.arange(self.half) + 0.5) / sd**2
            # The inverse of softplus.
            start = fall + torch.log(-torch.expm1(-fall))
            last.bias.copy_(start - last.weight @ self.layers[:-1](self.embedding))

    def forward(self) -> Tensor:
        side = -torch.cumsum(F.softplus(self.layers(self.embedding)), 0)
        return torch.softmax(torch.cat([side.flip(0), side.new_zeros(1), side]), 0)


class PatchDiscriminator(nn.Module):
    """``(batch, 1, slices, pixels)`` to a map of how real each neighbourhood looks."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()

        def conv(inside: int, outside: int, size: tuple[int, int]) -> nn.Module:
            return spectral_norm(nn.Conv2d(inside, outside, size))

        self.layers = nn.Sequential(
            conv(1, channels, (3, 3)),
            nn.LeakyReLU(0.1),
            conv(channels, channels, (3, 1)),
            nn.LeakyReLU(0.1),
            conv(channels, channels, (3, 1)),
            nn.LeakyReLU(0.1),
            conv(channels, 1, (1, 1)),
        )

    def forward(self, patch: Tensor) -> Tensor:
        return self.layers(patch)


class _Patches:
    """Patches across the slices and, longer, along both in-plane axes, of one scan.

    Attributes:
        axes: in-plane axes (0, 1) that are used: long enough, and of the finer pixels.
    """

    def __init__(self, image: Volume, axis: int, taps: int, settings: LearntSettings) -> None:
        array = np.moveaxis(np.asarray(image.array, dtype=np.float32), 2 - axis, 0)
        array = np.nan_to_num(array, posinf=0.0, neginf=0.0)
        low, high = np.percentile(array, (1, 99))
        self.array = ((array - low) / max(high - low, 1e-12)).astype(np.float32)
        size = self.array.shape
        sides = [image.grid.spacing[a] for a in (2, 1, 0) if a != axis]
        ratios = [image.grid.spacing[axis] / side for side in sides]
        self.random = np.random.default_rng(settings.seed)
        self.batch, self.width = settings.batch, settings.patch
        self.count = min(settings.patch, size[0])
        lengths = [math.ceil((self.count - 1) * ratio) + 1 for ratio in ratios]
        self.axes = [
            a
            for a in (0, 1)
            if lengths[a] + taps - 1 <= size[1 + a]
            and self.width <= size[2 - a]
            and sides[a] < min(sides) * _AS_FINE
        ]
        if self.count < _FEWEST or not self.axes:
            raise BadInput(
                f"The scan is too small to learn a slice profile from: "
                f"{' x '.join(map(str, size))} voxels, slices first.",
                "Tell the slice thickness, or let the profile be estimated.",
            )
        self.sampling, self._sharp, self._real = {}, {}, {}
        for a in self.axes:
            positions = np.arange(self.count) * ratios[a]
            self.sampling[a] = cubic_matrix(positions, lengths[a]).float()
            shape = [1, self.width, self.width]
            shape[1 + a] = lengths[a] + taps - 1
            self._sharp[a] = self._places(tuple(shape))
            shape = [self.count, 1, 1]
            shape[2 - a] = self.width
            self._real[a] = self._places(tuple(shape))

    def _places(self, shape: tuple[int, int, int]) -> list[tuple[slice, ...]]:
        """Where patches of ``shape`` show most tissue: the best quarter of random places."""
        starts = [
            self.random.integers(0, n - m + 1, _TRIES)
            for n, m in zip(self.array.shape, shape, strict=True)
        ]
        places = [
            tuple(slice(s, s + m) for s, m in zip(start, shape, strict=True))
            for start in zip(*starts, strict=True)
        ]
        filled = [float((self.array[place] > _TISSUE).mean()) for place in places]
        return [places[i] for i in np.argsort(filled)[-_TRIES // 4 :]]

    def _patches(self, places: list[tuple[slice, ...]], along: int) -> Tensor:
        """``(n, 1, long, width)`` of random ones of ``places``; array axis ``along`` first."""
        chosen = self.random.integers(0, len(places), self.batch // len(self.axes))
        patches = [np.squeeze(self.array[places[i]], self._thin(places[i])) for i in chosen]
        stacked = torch.from_numpy(np.stack(patches))[:, None]
        return stacked if along < 2 else stacked.transpose(-1, -2)

    @staticmethod
    def _thin(place: tuple[slice, ...]) -> int:
        return next(axis for axis, part in enumerate(place) if part.stop - part.start == 1)

    def across(self) -> Tensor:
        """``(batch, 1, count, width)``: real slices, and an in-plane axis."""
        return torch.cat([self._patches(self._real[a], 0) for a in self.axes])

    def along(self) -> dict[int, Tensor]:
        """In-plane axis to ``(n, 1, long, width)``: what is to be made thick along the first."""
        return {a: self._patches(self._sharp[a], 1 + a) for a in self.axes}

    def thick(self, patches: dict[int, Tensor], weights: Tensor) -> Tensor:
        """Patches of :meth:`along` as slices of these weights would show them."""
        made = []
        for axis, patch in patches.items():
            blurred = F.conv2d(patch, weights[None, None, :, None])
            made.append(self.sampling[axis] @ blurred)
        return torch.cat(made)


def taps_for(ratio: float) -> int:
    """Number of weights: 21, or as many as reach over two slice distances; odd."""
    return max(TAPS, 2 * math.ceil(ratio) + 1)


def learn_profile(
    image: Volume, axis: int, settings: LearntSettings | None = None, events: Events | None = None
) -> LearntProfile:
    """Learns the profile of ``image``, whose slices are stacked along the stored ``axis``.

    Ends when the weights are stable, or after the time budget.

    Raises:
        BadInput: the scan is too small.
        Cancelled: the job was.
    """
    settings, events = settings or LearntSettings(), events or Events()
    spacing = image.grid.spacing
    fine = min(spacing[a] for a in range(3) if a != axis)
    ratio = spacing[axis] / fine
    taps = taps_for(ratio)
    patches = _Patches(image, axis, taps, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = TapGenerator(taps, ratio / FWHM_PER_SIGMA)
        discriminator = PatchDiscriminator(settings.channels)
    weights, steps, stopped = _play(generator, discriminator, patches, settings, events)
    edges = (np.arange(taps + 1) - taps / 2) * fine
    profile = Profile("learnt", edges, np.concatenate([[0.0], np.cumsum(weights) / weights.sum()]))
    return LearntProfile(profile, width_of(weights) * fine, steps, stopped)


def width_of(weights: np.ndarray) -> float:
    """FWHM, in samples, of the Gaussian with the standard deviation of symmetric ``weights``."""
    place = np.arange(len(weights)) - len(weights) // 2
    return FWHM_PER_SIGMA * float(np.sqrt((weights * place**2).sum() / weights.sum()))


def _play(
    generator: TapGenerator,
    discriminator: PatchDiscriminator,
    patches: _Patches,
    settings: LearntSettings,
    events: Events,
) -> tuple[np.ndarray, int, str]:
    """Running mean of the weights, steps taken, and why it ended."""
    make = torch.optim.Adam(generator.parameters(), settings.generator_rate, betas=(0.5, 0.999))
    judge = torch.optim.Adam(
        discriminator.parameters(), settings.discriminator_rate, betas=(0.5, 0.999)
    )
    begin, mean, widths = time.monotonic(), generator().detach().double(), []
    for step in range(1, settings.steps + 1):
        events.check_cancelled()
        real, sharp = patches.across(), patches.along()
        made = patches.thick(sharp, generator())
        loss = (
            F.softplus(-discriminator(real)).mean()
            + F.softplus(discriminator(made.detach())).mean()
        )
        judge.zero_grad()
        loss.backward()
        judge.step()
        fooled = F.softplus(-discriminator(made)).mean()
        make.zero_grad()
        fooled.backward()
        make.step()
        mean = mean.lerp(generator().detach().double(), 0.01)
        widths.append(width_of(mean.numpy()))
        spent = (time.monotonic() - begin) / (60 * settings.minutes)
        if step % 10 == 0:
            events.progress(max(spent, step / settings.steps), "learning the slice profile")
        if spent >= 1:
            return mean.numpy(), step, "time"
        if step >= 4 * settings.patience and step % settings.patience == 0:
            recent = np.array(widths[-settings.patience :])
            if np.ptp(recent) < settings.stable * recent.mean():
                return mean.numpy(), step, "stable"
    return mean.numpy(), settings.steps, "steps"
