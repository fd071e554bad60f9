"""A slice profile learned from one scan, adversarially, after ESPRESO.

A generator turns a learned embedding into the weights of a slice over the fine samples, positive,
symmetric and adding up to one. Patches of the scan's own slices, blurred by them along one in-plane
axis and sampled as far apart as the slices are, shall look like patches across the real slices: a
discriminator learns to tell them apart, and the generator to deceive it.

From the publications (Han et al., ESPRESO, 2023; used by ECLARE, Remedios et al., arXiv
2503.11787): learned embedding, softmax, 21 symmetric weights, adversarial training with Adam [R].
The layers, their widths and the learning rates are ours [?]. Deliberately different [D]:

* Batches of 32 instead of 256, a start at a Gaussian as wide as the slices are apart, a running
  mean of the weights: minutes on a CPU instead of an hour.
* In so few steps the game circles around the answer or runs past it, towards no blur at all [M]:
  the weights are kept whose patches have the spectrum of the real ones, which no player is told.
* Real patches are averaged by the weights along the axis that they do not show. Pictures are as
  thick as a slice; without it the profile comes out too narrow [M].
* The weights fall with the distance from the centre; else they split into several peaks [M].
* Pairs along either in-plane axis, and ratios that are not whole.
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
_FORGETTING = 0.02
"""Of the running mean of the weights, a step."""
_CHECK = 50
_BETTER = 0.95
"""Weights have to fit this much better to be kept: narrow ones differ by little."""
_CHECK_BATCHES = 40
_CHECK_SEED = 1


@dataclass(frozen=True)
class LearntSettings:
    """How the profile is learned.

    Attributes:
        minutes: time budget, of everything.
        steps: most steps.
        batch: patches of either kind in a step.
        patch: slices along a patch, and pixels along its other axis.
        generator_rate: of Adam.
        discriminator_rate: of Adam.
        channels: of the discriminator.
        patience: the early stop: so many steps without weights that fit better.
        seed: of weights and patches.
    """

    minutes: float = 2.0
    steps: int = 3000
    batch: int = 32
    patch: int = 16
    generator_rate: float = 5e-5
    discriminator_rate: float = 2e-3
    channels: int = 16
    patience: int = 600
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
    """Patches across the slices and along both in-plane axes, from the same tissue of one scan.

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
            and max(self.width, taps) <= min(size[1:])
            and sides[a] < min(sides) * _AS_FINE
        ]
        if self.count < _FEWEST or not self.axes:
            raise BadInput(
                f"The scan is too small to learn a slice profile from: "
                f"{' x '.join(map(str, size))} voxels, slices first.",
                "Tell the slice thickness, or let the profile be estimated.",
            )
        self.taps, self.sampling, self._cubes = taps, {}, {}
        for a in self.axes:
            positions = np.arange(self.count) * ratios[a]
            self.sampling[a] = cubic_matrix(positions, lengths[a]).float()
            shape = [self.count, self.width, self.width]
            shape[1 + a] = lengths[a] + taps - 1
            self._cubes[a] = self._places(tuple(shape))

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

    def cubes(self, random: np.random.Generator) -> dict[int, Tensor]:
        """In-plane axis to ``(n, count, long, width)``: tissue for both kinds of patches."""
        found = {}
        for a in self.axes:
            chosen = random.integers(0, len(self._cubes[a]), self.batch // len(self.axes))
            order = (0, 1 + a, 2 - a)
            cubes = [self.array[self._cubes[a][i]].transpose(order) for i in chosen]
            found[a] = torch.from_numpy(np.stack(cubes))
        return found

    @torch.no_grad()
    def mismatch(self, weights: Tensor) -> float:
        """Rms difference, log power, of the two-dimensional spectra of both kinds of patches."""
        random = np.random.default_rng(_CHECK_SEED)
        window = torch.outer(*(torch.hann_window(n + 2)[1:-1] for n in (self.count, self.width)))
        real, made = 0.0, 0.0
        for _ in range(_CHECK_BATCHES):
            cubes = self.cubes(random)
            real = real + _power(self.across(cubes, weights, random), window)
            made = made + _power(self.along(cubes, weights, random), window)
        return float((made / real).log()[2:].square().mean().sqrt())

    def across(
        self,
        cubes: dict[int, Tensor],
        weights: Tensor,
        random: np.random.Generator | None = None,
    ) -> Tensor:
        """``(batch, 1, count, width)``: real slices, and an in-plane axis.

        Averaged by the weights along the other in-plane axis: patches made of pixels are as
        thick as a slice that way, and would otherwise look blurred for the wrong reason.
        """
        random, real = random or self.random, []
        for cube in cubes.values():
            at = int(random.integers(0, cube.shape[2] - self.taps + 1))
            real.append(torch.einsum("nclw,l->ncw", cube[:, :, at : at + self.taps], weights))
        return _normalised(torch.cat(real)[:, None])

    def along(
        self,
        cubes: dict[int, Tensor],
        weights: Tensor,
        random: np.random.Generator | None = None,
    ) -> Tensor:
        """``(batch, 1, count, width)``: pixels as slices of these weights would show them."""
        random, made = random or self.random, []
        for axis, cube in cubes.items():
            at = int(random.integers(0, self.count))
            blurred = F.conv2d(cube[:, None, at], weights[None, None, :, None])
            made.append(self.sampling[axis] @ blurred)
        return _normalised(torch.cat(made))


def _normalised(patch: Tensor) -> Tensor:
    """Mean zero and variance one: how bright and rich in contrast tissue is shall not tell."""
    centred = patch - patch.mean((-1, -2), keepdim=True)
    return centred / (centred.square().mean((-1, -2), keepdim=True) + 1e-6).sqrt()


def _power(patch: Tensor, window: Tensor) -> Tensor:
    """Mean power spectrum, frequencies along the slices first; the others two by two."""
    power = torch.fft.rfft2(patch * window, dim=(-1, -2)).abs().square().mean((0, 1))
    half = power.shape[-1] // 2
    return power[:, :half].reshape(len(power), -1, 2).sum(-1)


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
    end = time.monotonic() + 60 * settings.minutes
    spacing = image.grid.spacing
    fine = min(spacing[a] for a in range(3) if a != axis)
    ratio = spacing[axis] / fine
    taps = taps_for(ratio)
    patches = _Patches(image, axis, taps, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = TapGenerator(taps, ratio / FWHM_PER_SIGMA)
        discriminator = PatchDiscriminator(settings.channels)
    weights, steps, stopped = _play((generator, discriminator), patches, settings, end, events)
    edges = (np.arange(taps + 1) - taps / 2) * fine
    profile = Profile("learnt", edges, np.concatenate([[0.0], np.cumsum(weights) / weights.sum()]))
    return LearntProfile(profile, width_of(weights) * fine, steps, stopped)


def width_of(weights: np.ndarray) -> float:
    """FWHM, in samples, of the Gaussian with the standard deviation of symmetric ``weights``."""
    place = np.arange(len(weights)) - len(weights) // 2
    return FWHM_PER_SIGMA * float(np.sqrt((weights * place**2).sum() / weights.sum()))


def _play(
    players: tuple[TapGenerator, PatchDiscriminator],
    patches: _Patches,
    settings: LearntSettings,
    end: float,
    events: Events,
) -> tuple[np.ndarray, int, str]:
    """The running mean of the weights that fits best, steps taken, and why it ended."""
    generator, discriminator = players
    betas = (0.5, 0.999)
    make = torch.optim.Adam(generator.parameters(), settings.generator_rate, betas)
    judge = torch.optim.Adam(discriminator.parameters(), settings.discriminator_rate, betas)
    mean = generator().detach()
    kept, least, since, stopped = mean, patches.mismatch(mean), 0, "steps"
    for step in range(1, settings.steps + 1):
        events.check_cancelled()
        cubes, weights = patches.cubes(patches.random), generator()
        real = patches.across(cubes, weights.detach())
        made = patches.along(cubes, weights)
        told_apart = F.softplus(-discriminator(real)) + F.softplus(discriminator(made.detach()))
        judge.zero_grad()
        told_apart.mean().backward()
        judge.step()
        make.zero_grad()
        F.softplus(-discriminator(made)).mean().backward()
        make.step()
        mean = mean.lerp(generator().detach(), _FORGETTING)
        spent = 1 - (end - time.monotonic()) / (60 * settings.minutes)
        if step % _CHECK == 0:
            events.progress(max(spent, step / settings.steps), "learning the slice profile")
            wrong = patches.mismatch(mean)
            if wrong < _BETTER * least:
                kept, least, since = mean, wrong, step
        if spent >= 1 or step - since >= settings.patience:
            stopped = "time" if spent >= 1 else "stable"
            break
    return kept.double().numpy(), step, stopped
