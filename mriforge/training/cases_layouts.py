"""Folders of labelled data as they come: nnU-Net, AMOS, CHAOS, and our simulated anatomies.

nnU-Net (Isensee et al. 2021), raw data: ``dataset.json``, ``labelsTr/CASE.nii.gz``,
``imagesTr/CASE_0000.nii.gz`` with a file for each channel; its names of labels are compared with
ours. AMOS (Ji et al. 2022): the same without channels, MR from number 501 on, held-out cases in
``imagesVa`` and ``labelsVa``. CHAOS (Kavur et al. 2021): DICOM images, and outlines as pictures,
``MR/PATIENT/T1DUAL/{DICOM_anon/InPhase,DICOM_anon/OutPhase,Ground}`` and
``MR/PATIENT/T2SPIR/{DICOM_anon,Ground}``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.training.cases_manifest import SIMULATED, Case, cases_of_manifest
from mriforge.training.manifest import beside, manifest_rows
from mriforge.untrusted.texts import from_json

ANATOMIES = "anatomies.json"
MANIFESTS = ("cases.json", "cases.csv")
_AMOS_MR = 501
"""AMOS numbers CT scans up to 500 and MR scans from here on."""
_CHAOS_LICENCE = "CC BY-NC-SA 4.0"
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".mgz")
_NAMES = {
    "liver": ("liver", "hepar"),
    "spleen": ("spleen", "lien"),
    "pancreas": ("pancreas",),
    "right_kidney": ("right kidney", "kidney right", "kidney r", "r kidney", "rkidney"),
    "left_kidney": ("left kidney", "kidney left", "kidney l", "l kidney", "lkidney"),
    "stomach": ("stomach", "gaster"),
    "duodenum": ("duodenum",),
    "small_intestine": ("small intestine", "small bowel", "jejunum", "ileum", "jejunum ileum"),
    "spinal_cord": ("spinal cord", "myelon"),
    "vertebrae": ("vertebrae", "vertebra", "vertebral bodies", "vertebral body"),
}
_NO_SIDE = ("kidney", "kidneys", "both kidneys", "kidneys both", "renal")
_ONE_VERTEBRA = re.compile(r"(vertebrae? ?)?[ctl] ?\d{1,2}( vertebra)?")
_LABELS = {name: organ.label for organ in ORGANS for name in _NAMES[organ.key]}


def cases_of_folder(folder: Path) -> list[Case]:
    """The cases of a folder in one of the layouts; files and splits unchecked.

    Raises:
        BadInput: none of them, or one that is damaged.
    """
    for name in MANIFESTS:
        if (folder / name).is_file():
            return cases_of_manifest(folder / name)
    if (folder / ANATOMIES).is_file():
        return _anatomies(folder / ANATOMIES)
    if (folder / "dataset.json").is_file() and (folder / "labelsTr").is_dir():
        return _nnunet(folder)
    patients = _chaos_patients(folder)
    if patients:
        return [case for patient in patients for case in _chaos(patient)]
    raise BadInput(
        f"The folder {folder} holds no labelled cases in a layout that is known.",
        f"Known are {', '.join(MANIFESTS)}, folders of `simulate anatomies`, nnU-Net and AMOS "
        "(dataset.json, imagesTr, labelsTr) and CHAOS (MR/PATIENT/T2SPIR/Ground).",
    )


def _anatomies(index: Path) -> list[Case]:
    """Tissue maps of simulated anatomies."""
    rows = manifest_rows(index, "anatomies", '{"anatomies": [{"path": ..., "subject": ...}, ...]}')
    cases = []
    for number, row in enumerate(rows, 1):
        missing = [key for key in ("path", "subject") if not row.get(key)]
        if missing:
            raise BadInput(f"Anatomy {number} of {index} has no '{missing[0]}'.", "Make it anew.")
        cases.append(
            Case(
                beside(index, str(row["path"])),
                str(row["subject"]),
                str(row.get("split") or ""),
                scheme="tissues",
                licence=str(row.get("licence") or SIMULATED),
                contrast=SIMULATED,
            )
        )
    return cases


def _nnunet(folder: Path) -> list[Case]:
    """nnU-Net's raw data, and AMOS."""
    about = _description(folder / "dataset.json")
    is_amos = "amos" in str(about.get("name", "")).lower() or any(
        _amos_number(path) for path in (folder / "labelsTr").iterdir()
    )
    if is_amos:
        return _amos(folder, about)
    meaning = meanings(about.get("labels"), folder / "dataset.json")
    said = remarks(about["labels"], folder / "dataset.json")
    channels = _channels(about)
    cases = []
    for labels, name in _label_maps(folder / "labelsTr"):
        common = {"meaning": meaning, "licence": _licence(about), "remarks": said}
        for number, contrast in enumerate(channels):
            image = _image(folder / "imagesTr", f"{name}_{number:04d}", name, labels)
            if contrast.lower() == "ct":
                cases.append(Case(labels, name, ct=image, contrast=contrast, **common))
            else:
                cases.append(Case(labels, name, image=image, contrast=contrast, **common))
    return cases


