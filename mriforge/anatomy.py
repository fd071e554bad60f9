"""The abdomen in words and numbers: the organs that are outlined, and the tissues around them.

Organs are what ``segment`` answers with (ten, the labels of Chen 2021, chapter 7). Tissues are
what simulated images are made of: every organ, its contents, and everything else of a torso. The
first ten tissues have the numbers of the organs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mriforge.errors import BadInput
from mriforge.volume import Grid

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Organ:
    """One of the outlined organs.

    Attributes:
        label: its number in every label map that this program writes.
        key: its name in files and options.
        title: its name for people.
        code: SNOMED CT code and meaning of the type (scheme ``SCT``).
        side: "" or "Right" or "Left", the type's modifier.
        colour: 0 to 255, as Slicer's terminology recommends.
    """

    label: int
    key: str
    title: str
    code: tuple[str, str]
    side: str
    colour: Colour


ORGANS: tuple[Organ, ...] = (
    Organ(1, "liver", "Liver", ("10200004", "Liver"), "", (221, 130, 101)),
    Organ(2, "spleen", "Spleen", ("78961009", "Spleen"), "", (157, 108, 162)),
    Organ(3, "pancreas", "Pancreas", ("15776009", "Pancreas"), "", (249, 180, 111)),
    Organ(4, "right_kidney", "Right kidney", ("64033007", "Kidney"), "Right", (185, 102, 83)),
    Organ(5, "left_kidney", "Left kidney", ("64033007", "Kidney"), "Left", (185, 102, 83)),
    Organ(6, "stomach", "Stomach", ("69695003", "Stomach"), "", (216, 132, 105)),
    Organ(7, "duodenum", "Duodenum", ("38848004", "Duodenum"), "", (255, 253, 229)),
    Organ(
        8, "small_intestine", "Small intestine", ("30315005", "Small Intestine"), "",
        (205, 167, 142),
    ),
    Organ(9, "spinal_cord", "Spinal cord", ("2748008", "Spinal cord"), "", (244, 214, 49)),
    Organ(10, "vertebrae", "Vertebral bodies", ("51282000", "Vertebra"), "", (241, 214, 145)),
)  # fmt: skip
"""In the order of their labels, 1 to 10; 0 is everything else."""

CATEGORY = ("123037004", "Anatomical Structure")
"""SNOMED CT category of every organ."""
SIDES = {"Right": ("24028007", "Right"), "Left": ("7771000", "Left")}
"""SNOMED CT codes of the modifiers."""
CLASSES = len(ORGANS) + 1
"""Background and organs."""


@dataclass(frozen=True)
class Tissue:
    """One material of a simulated torso.

    Attributes:
        number: in tissue maps.
        key: its name.
        organ: label of the organ that it is a part of; 0: of none.
    """

    number: int
    key: str
    organ: int


TISSUES: tuple[Tissue, ...] = (
    Tissue(0, "air", 0),
    *(Tissue(organ.label, organ.key, organ.label) for organ in ORGANS),
    Tissue(11, "right_renal_medulla", 4),
    Tissue(12, "left_renal_medulla", 5),
    Tissue(13, "stomach_contents", 6),
    Tissue(14, "duodenum_contents", 7),
    Tissue(15, "small_intestine_contents", 8),
    Tissue(16, "gallbladder", 0),
    Tissue(17, "aorta", 0),
    Tissue(18, "inferior_vena_cava", 0),
    Tissue(19, "portal_and_other_veins", 0),
    Tissue(20, "hepatic_vessels", 1),
    Tissue(21, "colon", 0),
    Tissue(22, "colon_contents", 0),
    Tissue(23, "oesophagus", 0),
    Tissue(24, "lung", 0),
    Tissue(25, "heart", 0),
    Tissue(26, "cerebrospinal_fluid", 0),
    Tissue(27, "intervertebral_disc", 0),
    Tissue(28, "other_bone", 0),
    Tissue(29, "muscle", 0),
    Tissue(30, "visceral_fat", 0),
    Tissue(31, "subcutaneous_fat", 0),
    Tissue(32, "skin", 0),
    Tissue(33, "bowel_gas", 0),
    Tissue(34, "adrenal_gland", 0),
    Tissue(35, "urine", 0),
    Tissue(36, "other_soft_tissue", 0),
    Tissue(37, "cortical_bone", 0),
    Tissue(38, "stomach_gas", 6),
    Tissue(39, "small_intestine_gas", 8),
)
"""By number. The ten organs themselves are their cortex or wall where they have contents."""

ORGAN_OF_TISSUE = np.array([tissue.organ for tissue in TISSUES], dtype=np.uint8)
"""Look-up table from tissue to organ label: ``ORGAN_OF_TISSUE[tissues]``."""
NUMBER = {tissue.key: tissue.number for tissue in TISSUES}
"""Tissue numbers by key."""


@dataclass(frozen=True)
class TissueMap:
    """A torso as tissues.

    Attributes:
        array: tissue numbers ``(z, y, x)``, uint8.
        grid: geometry; x to Left, y to Posterior, z to Superior (``direction`` is the identity).
        subject: who it is.
        organs: labels of organs that are outlined in it; others cannot be learned from it.
        source: where it is from, and its licence.
    """

    array: np.ndarray
    grid: Grid
    subject: str
    organs: tuple[int, ...] = tuple(organ.label for organ in ORGANS)
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.dtype != np.uint8 or tuple(self.array.shape) != self.grid.shape:
            raise BadInput(
                f"A tissue map is uint8 on its grid, not {self.array.dtype} {self.array.shape}."
            )

    def labels(self) -> np.ndarray:
        """Organ labels ``(z, y, x)``, uint8."""
        return ORGAN_OF_TISSUE[self.array]


VIEWS = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Array axis ``(z, y, x)`` across which each view's slices follow one another.

``numpy.moveaxis(array, axis, 0)`` is then ``(slices, height, width)``: axial ``(y, x)``, coronal
``(z, x)``, sagittal ``(z, y)``.
"""
