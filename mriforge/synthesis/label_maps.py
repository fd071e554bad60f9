"""Label maps of the world: what their numbers mean, and tissue maps of them.

Numbers of TotalSegmentator version 2 (Wasserthal et al. 2023, task "total"), BTCV, AMOS 2022
(Ji et al. 2022) and CHAOS (Kavur et al. 2021) as their authors publish them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mriforge.anatomy import NUMBER, ORGAN_OF_TISSUE, ORGANS, TISSUES, TissueMap
from mriforge.errors import BadInput
from mriforge.physics.canonical import canonical_grid, on_grid
from mriforge.synthesis.torso import filled_from_ct, refuse_other_than_ct
from mriforge.synthesis.torso_invented import filled_by_invention
from mriforge.synthesis.vertebrae import posterior_elements
from mriforge.volume import Grid, Volume

_OUTSIDE = -1000.0
"""Hounsfield units of air."""
_ROOM_MM = np.array([[48.0, 48.0], [72.0, 48.0]])
"""Free space before and after the organs of a map without a CT, toward back and sides."""


@dataclass(frozen=True)
class Scheme:
    """Meaning of the numbers of a kind of label map; 0 is unlabelled, always.

    Attributes:
        title: for people.
        tissues: label to number of the tissue (:data:`mriforge.anatomy.TISSUES`).
        organs: labels of ours (1 to 10) that such maps outline.
        whole_vertebrae: labels that cover vertebrae whole; what is behind the bodies is not ours.
            In schemes without any, a label of vertebrae is taken as it is: it has to be bodies.
        whole_body: whether nothing of a body is unlabelled.
    """

    title: str
    tissues: dict[int, int]
    organs: tuple[int, ...]
    whole_vertebrae: tuple[int, ...] = ()
    whole_body: bool = False


def _named(names: dict[int | tuple[int, int], str]) -> dict[int, int]:
    """Tissue numbers of labels, or of ranges ``(first, last)``, by the keys of tissues."""
    table = {}
    for label, key in names.items():
        first, last = label if isinstance(label, tuple) else (label, label)
        table.update(dict.fromkeys(range(first, last + 1), NUMBER[key]))
    return table


_ABDOMEN = {
    1: "spleen",
    2: "right_kidney",
    3: "left_kidney",
    4: "gallbladder",
    5: "oesophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "inferior_vena_cava",
}
_TOTAL_SEGMENTATOR = {
    1: "spleen",
    2: "right_kidney",
    3: "left_kidney",
    4: "gallbladder",
    5: "liver",
    6: "stomach",
    7: "pancreas",
    (8, 9): "adrenal_gland",
    (10, 14): "lung",
    15: "oesophagus",
    16: "bowel_gas",  # the trachea: air
    17: "other_soft_tissue",  # thyroid
    18: "small_intestine",
    19: "duodenum",
    20: "colon",
    21: "urine",
    22: "other_soft_tissue",  # prostate
    23: "left_renal_medulla",  # cysts: fluid within a kidney
    24: "right_renal_medulla",
    (25, 26): "other_bone",  # sacrum and S1, which is a part of it
    (27, 50): "vertebrae",  # L5 to C1
    51: "heart",
    52: "aorta",
    53: "portal_and_other_veins",
    (54, 58): "aorta",  # arteries that spring from its arch
    (59, 60): "portal_and_other_veins",
    61: "heart",
    62: "portal_and_other_veins",
    63: "inferior_vena_cava",
    64: "portal_and_other_veins",
    (65, 66): "aorta",  # iliac arteries
    (67, 68): "inferior_vena_cava",  # iliac veins
    (69, 78): "other_bone",
    79: "spinal_cord",
    (80, 89): "muscle",
    90: "other_soft_tissue",  # brain
    (91, 116): "other_bone",
    117: "other_soft_tissue",  # costal cartilage
}
_ALL = tuple(organ.label for organ in ORGANS)

SCHEMES: dict[str, Scheme] = {
    "tissues": Scheme(
        "Tissues of this program",
        {tissue.number: tissue.number for tissue in TISSUES},
        _ALL,
        whole_body=True,
    ),
    "organs": Scheme("Organs of this program", {label: label for label in (0, *_ALL)}, _ALL),
    "totalsegmentator": Scheme(
        "TotalSegmentator 2, task total (117 classes)",
        {0: 0, **_named(_TOTAL_SEGMENTATOR)},
        _ALL,
        whole_vertebrae=tuple(range(27, 51)),
    ),
    "btcv": Scheme(
        "BTCV, 11 classes (10 pancreas, 11 bladder)",
        {0: 0, **_named({**_ABDOMEN, 10: "pancreas", 11: "urine"})},
        (1, 2, 3, 4, 5, 6),
    ),
    "btcv13": Scheme(
        "BTCV as published, 13 classes (10 portal and splenic vein, 11 pancreas)",
        {
            0: 0,
            **_named(
                {
                    **_ABDOMEN,
                    10: "portal_and_other_veins",
                    11: "pancreas",
                    (12, 13): "adrenal_gland",
                }
            ),
        },
        (1, 2, 3, 4, 5, 6),
    ),
    "amos": Scheme(
        "AMOS 2022, 15 classes",
        {
            0: 0,
            **_named(
                {
                    **_ABDOMEN,
                    10: "pancreas",
                    (11, 12): "adrenal_gland",
                    13: "duodenum",
                    14: "urine",
                    15: "other_soft_tissue",  # prostate or uterus
                }
            ),
        },
        (1, 2, 3, 4, 5, 6, 7),
    ),
    "chaos_mr": Scheme(
        "CHAOS MR, grey values of its PNG files",
        {
            0: 0,
            **_named(
                {
                    (55, 70): "liver",
                    (110, 135): "right_kidney",
                    (175, 200): "left_kidney",
                    (240, 255): "spleen",
                }
            ),
        },
        (1, 2, 4, 5),
    ),
}
"""By the name that options and manifests give."""


def scheme_of(name: str) -> Scheme:
    """The scheme of that name.

    Raises:
        BadInput: there is none.
    """
    if name not in SCHEMES:
        raise BadInput(
            f"There is no scheme of labels called {name!r}.",
            f"Known are {', '.join(SCHEMES)}.",
        )
    return SCHEMES[name]


def organ_labels(array: np.ndarray, scheme: str) -> np.ndarray:
    """Our organ labels (0 to 10) of a label map.

    Where a scheme labels vertebrae whole, what is behind the bodies becomes background; only this
    needs the axes ``(z, y, x)`` of the array to point to Superior, Posterior, Left.

    Args:
        array: labels, whole numbers of any type.
        scheme: a key of ``SCHEMES``.

    Returns:
        labels of the same shape, uint8. Organs that the scheme does not outline are background:
        see ``SCHEMES[scheme].organs``.

    Raises:
        BadInput: unknown scheme; labels that it does not have.
    """
    return ORGAN_OF_TISSUE[tissues_of(array, scheme)]


def tissue_map(
    labels: Volume,
    scheme: str,
    *,
    image: Volume | None = None,
    spacing: float = 3.0,
    subject: str = "",
    source: dict[str, str] | None = None,
) -> TissueMap:
    """A whole torso of a label map, on a canonical isotropic grid.

    What the map leaves out (fat, muscle, skin, contents of bowels) is found in its CT, or invented
    where there is none. Vertebrae that a scheme labels whole are divided: bodies are label 10 as in
    Chen 2021, arches and processes are other bone (:mod:`mriforge.synthesis.vertebrae`).

    Args:
        labels: the label map, in any orientation and resolution.
        scheme: a key of ``SCHEMES``.
        image: CT of the same patient in Hounsfield units, on any grid.
        spacing: voxel size of the result, mm.
        subject: who it is.
        source: where it is from, and its licence.

    Raises:
        BadInput: unknown scheme or labels; a map without labels; an image that is no CT, or that
            covers less than nine tenths of what is labelled.
    """
    known = scheme_of(scheme)
    name = subject or str(labels.metadata.get("source", "label map"))
    numbers = whole_numbers(labels.array)
    refuse_unknown(np.unique(numbers).tolist(), scheme)
    if not numbers.any():
        raise BadInput(f"Nothing is labelled in {name}.", "Give a map with organs.")
    grid = canonical_grid(labels.grid, spacing)
    placed = on_grid(labels.with_array(_merged(numbers, known)), grid, labels=True)
    tissues = tissues_of(placed.array, scheme)
    if image is not None:
        refuse_other_than_ct(image.array)
        _refuse_elsewhere(labels, image, name)
        ct = image.with_array(np.nan_to_num(image.array, nan=_OUTSIDE))
        tissues = filled_from_ct(tissues, on_grid(ct, grid, fill=_OUTSIDE).array, spacing)
    elif not known.whole_body:
        tissues, grid = _with_room(tissues, grid)
        tissues = filled_by_invention(tissues, spacing)
    return TissueMap(tissues, grid, name, known.organs, dict(source or {}))


def _merged(numbers: np.ndarray, scheme: Scheme) -> np.ndarray:
    """One label for each tissue but vertebrae: no seams between ribs or lobes, and less work."""
    present = np.unique(numbers).tolist()
    table = np.arange(max(present) + 1, dtype=np.int32)
    first: dict[int, int] = {}
    for label in present:
        if label not in scheme.whole_vertebrae:
            table[label] = first.setdefault(scheme.tissues[label], label)
    return table[numbers]


def _with_room(tissues: np.ndarray, grid: Grid) -> tuple[np.ndarray, Grid]:
    """Wider by what a body may need around the organs of a map that was cut to them."""
    extent = np.argwhere(tissues.any(axis=0))
    (first, last), size = (extent.min(axis=0), extent.max(axis=0)), np.array(tissues.shape[1:])
    wanted = np.ceil(_ROOM_MM / grid.spacing[0]).astype(int)
    before = np.maximum(0, wanted[0] - first)
    after = np.maximum(0, wanted[1] - (size - 1 - last))
    tissues = np.pad(tissues, ((0, 0), *zip(before, after, strict=True)))
    start = (-float(before[1]), -float(before[0]), 0.0)
    return tissues, grid.resampled(tissues.shape[::-1], grid.spacing, start)


def _refuse_elsewhere(labels: Volume, image: Volume, name: str) -> None:
    place = labels.grid.index_to_world(np.argwhere(labels.array > 0)[::97, ::-1])
    index = image.grid.world_to_index(place)
    inside = (index > -1) & (index < np.array(image.grid.stored_shape))
    if inside.all(axis=1).mean() < 0.9:
        raise BadInput(
            f"The CT does not cover what is labelled in {name}.",
            "Give the CT that the label map was drawn on.",
        )


def tissues_of(array: np.ndarray, scheme: str) -> np.ndarray:
    """Tissue numbers of a label map, uint8; as :func:`organ_labels`."""
    known = scheme_of(scheme)
    numbers = whole_numbers(array)
    present = np.unique(numbers).tolist()
    refuse_unknown(present, scheme)
    table = np.zeros(max(present) + 1, dtype=np.uint8)
    for label in present:
        table[label] = known.tissues[label]
    tissues = table[numbers]
    if any(label in known.whole_vertebrae for label in present):
        level = np.where(np.isin(numbers, known.whole_vertebrae), numbers, 0)
        behind = posterior_elements(level, tissues == NUMBER["spinal_cord"])
        tissues[behind] = NUMBER["other_bone"]
    return tissues


def whole_numbers(array: np.ndarray) -> np.ndarray:
    """Labels as an integer array.

    Raises:
        BadInput: other values than whole numbers from 0.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise BadInput(f"A label map holds whole numbers, not {array.dtype}.")
    numbers = array if array.dtype.kind in "iu" else np.rint(np.nan_to_num(array, nan=-1.0))
    if array.dtype.kind == "f" and not np.array_equal(numbers, array):
        raise BadInput(
            "The label map has values between whole numbers: it is an image, or was interpolated.",
            "Give the label map itself; interpolate labels by nearest neighbour.",
        )
    if numbers.min() < 0 or numbers.max() > 65535:
        raise BadInput(
            f"The label map has values from {numbers.min():g} to {numbers.max():g}.",
            "Labels are whole numbers from 0 to 65535.",
        )
    return numbers.astype(np.int32)


def refuse_unknown(labels: Iterable[int], scheme: str) -> None:
    """Refuses labels that a scheme does not have, and says which scheme has them all.

    Raises:
        BadInput: there are such labels.
    """
    labels = set(labels)
    unknown = sorted(labels - set(SCHEMES[scheme].tissues))
    if not unknown:
        return
    others = [name for name, other in SCHEMES.items() if labels <= set(other.tissues)]
    listed = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
    raise BadInput(
        f"The label map has the labels {listed}, which {SCHEMES[scheme].title} does not have.",
        f"Its labels would fit {' or '.join(others)}."
        if others
        else f"Known schemes are {', '.join(SCHEMES)}; renumber the labels to one of them.",
    )
