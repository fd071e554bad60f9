"""Simulated pairs of gridded and true (or iterated) factors, to train MALIBU's networks on.

A scan of a random subject is simulated with all its readouts, gives its temporal basis as a
reconstruction would find it, and the first pair: its own gridded factors and their truth. Moving
an object in space, whatever it does in time, leaves its temporal basis what it is: ``I(T x, t)``
has the basis of ``I(x, t)``. So the same acquisition, by its Toeplitz kernel, measures the subject
in many other shapes, with other coils and other noise, for a fraction of a second each.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mriforge.events import Events
from mriforge.io.atomic import atomic_path
from mriforge.phantoms.multitasking import Subject, scan, subject
from mriforge.phantoms.multitasking.coils import coil_maps
from mriforge.physics.subspace import SubspaceOperator
from mriforge.physics.toeplitz import ToeplitzNormal
from mriforge.recon.encoding import Encoding, first, last
from mriforge.recon.spatial import Settings, spatial_factor
from mriforge.temporal.model import given_bins, temporal_model
from mriforge.training.factor_pairs import MANIFEST, write_pair

FIRST_SUBJECT = 100_000
"""Subjects with smaller seeds are never in a training set: they are for tests."""
LICENCE = "simulated"
_NOISE = 0.0125
_NOISE_RANGE = (0.5, 2.0)


@dataclass(frozen=True)
class PairOptions:
    """What is simulated.

    Attributes:
        matrix: pixels of the images.
        rank: components of the subspace.
        coils: receiver channels.
        inversions: length of the scans.
        variants: pairs of each acquisition; the first is the scan itself.
        held_out: part of the subjects that are for validation, of which only the scan is kept.
        iterative: make iterative labels too (seconds to minutes each).
        exact: keep complex64 instead of half precision.
    """

    matrix: int = 160
    rank: int = 32
    coils: int = 8
    inversions: int = 24
    variants: int = 16
    held_out: float = 0.125
    iterative: bool = False
    exact: bool = False


def make_pairs(
    folder: str | Path,
    count: int,
    seed: int = 0,
    options: PairOptions | None = None,
    events: Events | None = None,
) -> dict[str, Any]:
    """Writes pairs and their manifest; goes on where it was stopped.

    Args:
        folder: where to.
        count: pairs for training, rounded up to whole subjects.
        seed: of everything; other seeds have other subjects.
        options: what is simulated.
        events: progress, and the switch that cancels.

    Returns:
        ``{"subjects", "held_out", "pairs"}``.

    Raises:
        Cancelled: the pairs so far are in the manifest.
    """
    folder, options, events = Path(folder), options or PairOptions(), events or Events()
    folder.mkdir(parents=True, exist_ok=True)
    training = math.ceil(count / options.variants)
    aside = math.ceil(options.held_out * training) if options.held_out else 0
    # Held-out subjects first: a set that is not yet whole can be trained on and judged already.
    splits = ["validation"] * aside + ["train"] * training
    rows: list[dict[str, Any]] = []
    for place, split in enumerate(splits):
        events.check_cancelled()
        number = FIRST_SUBJECT * (seed + 1) + place
        part = events.part(place / len(splits), (place + 1) / len(splits))
        wanted = 1 if split == "validation" else options.variants
        names = [f"{split}-{number}-{variant:03d}.npz" for variant in range(wanted)]
        if not all((folder / name).is_file() for name in names):
            _write_subject(folder, names, number, options, part)
        rows += [
            {"path": name, "subject": f"simulated {number}", "split": split, "licence": LICENCE}
            for name in names
        ]
        with atomic_path(folder / MANIFEST) as partial:
            about = {"volumes": rows, "options": asdict(options), "seed": seed}
            partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return {"subjects": training, "held_out": aside, "pairs": len(rows)}


def _write_subject(
    folder: Path, names: list[str], number: int, options: PairOptions, events: Events
) -> None:
    rng = np.random.default_rng([number, 6])
    acquisition = Acquisition.simulated(number, options, rng, events.part(0.0, 0.6))
    write_pair(folder / names[0], acquisition.measured(options.iterative), options.exact)
    for place, name in enumerate(names[1:], start=1):
        events.check_cancelled()
        events.progress(0.6 + 0.4 * place / len(names), f"subject {number}, variant {place}")
        write_pair(folder / name, acquisition.variant(rng, options.iterative), options.exact)


class Remeasured(Encoding):
    """The encoding of an acquisition that has been given another object, coils and noise."""

    data_energy = 0.0

    def __init__(self, target: Tensor, normal: ToeplitzNormal, maps: Tensor) -> None:
        self.target, self.normal, self.maps = last(target), normal, maps


class Acquisition:
    """One simulated scan, ready to measure other objects as well.

    Args:
        who: the subject.
        encoding: of its scan, with true coil maps.
        truth: ``(L, z, y, x)`` complex64.
        deviation: standard deviation of the complex noise.
        rng: for the noise.
    """

    def __init__(
        self,
        who: Subject,
        encoding: Encoding,
        truth: Tensor,
        deviation: float,
        rng: np.random.Generator,
    ) -> None:
        self.who, self.encoding, self.truth, self.deviation = who, encoding, truth, deviation
        self._rng = rng
        self._weighted: ToeplitzNormal | None = None
        self._noise: dict[bool, Tensor] = {}

    @classmethod
    def simulated(
        cls, number: int, options: PairOptions, rng: np.random.Generator, events: Events
    ) -> Acquisition:
        """A random subject, scanned and with the temporal basis of its own navigators."""
        who = subject(number, lesion=bool(rng.random() < 0.5))
        raw, truth = scan(
            who,
            matrix=options.matrix,
            coils=options.coils,
            inversions=options.inversions,
            noise=_NOISE * math.exp(rng.uniform(*np.log(_NOISE_RANGE))),
            continuous=bool(rng.random() < 0.25),
            arrhythmia=bool(rng.random() < 0.2),
            irregular_breathing=bool(rng.random() < 0.3),
            events=events.part(0.0, 0.8),
        )
        # True bins, so that the truth within the basis is what the data hold.
        bins = given_bins(raw, truth.cardiac, truth.respiratory, truth.bins[:2])
        model = temporal_model(raw, rank=options.rank, bins=bins, events=events.part(0.8, 1.0))
        maps = torch.from_numpy(truth.coil_maps)[:, None]
        encoding = Encoding(raw, model.weights(raw.imaging), math.prod(bins.shape), maps)
        deviation = math.sqrt(float(np.mean(np.abs(raw.noise) ** 2)))
        factors = torch.from_numpy(truth.project(model.basis))
        return cls(who, encoding, factors, deviation, rng)

    def measured(self, iterative: bool = False) -> dict[str, np.ndarray]:
        """The scan's own pair: arrays ``(L, y, x)`` by name."""
        found = {"input": self.encoding.gridded, "truth": self.truth}
        if iterative:
            found["label"] = spatial_factor(self.encoding, Settings()).factors
        return {name: values[:, 0].numpy() for name, values in found.items()}

    def variant(self, rng: np.random.Generator, iterative: bool = False) -> dict[str, np.ndarray]:
        """The same acquisition of the same subject in another shape, with other coils."""
        truth = moved(self.truth[:, 0], rng)[:, None]
        coils, height = len(self.encoding.maps), self.encoding.maps.shape[2]
        turned = replace(
            self.who,
            coil_turn=float(rng.uniform(0, 2 * math.pi)),
            coil_phases=int(rng.integers(1 << 31)),
        )
        maps = torch.from_numpy(coil_maps(turned, coils, height))[:, None]
        mixing = random_unitary(coils, rng)
        power = maps.abs().square().sum(0).clamp_min(1e-6)
        found = {
            "input": self._adjoint(truth, maps, mixing, weighted=True) / power,
            "truth": truth,
        }
        if iterative:
            target = self._adjoint(truth, maps, mixing, weighted=False)
            normal = self._normal(maps, weighted=False)
            remeasured = Remeasured(target, normal, maps)
            found["label"] = spatial_factor(remeasured, Settings()).factors
        return {name: values[:, 0].numpy() for name, values in found.items()}

    def _adjoint(self, factors: Tensor, maps: Tensor, mixing: Tensor, weighted: bool) -> Tensor:
        """``E^H W (E U + noise)`` with other coils, without any data."""
        clean = first(self._normal(maps, weighted)(last(factors)))
        # Independent noise in all coils stays so under a unitary matrix.
        noise = torch.einsum("cj,jlzyx->clzyx", mixing, self._noise_fields(weighted))
        return clean + self.deviation * (maps.conj()[:, None] * noise).sum(0)

    def _normal(self, maps: Tensor, weighted: bool) -> ToeplitzNormal:
        if not weighted:
            own = self.encoding.normal
        else:
            if self._weighted is None:
                self._weighted = self.encoding.operator.normal(self.encoding.density())
            own = self._weighted
        return ToeplitzNormal(own.spectrum, own.circulant, maps)

    def _noise_fields(self, weighted: bool) -> Tensor:
        """Adjoint of unit noise in each coil ``(C, L, z, y, x)``, of the same noise for both."""
        if weighted not in self._noise:
            operator = self.encoding.operator
            count, samples = operator.trajectory.shape[:2]
            grid = self.encoding.maps.shape[1:]
            alone = SubspaceOperator(
                operator.trajectory,
                operator.weights,
                torch.ones(1, *grid, dtype=torch.complex64),
                tolerance=operator.tolerance,
            )
            seed = [self.who.seed, 9]
            rng, density = np.random.default_rng(seed), None
            if weighted:
                density = self.encoding.density()
            fields = []
            for _ in range(len(self.encoding.maps)):
                parts = rng.standard_normal((1, count, samples, 2), np.float32) / math.sqrt(2)
                drawn = torch.view_as_complex(torch.from_numpy(parts.astype(np.float32)))
                fields.append(alone.A_adjoint(drawn, density))
            self._noise[weighted] = torch.stack(fields)
        return self._noise[weighted]