def _description(path: Path) -> dict[str, Any]:
    try:
        about = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} is not valid JSON ({error}).", "Copy the data set again."
        ) from error
    if not isinstance(about, dict):
        raise BadInput(f"{path} does not describe a data set.", "Copy the data set again.")
    return about


def _licence(about: dict[str, Any]) -> str:
    return str(about.get("licence") or about.get("license") or "")


def _channels(about: dict[str, Any]) -> list[str]:
    """Names of the channels of an image, by number."""
    found = about.get("channel_names") or about.get("modality") or {"0": ""}
    if not isinstance(found, dict):
        return [""]
    return [str(found.get(str(number), "")) for number in range(len(found))]


def meanings(names: Any, where: Path) -> tuple[tuple[int, int], ...]:
    """Our label (0: none) of each number, by the names that a data set gives its labels.

    Args:
        names: ``{"liver": 1, ...}`` (nnU-Net 2) or ``{"1": "liver", ...}`` (before).

    Raises:
        BadInput: no such table, regions of several labels, voxels to ignore, none of our organs.
    """
    if not isinstance(names, dict) or not names:
        raise BadInput(f"{where} has no table of labels.", 'Write {"labels": {"liver": 1, ...}}.')
    found = []
    for key, value in names.items():
        name, number = (value, key) if str(key).isdigit() else (key, value)
        if str(name).strip().lower() == "ignore":
            raise BadInput(
                f"{where}: voxels with label {number} are to be ignored, which is not possible.",
                "Leave out cases that are outlined in part.",
            )
        if not str(number).isdigit():
            raise BadInput(
                f"{where}: '{name}' is not one label but {number!r}.",
                "Give each organ one number; regions of several labels are not understood.",
            )
        found.append((int(number), _LABELS.get(_plain(str(name)), 0)))
    if not any(organ for _, organ in found):
        raise BadInput(
            f"{where} names none of the organs.",
            f"They are called {', '.join(organ.title for organ in ORGANS)}.",
        )
    return tuple(sorted(found))


