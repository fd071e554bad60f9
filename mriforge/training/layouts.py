"""Public sets of brain images as their owners hand them out, split as the works that used them.

A folder is recognised by its files; what is in none of these layouts needs a manifest.

    HCP   ``<subject>/T1w/T1w_acpc_dc_restore.nii.gz`` or
          ``<subject>/unprocessed/3T/T1w_MPR1/<subject>_3T_T1w_MPR1.nii.gz``
    IXI   ``IXI002-Guys-0828-T2.nii.gz``, in folders or not; each contrast is a domain of its own
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from mriforge.errors import BadInput
from mriforge.training.manifest import Entry

_HCP = ("*/T1w/T1w_acpc_dc_restore.nii.gz", "*/unprocessed/3T/T1w_MPR1/*_3T_T1w_MPR1.nii.gz")
_IXI = re.compile(r"(IXI\d{3})-(\w+)-\d+-(T1|T2|PD|MRA)\.nii(\.gz)?$")
_LICENCES = {"HCP": "WU-Minn HCP Open Access Data Use Terms", "IXI": "CC BY-SA 3.0"}
_VALIDATION = 0.125
"""One of eight: 111 of 780 + 111 subjects (Chen 2021, 3.3.1), the test subjects left out."""
_TEST = 0.2
"""Two tenths of all subjects (evaluation and test) take part in no training."""
_SEED = 2021


def entries_of_folder(folder: Path) -> list[Entry]:
    """Images of a folder in a known layout; test subjects are left out (:func:`test_subjects`).

    Raises:
        BadInput: no layout fits, or there are too few subjects to hold some out.
    """
    found = list(_images(folder))
    if not found:
        raise BadInput(
            f"{folder} has neither the layout of HCP nor that of IXI.",
            "Write a manifest: a CSV or JSON file with path, subject, split and licence.",
        )
    subjects = sorted({subject for _, subject, _, _ in found})
    kept = [subject for subject in subjects if subject not in test_subjects(subjects)]
    held = set(_drawn(kept, max(1, round(_VALIDATION * len(kept)))))
    if len(held) >= len(kept):
        raise BadInput(f"{folder} has too few subjects to train on and to hold some out.")
    return [
        Entry(
            path,
            subject,
            "validation" if subject in held else "train",
            _LICENCES[source],
            contrast,
            ((0, 1),) if source == "IXI" else ((1, 2),),
            contrast,
        )
        for path, subject, source, contrast in found
        if subject in kept
    ]


def test_subjects(subjects: list[str]) -> set[str]:
    """The subjects that no training sees: two tenths, always the same of the same subjects."""
    return set(_drawn(sorted(subjects), round(_TEST * len(subjects))))


def _drawn(subjects: list[str], count: int) -> list[str]:
    return random.Random(_SEED).sample(subjects, count)


def _images(folder: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Path, subject, set and contrast of each image."""
    for pattern in _HCP:
        found = sorted(folder.glob(pattern))
        if found:
            for path in found:
                yield path, path.relative_to(folder).parts[0], "HCP", "T1w"
            return
    for path in sorted(folder.rglob("IXI*.nii*")):
        match = _IXI.match(path.name)
        if match:
            yield path, match[1], "IXI", match[3]
