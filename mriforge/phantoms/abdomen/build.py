"""The build of a random subject: size, habitus, spine, breath, and where organs shift with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mriforge.phantoms.abdomen.space import Posture


class Dice:
    """Random numbers with bounds."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def about(self, mean: float, deviation: float, low: float = -np.inf, high: float = np.inf):
        """Normal, kept between bounds (by default 2.2 deviations)."""
        low = max(low, mean - 2.2 * deviation)
        high = min(high, mean + 2.2 * deviation)
        return float(np.clip(self.rng.normal(mean, deviation), low, high))

    def factor(self, spread: float) -> float:
        """Log-normal about 1, within 2.2 spreads."""
        return float(np.exp(self.about(0.0, spread)))

    def between(self, low: float, high: float) -> float:
        """Uniform."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True as often as that."""
        return bool(self.rng.random() < probability)

    def shift(self, *deviations: float) -> np.ndarray:
        """A normal vector, each part within 2.2 deviations."""
        return np.array([self.about(0.0, d) for d in deviations])


@dataclass(frozen=True)
class Build:
    """A subject. Lengths in mm of the torso at rest.

    Attributes:
        seed: what everything is drawn from.
        posture: the map from the grid to rest.
        fatness: 0 thin .. 1 obese.
        half_width: of the cavity at the first lumbar vertebra.
        front: y of the cavity's anterior border there (negative).
        belly: how much further forward it is below the navel.
        fat: thickness under the skin ``(front, side, back)``.
        wall: thickness of the muscles ``(front, side)``.
        dome: heights of the right and the left dome of the diaphragm at end-expiration.
        low, high: ends ``z`` of the field of view in mm.
    """

    seed: int
    posture: Posture
    fatness: float
    half_width: float
    front: float
    belly: float
    fat: tuple[float, float, float]
    wall: tuple[float, float]
    dome: tuple[float, float]
    low: float
    high: float

    def dice(self, part: int) -> Dice:
        """Random numbers of a part of the body, the same whatever other parts draw."""
        return Dice(self.seed, part)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points given for a middling torso, moved apart or together as the cavity is wide."""
        points = np.array(points, dtype=float)
        wide, deep = self.half_width / 128, self.front / -108
        points[..., 0] *= 1 + (wide - 1) * np.clip(np.abs(points[..., 0]) / 90, 0, 1)
        ahead = np.clip(-points[..., 1] - 25, 0, None)
        points[..., 1] -= ahead * (deep - 1)
        return points


def build(seed: int, breath: float | None) -> Build:
    """Draws a subject.

    Args:
        seed: any number >= 0.
        breath: 0 end-expiration .. 1 deep inspiration; None draws it.
    """
    dice = Dice(seed, 0)
    fatness = float(np.clip(dice.rng.beta(1.6, 2.0), 0.02, 0.98))
    size = dice.about(1.0, 0.055, 0.88, 1.13)
    scale = tuple(size * dice.factor(0.025) for _ in range(3))
    knots = (-190.0, -136.0, -68.0, 0.0, 60.0, 130.0)
    lordosis, kyphosis, bend = dice.about(13, 8, -3), dice.about(12, 7, -2), dice.about(0, 5)
    front = (
        6 + 0.3 * lordosis, -0.9 * lordosis, -lordosis, 0.0, 0.5 * kyphosis, 1.4 * kyphosis,
    )  # fmt: skip
    side = (0.0, 0.5 * bend, bend, 0.0, -0.8 * bend, 0.2 * bend)
    tidal, drawn = dice.between(10, 25), dice.rng.beta(0.9, 1.5)
    depth = drawn if breath is None else breath
    posture = Posture(scale, side, front, knots, dice.about(4.5, 1.5, 1.0), tidal * depth)
    under = 5 + 34 * fatness**1.3
    fat = tuple(float(under * f * dice.factor(0.25)) for f in (1.0, 0.8, 0.8))
    high = dice.between(62, 128)
    low = min(high - dice.between(255, 335), -125.0)
    return Build(
        seed=seed,
        posture=posture,
        fatness=fatness,
        half_width=118 + 26 * fatness + dice.about(0, 4),
        front=-(86 + 52 * fatness + dice.about(0, 7)),
        belly=2 + 24 * fatness * dice.factor(0.3),
        fat=fat,
        wall=(dice.between(7, 13), dice.between(10, 18)),
        dome=(dice.about(84, 7), dice.about(73, 7)),
        low=low,
        high=high,
    )