def remarks(names: dict[Any, Any], where: Path) -> tuple[str, ...]:
    """What is done with labels that are almost ours, one sentence each.

    Kidneys without a side count as not outlined: there a network is taught that it sees none of the
    outlined organs, and neither taught nor punished for kidneys. So do single vertebrae. One label
    of all vertebrae is learned as it is outlined.

    Args:
        names: see :func:`meanings`, which does not refuse them.
    """
    given = [str(value if str(key).isdigit() else key) for key, value in names.items()]
    plain = {name: _plain(name) for name in given}
    sideless = [name for name in given if plain[name] in _NO_SIDE]
    single = [name for name in given if _ONE_VERTEBRA.fullmatch(plain[name])]
    whole = [name for name in given if plain[name] in ("vertebra", "vertebrae")]
    found = []
    if sideless:
        found.append(
            f"{where}: {_listed(sideless)} does not say which side, and is not learned as "
            "kidneys: right and left are two organs here. Give each side its own label."
        )
    if single:
        found.append(
            f"{where}: {_listed(single)} is not learned as vertebrae: they are one organ here. "
            "Give the bodies of all one label called 'vertebral bodies'."
        )
    if whole:
        found.append(
            f"{where}: {_listed(whole)} is learned as it is outlined. Only the bodies of vertebrae "
            "are meant here: take arches and processes out of the label if they are in it."
        )
    return tuple(found)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")


def _plain(name: str) -> str:
    """A name without case, punctuation and compounds: ``Kidney_R`` and ``kidneyR`` are the same."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return " ".join(re.findall(r"[a-z0-9]+", spaced.lower()))


def _label_maps(folder: Path) -> Iterator[tuple[Path, str]]:
    """Label maps of a folder and the names of their cases."""
    for path in sorted(folder.iterdir()):
        for ending in _ENDINGS:
            if path.name.lower().endswith(ending) and not path.name.startswith("."):
                yield path, path.name[: -len(ending)]
                break


def _image(folder: Path, name: str, other: str, labels: Path) -> Path:
    """The image called ``name``, or ``other``, with any ending; the likely name if none is."""
    ending = labels.name[len(other) :]
    candidates = [folder / f"{n}{e}" for n in (name, other) for e in (ending, *_ENDINGS)]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _amos_number(path: Path) -> int:
    """Number of a file of AMOS; 0 for other files."""
    match = re.match(r"amos_(\d+)", path.name.lower())
    return int(match[1]) if match else 0


def _amos(folder: Path, about: dict[str, Any]) -> list[Case]:
    """The MR scans of AMOS; its CT scans are left out."""
    cases = []
    for part, split in (("Tr", "train"), ("Va", "validation")):
        if not (folder / f"labels{part}").is_dir():
            continue
        for labels, name in _label_maps(folder / f"labels{part}"):
            if _amos_number(labels) < _AMOS_MR:
                continue
            image = _image(folder / f"images{part}", name, f"{name}_0000", labels)
            cases.append(
                Case(
                    labels,
                    name,
                    split,
                    image,
                    scheme="amos",
                    licence=_licence(about),
                    contrast="MR",
                )
            )
    if not cases:
        raise BadInput(
            f"{folder} holds no MR scans of AMOS, whose numbers are from {_AMOS_MR} on.",
            "To learn from its CT scans, write a manifest with the columns labels, ct, scheme.",
        )
    if {case.split for case in cases} == {"train"}:
        return [dataclasses.replace(case, split="") for case in cases]
    return cases


def _chaos_patients(folder: Path) -> list[Path]:
    """Folders of patients of CHAOS, from the whole data set, ``Train_Sets`` or ``MR``."""
    for start in ("", "MR", "Train_Sets/MR", "CHAOS_Train_Sets/Train_Sets/MR"):
        found = [path.parent.parent for path in (folder / start).glob("*/T[12]*/Ground")]
        if found:
            return sorted(set(found), key=lambda path: (len(path.name), path.name))
    return []


def _chaos(patient: Path) -> Iterator[Case]:
    """Cases of one patient of CHAOS, one for each image."""
    for ground in sorted(patient.glob("T[12]*/Ground")):
        images = ground.parent / "DICOM_anon"
        phases = [images / name for name in ("InPhase", "OutPhase") if (images / name).is_dir()]
        for image in phases or [images]:
            kind = ground.parent.name
            yield Case(
                ground,
                f"CHAOS {patient.name}",
                image=image,
                scheme="chaos_mr",
                licence=_CHAOS_LICENCE,
                contrast=kind if image == images else f"{kind} {image.name}",
            )
