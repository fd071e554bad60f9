"""How bright each tissue is: at random, or as an MR sequence would show it.

Times of relaxation at 1.5 and 3 T are from de Bazelaire et al. 2004 (Radiology 230:652: kidney,
liver, spleen, pancreas, muscle, marrow, fat) and Stanisz et al. 2005 (Magn Reson Med 54:507: blood,
spinal cord, muscle); fluids and what neither measured are rough values. All are jittered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mriforge.anatomy import NUMBER, TISSUES


@dataclass(frozen=True)
class Relaxation:
    """What a tissue is made of for a scanner.

    Attributes:
        t1: ms of its water at 1.5 and 3 T; ``t2`` too.
        density: of protons, relative to water.
        fat: part of the signal that is fat.
        gain: concentration of contrast agent (mmol/l) early, portal venous, late, and of an agent
            that the liver takes up, after 20 minutes.
        spread: logarithmic standard deviation of the jitter of the times.
    """

    t1: tuple[float, float]
    t2: tuple[float, float]
    density: float
    fat: float = 0.0
    gain: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    spread: float = 0.1


_AIR = Relaxation((1000, 1000), (50, 50), 0.0)
_WALL = Relaxation((850, 1050), (60, 55), 0.85, 0.02, (0.5, 0.8, 0.6, 0.21), 0.15)
_CONTENTS = Relaxation((1800, 2000), (300, 250), 0.85, 0.0, spread=0.8)
_GAS = Relaxation((1000, 1000), (20, 20), 0.02)
_VEIN = Relaxation((1441, 1932), (200, 150), 0.9, 0.0, (0.3, 1.8, 1.0, 0.35))
_FAT = Relaxation((900, 1000), (40, 38), 0.95, 0.93)
_BONE = Relaxation((549, 586), (49, 49), 0.6, 0.4, (0.1, 0.2, 0.2, 0.07), 0.15)

RELAXATION: dict[str, Relaxation] = {
    "air": _AIR,
    "liver": Relaxation((586, 809), (46, 34), 0.85, 0.04, (0.25, 0.9, 0.6, 1.1)),
    "spleen": Relaxation((1057, 1328), (79, 61), 0.88, 0.0, (1.0, 1.1, 0.7, 0.24)),
    "pancreas": Relaxation((584, 725), (46, 43), 0.85, 0.08, (0.9, 0.7, 0.5, 0.17)),
    "right_kidney": Relaxation((966, 1142), (87, 76), 0.9, 0.01, (1.8, 1.5, 1.2, 0.42)),
    "left_kidney": Relaxation((966, 1142), (87, 76), 0.9, 0.01, (1.8, 1.5, 1.2, 0.42)),
    "stomach": _WALL,
    "duodenum": _WALL,
    "small_intestine": _WALL,
    "spinal_cord": Relaxation((745, 993), (74, 78), 0.85),
    "vertebrae": _BONE,
    "right_renal_medulla": Relaxation((1412, 1545), (85, 81), 0.92, 0.0, (0.4, 1.3, 1.4, 0.49)),
    "left_renal_medulla": Relaxation((1412, 1545), (85, 81), 0.92, 0.0, (0.4, 1.3, 1.4, 0.49)),
    "stomach_contents": _CONTENTS,
    "duodenum_contents": _CONTENTS,
    "small_intestine_contents": _CONTENTS,
    "gallbladder": Relaxation((2000, 2300), (500, 400), 1.0, 0.0, (0.0, 0.0, 0.0, 1.0), 0.5),
    "aorta": Relaxation((1441, 1932), (290, 275), 0.9, 0.0, (4.0, 1.6, 0.9, 0.32)),
    "inferior_vena_cava": _VEIN,
    "portal_and_other_veins": _VEIN,
    "hepatic_vessels": _VEIN,
    "colon": _WALL,
    "colon_contents": Relaxation((900, 1000), (80, 70), 0.75, 0.03, spread=0.7),
    "oesophagus": _WALL,
    "lung": Relaxation((1200, 1270), (25, 20), 0.12, 0.0, (0.5, 0.5, 0.3, 0.1)),
    "heart": Relaxation((1050, 1300), (60, 55), 0.85, 0.0, (1.5, 1.2, 0.8, 0.28)),
    "cerebrospinal_fluid": Relaxation((4000, 4300), (1500, 1200), 1.0),
    "intervertebral_disc": Relaxation((1100, 1250), (90, 80), 0.75, spread=0.25),
    "other_bone": _BONE,
    "muscle": Relaxation((856, 898), (27, 29), 0.8, 0.03, (0.1, 0.2, 0.2, 0.07)),
    "visceral_fat": _FAT,
    "subcutaneous_fat": _FAT,
    "skin": Relaxation((900, 1000), (35, 32), 0.6, 0.1),
    "bowel_gas": _GAS,
    "adrenal_gland": Relaxation((700, 850), (60, 55), 0.85, 0.05, (1.0, 0.9, 0.6, 0.21)),
    "urine": Relaxation((2800, 3000), (900, 800), 1.0, 0.0, (0.0, 0.0, 0.5, 0.17)),
    "other_soft_tissue": Relaxation((900, 1000), (45, 42), 0.8, 0.1, (0.3, 0.4, 0.4, 0.14), 0.3),
    "cortical_bone": Relaxation((300, 350), (1.5, 1.0), 0.25),
    "stomach_gas": _GAS,
    "small_intestine_gas": _GAS,
}
"""By the key of the tissue."""

_FAT_T1 = (343.0, 382.0)
_FAT_T2 = (58.0, 68.0)
_TWINS = {"left_kidney": "right_kidney", "left_renal_medulla": "right_renal_medulla"}
_EMPTY = ("air", "bowel_gas", "stomach_gas", "small_intestine_gas")
_ALIKE = (
    (("visceral_fat", "subcutaneous_fat"), 0.9),
    (("inferior_vena_cava", "portal_and_other_veins", "hepatic_vessels"), 0.7),
    (("inferior_vena_cava", "aorta"), 0.4),
    (("stomach", "duodenum", "small_intestine", "colon", "oesophagus"), 0.5),
    (("vertebrae", "other_bone"), 0.8),
    (("stomach_contents", "duodenum_contents", "small_intestine_contents"), 0.3),
    (("muscle", "skin", "other_soft_tissue"), 0.3),
)
"""Tissues that are often as bright as one another, and how often."""
PHASES = ("arterial", "portal venous", "late", "hepatobiliary")
SEQUENCES = ("gre", "gre_contrast", "opposed_phase", "bssfp", "fse")


def random_means(rng: np.random.Generator) -> np.ndarray:
    """Every tissue as bright as chance wants (SynthSeg), ``(tissues,)`` float32; air is 0.

    Some tissues are as bright as another one that is made of the same.
    """
    mean = rng.uniform(0.05, 1.0, len(TISSUES))
    for keys, probability in _ALIKE:
        if rng.random() < probability:
            for key in keys[1:]:
                mean[NUMBER[key]] = mean[NUMBER[keys[0]]] * rng.normal(1, 0.04)
    for key, twin in _TWINS.items():
        mean[NUMBER[key]] = mean[NUMBER[twin]]
    mean[NUMBER["lung"]] *= 0.25
    mean[NUMBER["cortical_bone"]] *= 0.3
    for key in _EMPTY:
        mean[NUMBER[key]] = 0.0
    return np.clip(mean, 0, None).astype(np.float32)


def sequence_means(
    rng: np.random.Generator, sequence: str | None = None
) -> tuple[np.ndarray, dict[str, float | str | bool]]:
    """Tissues as a sequence of random parameters shows them.

    Args:
        rng: random numbers.
        sequence: one of ``SEQUENCES``; None: any.

    Returns:
        signal ``(tissues,)`` float32 of which the brightest are about 1, and what was scanned. It
        is negative where fat, in opposition to water, is more: on borders both cancel.
    """
    sequence = str(rng.choice(SEQUENCES)) if sequence is None else sequence
    field = int(rng.integers(0, 2))
    suppressed = bool(rng.random() < (0.8 if sequence == "gre_contrast" else 0.4))
    if sequence == "opposed_phase":
        suppressed = False
    phase = int(rng.integers(0, len(PHASES)))
    about = {"sequence": sequence, "tesla": (1.5, 3.0)[field], "fat_suppressed": suppressed}
    show = _sequence(rng, sequence, field, about)
    left = rng.uniform(0.02, 0.25) if suppressed else 1.0
    fat = show(_FAT_T1[field], _FAT_T2[field]) * left
    opposed = sequence == "opposed_phase" or (sequence == "bssfp" and rng.random() < 0.6)
    if opposed:
        # Balanced sequences refocus fat upside down for most TR (Hargreaves et al. 2003).
        fat = -fat
    mean = np.zeros(len(TISSUES))
    dose = rng.uniform(0.5, 1.4) if sequence == "gre_contrast" else 0.0
    for key, tissue in RELAXATION.items():
        t1 = tissue.t1[field] * math.exp(rng.normal(0, tissue.spread))
        t2 = tissue.t2[field] * math.exp(rng.normal(0, tissue.spread))
        t2 = min(t2, t1)
        agent = dose * tissue.gain[phase] * math.exp(rng.normal(0, 0.25))
        # Relaxivities of extracellular agents, 1 / (mmol/l s): about 4 and 5.
        t1, t2 = 1 / (1 / t1 + 0.004 * agent), 1 / (1 / t2 + 0.005 * agent)
        density = tissue.density * math.exp(rng.normal(0, 0.06))
        part = min(1.0, tissue.fat * math.exp(rng.normal(0, 0.25)))
        mean[NUMBER[key]] = density * ((1 - part) * show(t1, t2) + part * fat)
    _flowing(rng, sequence, mean)
    for key, twin in _TWINS.items():
        mean[NUMBER[key]] = mean[NUMBER[twin]]
    if dose:
        about["contrast_phase"] = PHASES[phase]
    strength = np.abs(mean)
    mean = np.clip(mean / np.percentile(strength[strength > 0], 85), -2.5, 2.5)
    return mean.astype(np.float32), about


def _sequence(rng: np.random.Generator, sequence: str, field: int, about: dict):
    """Signal of water of unit density as a function of T1 and T2 in ms."""
    if sequence == "fse":
        te, tr = rng.uniform(60, 130), rng.choice([3000.0, 1e5])
        about.update(te=round(te), tr=float(tr))
        return lambda t1, t2: math.exp(-te / t2) * (1 - math.exp(-tr / t1))
    tr = rng.uniform(3.0, 5.5)
    if sequence == "bssfp":
        angle = math.radians(rng.uniform(35, 70))
        about.update(tr=round(tr, 1), flip=round(math.degrees(angle)))
        return lambda t1, t2: bssfp(t1, t2, tr, angle)
    # A spoiled gradient echo: three-dimensional and fast, or two-dimensional with a longer TR.
    slow = sequence != "gre_contrast" and rng.random() < 0.3
    if slow:
        tr = rng.uniform(100, 200)
    angle = math.radians(rng.uniform(60, 80) if slow else rng.uniform(8, 16))
    te = rng.uniform(1.0, 2.5) if sequence != "opposed_phase" else (2.3, 1.15)[field]
    about.update(tr=round(tr, 1), flip=round(math.degrees(angle)), te=round(te, 2))
    # T2* is shorter than T2.
    return lambda t1, t2: spoiled(t1, tr, angle) * math.exp(-te / (0.5 * t2))


def spoiled(t1: float, tr: float, angle: float) -> float:
    """Steady state of a spoiled gradient echo (Ernst), without T2* decay."""
    e1 = math.exp(-tr / t1)
    return math.sin(angle) * (1 - e1) / (1 - e1 * math.cos(angle))


def bssfp(t1: float, t2: float, tr: float, angle: float) -> float:
    """Steady state of a balanced sequence on resonance, at TE = TR / 2."""
    e1, e2 = math.exp(-tr / t1), math.exp(-tr / t2)
    below = 1 - (e1 - e2) * math.cos(angle) - e1 * e2
    return math.sqrt(e2) * math.sin(angle) * (1 - e1) / below


def _flowing(rng: np.random.Generator, sequence: str, mean: np.ndarray) -> None:
    """Blood that flows in is fresh (bright in gradient echoes), or gone before its echo (FSE)."""
    vessels = ("aorta", "inferior_vena_cava", "portal_and_other_veins", "hepatic_vessels")
    if sequence == "fse" and rng.random() < 0.7:
        for key in vessels:
            mean[NUMBER[key]] *= rng.uniform(0, 0.4)
    elif sequence in ("gre", "opposed_phase") and rng.random() < 0.4:
        for key in vessels[:2]:
            mean[NUMBER[key]] *= rng.uniform(1, 3)
