"""A subject: sizes and places of the organs, how they move, what their tissue is.

Lengths in mm, times in s. x points to the image's right (the patient's left), y downwards (to the
feet); the centre of the image is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

TISSUES = ("blood", "myocardium", "liver", "fat", "muscle", "lung", "spleen")
"""What every subject is made of; a subject with a lesion has ``"lesion"`` as one more."""
T1_S = (1.90, 1.25, 0.80, 0.38, 1.10, 1.30, 1.30)
DENSITY = (1.0, 0.85, 0.80, 0.90, 0.75, 0.12, 0.85)
LESIONS_T1_S = {"scar": 0.90, "oedema": 1.50}
"""T1 of the lesions there are: fibrosis after contrast, oedema without."""


@dataclass(frozen=True)
class Ellipse:
    """An ellipse with its centre, semi-axes and turn (radians, from x towards y)."""

    x: float
    y: float
    a: float
    b: float
    turn: float = 0.0

    def moved(self, x: float, y: float) -> Ellipse:
        """The same, shifted."""
        return replace(self, x=self.x + x, y=self.y + y)

    def grown(self, a: float, b: float | None = None) -> Ellipse:
        """The same about its centre, semi-axes longer by ``a`` and ``b`` (default ``a``)."""
        return replace(self, a=self.a + a, b=self.b + (a if b is None else b))


@dataclass(frozen=True)
class Lesion:
    """A sector of the left ventricular wall.

    Attributes:
        kind: a key of :data:`LESIONS_T1_S`.
        angle: middle of the sector in radians, from x towards y.
        width: of the sector in radians.
        depth: part of the wall, from the blood outwards, in (0, 1].
    """

    kind: str
    angle: float
    width: float
    depth: float


@dataclass(frozen=True)
class Subject:
    """One anatomy and its physiology.

    Attributes:
        seed: what it was drawn from; noise and rhythm of a scan are drawn from it too.
        t1_s, density: one for each name of :attr:`tissues`.
        body, liver, spleen, aorta, spine, mediastinum: outlines at end-expiration.
        lungs: right and left.
        fat_mm, wall_mm: thickness of the subcutaneous fat and of the chest wall's muscle.
        heart: ``(x, y)`` of the left ventricle's axis at end-expiration.
        endo_mm, wall_lv_mm: radius of the cavity and thickness of its wall at end-diastole.
        endo_change_mm, wall_change_mm: how much they shrink and thicken at end-systole.
        aspect: of the left ventricle, 1 is round; its long axis has the angle ``turn``.
        turn: angle of the septum in radians.
        rv_mm: semi-axes of the right ventricle at end-diastole.
        rv_change_mm: how much they shrink.
        papillary: angles of the papillary muscles in radians, and their radius in mm.
        epicardial_fat_mm: thickness of the fat around the heart.
        length_mm: from the slice to the apex; thicker slabs show it.
        breathing_mm: how far the heart moves, ``(x, y)``; liver and spleen as far in y.
        chest_mm: how far the chest wall moves.
        rr_s, rr_deviation_s: length of a heartbeat and its standard deviation.
        breath_s: length of a breath.
        lesion: or None.
        phase: coefficients of a smooth phase of the object in radians (x, y, x y, x^2 - y^2, of
            coordinates in half fields of view).
        off_resonance_hz: coefficients of the field map, of the same polynomials.
        coil_turn: angle of the first coil in radians.
        coil_phases: seed of the phases of the coils.
    """

    seed: int = 0
    t1_s: tuple[float, ...] = T1_S
    density: tuple[float, ...] = DENSITY
    body: Ellipse = Ellipse(0.0, 0.0, 124.0, 98.0)
    liver: Ellipse = Ellipse(-48.0, 58.0, 62.0, 38.0, -0.18)
    spleen: Ellipse = Ellipse(78.0, 48.0, 24.0, 17.0, 0.5)
    aorta: Ellipse = Ellipse(16.0, 62.0, 10.0, 10.0)
    spine: Ellipse = Ellipse(2.0, 66.0, 15.0, 13.0)
    mediastinum: Ellipse = Ellipse(2.0, 4.0, 27.0, 82.0)
    lungs: tuple[Ellipse, Ellipse] = (
        Ellipse(-57.0, -8.0, 46.0, 66.0, 0.08),
        Ellipse(60.0, -8.0, 44.0, 66.0, -0.08),
    )
    fat_mm: float = 9.0
    wall_mm: float = 8.0
    heart: tuple[float, float] = (26.0, -12.0)
    endo_mm: float = 24.0
    endo_change_mm: float = 7.0
    wall_lv_mm: float = 9.0
    wall_change_mm: float = 4.5
    aspect: float = 1.0
    turn: float = 0.12
    rv_mm: tuple[float, float] = (31.0, 35.0)
    rv_change_mm: tuple[float, float] = (5.0, 4.0)
    papillary: tuple[float, float, float] = (0.9, 2.3, 4.2)
    epicardial_fat_mm: float = 0.0
    length_mm: float = 62.0
    breathing_mm: tuple[float, float] = (3.0, 12.0)
    chest_mm: float = 1.5
    rr_s: float = 0.9
    rr_deviation_s: float = 0.06
    breath_s: float = 4.1
    lesion: Lesion | None = None
    phase: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    off_resonance_hz: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    coil_turn: float = 0.0
    coil_phases: int = 0

    @property
    def tissues(self) -> tuple[str, ...]:
        """Names in the order of :attr:`t1_s`."""
        return TISSUES if self.lesion is None else (*TISSUES, "lesion")


def subject(seed: int = 0, *, lesion: bool = False, phase: bool | None = None) -> Subject:
    """A subject; always the same one for the same arguments.

    Args:
        seed: 0 for the standard subject (no random numbers), else a random one.
        lesion: with a lesion in the wall of the left ventricle: a scar (T1 0.9 s) or oedema
            (1.5 s).
        phase: with a smooth phase and off-resonance of the object; default: random subjects have
            one, the standard one has not.
    """
    rng = np.random.default_rng([seed, 5])
    drawn = Subject() if seed == 0 else _random(seed, rng)
    if lesion:
        drawn = _with_lesion(drawn, rng)
    if seed != 0 if phase is None else phase:
        drawn = replace(
            drawn,
            phase=tuple(rng.normal(0, (0.7, 0.7, 0.3, 0.3)).tolist()),
            off_resonance_hz=tuple(rng.normal(0, (25, 25, 15, 15)).tolist()),
        )
    return drawn


def _with_lesion(drawn: Subject, rng: np.random.Generator) -> Subject:
    kind = "scar" if drawn.seed == 0 else str(rng.choice(list(LESIONS_T1_S)))
    angle, width, depth = (
        (5.6, 1.0, 1.0) if drawn.seed == 0 else rng.uniform((0, 0.7, 0.5), (6, 1.6, 1))
    )
    t1_s = LESIONS_T1_S[kind] * (1.0 if drawn.seed == 0 else rng.uniform(0.93, 1.07))
    density = drawn.density[TISSUES.index("myocardium")]
    return replace(
        drawn,
        lesion=Lesion(kind, float(angle), float(width), float(depth)),
        t1_s=(*drawn.t1_s, float(t1_s)),
        density=(*drawn.density, density * 1.05),
    )


def _random(seed: int, rng: np.random.Generator) -> Subject:
    base = Subject()

    def about(value: float, part: float) -> float:
        """``value``, give or take a ``part`` of it, never more than twice that."""
        return float(value * (1 + part * np.clip(rng.normal(), -2, 2)))

    def varied(shape: Ellipse, shift: float = 4.0, part: float = 0.06) -> Ellipse:
        return Ellipse(
            shape.x + shift * float(np.clip(rng.normal(), -2, 2)),
            shape.y + shift * float(np.clip(rng.normal(), -2, 2)),
            about(shape.a, part),
            about(shape.b, part),
            shape.turn + float(rng.uniform(-0.12, 0.12)),
        )

    endo = about(base.endo_mm, 0.09)
    rv = (about(base.rv_mm[0], 0.07), about(base.rv_mm[1], 0.07))
    return Subject(
        seed=seed,
        t1_s=tuple(about(t1, 0.07) for t1 in T1_S),
        density=tuple(about(density, 0.05) for density in DENSITY),
        body=Ellipse(
            float(rng.uniform(-3, 3)),
            float(rng.uniform(-3, 3)),
            min(about(base.body.a, 0.03), 128.0),
            min(about(base.body.b, 0.06), 115.0),
        ),
        liver=varied(base.liver, 5.0, 0.1),
        spleen=varied(base.spleen, 4.0, 0.15),
        aorta=varied(base.aorta, 2.5, 0.12),
        spine=varied(base.spine, 2.0, 0.06),
        mediastinum=varied(base.mediastinum, 3.0, 0.08),
        lungs=(varied(base.lungs[0]), varied(base.lungs[1])),
        fat_mm=float(rng.uniform(4, 16)),
        wall_mm=about(base.wall_mm, 0.15),
        heart=(
            base.heart[0] + float(rng.uniform(-9, 9)),
            base.heart[1] + float(rng.uniform(-9, 9)),
        ),
        endo_mm=endo,
        endo_change_mm=endo * float(rng.uniform(0.22, 0.36)),
        wall_lv_mm=about(base.wall_lv_mm, 0.13),
        wall_change_mm=about(base.wall_change_mm, 0.2),
        aspect=float(rng.uniform(0.92, 1.08)),
        turn=float(rng.uniform(-0.35, 0.6)),
        rv_mm=rv,
        rv_change_mm=(about(base.rv_change_mm[0], 0.25), about(base.rv_change_mm[1], 0.25)),
        papillary=(
            base.papillary[0] + float(rng.uniform(-0.4, 0.4)),
            base.papillary[1] + float(rng.uniform(-0.4, 0.4)),
            about(base.papillary[2], 0.15),
        ),
        epicardial_fat_mm=float(rng.uniform(0, 2.5)),
        length_mm=about(base.length_mm, 0.1),
        breathing_mm=(float(rng.uniform(0, 5)), float(rng.uniform(6, 16))),
        chest_mm=float(rng.uniform(0.8, 2.5)),
        rr_s=float(rng.uniform(0.65, 1.15)),
        rr_deviation_s=float(rng.uniform(0.02, 0.08)),
        breath_s=float(rng.uniform(3.2, 5.5)),
        coil_turn=float(rng.uniform(0, 2 * np.pi)),
        coil_phases=seed,
    )