def random_unitary(size: int, rng: np.random.Generator) -> Tensor:
    """``(size, size)`` complex64, from the uniform distribution of unitary matrices."""
    drawn = rng.standard_normal((size, size)) + 1j * rng.standard_normal((size, size))
    unitary, upper = np.linalg.qr(drawn)
    phases = np.diagonal(upper) / np.abs(np.diagonal(upper))
    return torch.from_numpy((unitary * phases).astype(np.complex64))


def moved(factors: Tensor, rng: np.random.Generator) -> Tensor:
    """Factors ``(L, y, x)`` turned, stretched, shifted and bent at random, with another phase.

    Each component moves alike. Sampled from twice as fine an image, so that little is lost.
    """
    ny, nx = factors.shape[1:]
    y = (torch.arange(ny) - ny // 2) / (ny / 2)
    x = (torch.arange(nx) - nx // 2) / (nx / 2)
    y, x = torch.meshgrid(y, x, indexing="ij")
    angle, shift = rng.uniform(-0.35, 0.35), rng.uniform(-0.06, 0.06, 2)
    stretch = rng.uniform(0.92, 1.1, 2)
    cos, sin = math.cos(angle), math.sin(angle)
    places = [
        (cos * x - sin * y) * stretch[0] + shift[0],
        (sin * x + cos * y) * stretch[1] + shift[1],
    ]
    for axis in range(2):
        for _ in range(3):
            along, across = rng.uniform(-1.5, 1.5, 2)
            wave = torch.sin(math.pi * (along * x + across * y) + rng.uniform(0, 2 * math.pi))
            places[axis] = places[axis] + rng.uniform(-0.02, 0.02) * wave
    # Fine pixel f lies at (f - n) / n half fields of view.
    at = torch.stack([p + 0.5 / n for p, n in zip(places, (nx, ny), strict=True)], -1)
    fine = torch.view_as_real(_doubled(factors)).permute(0, 3, 1, 2).flatten(0, 1)
    taken = functional.grid_sample(
        fine[None], at[None].float(), mode="bicubic", padding_mode="zeros", align_corners=False
    )[0]
    found = torch.view_as_complex(taken.unflatten(0, (-1, 2)).permute(0, 2, 3, 1).contiguous())
    weights = rng.normal(0, (0.8, 0.8, 0.4, 0.4))
    phase = weights[0] * x + weights[1] * y + weights[2] * x * y + weights[3] * (x**2 - y**2)
    return found * torch.polar(torch.ones_like(phase), phase).to(found.dtype)


def _doubled(factors: Tensor) -> Tensor:
    """``(L, 2 y, 2 x)`` of the same field of view, by zeros around the spectrum."""
    ny, nx = factors.shape[1:]
    axes = (-2, -1)
    spectrum = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(factors, dim=axes)), dim=axes)
    sides = (nx - nx // 2, nx // 2, ny - ny // 2, ny // 2)
    wide = functional.pad(spectrum, sides)
    image = torch.fft.ifft2(torch.fft.ifftshift(wide, dim=axes)) * 4
    return torch.fft.fftshift(image, dim=axes)
