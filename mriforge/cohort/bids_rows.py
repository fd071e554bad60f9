"""Rows from a BIDS data set: one for each image that the filters leave.

Commands that take several images at once (``fuse``) get one row for each session of a subject.
Other options find their file in the same session by ``bids:``, for example
``prior=bids:suffix=T1w,acquisition=planning``. Entities are named as in the BIDS specification's
long form (``subject``, ``session``, ``acquisition``, ``run``, ``suffix``, ``datatype``); files are
found by pybids.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriforge import __version__
from mriforge.cohort.rows import (
    SEPARATOR,
    Common,
    Row,
    checked_name,
    main_input,
    options_of,
    refuse_problems,
    stem_of,
)
from mriforge.cohort.state import OWN
from mriforge.errors import BadInput, MissingDependency
from mriforge.io.atomic import atomic_path

DESCRIPTION = "dataset_description.json"
_LOOKUP = "bids:"
_ENDINGS = (".nii", ".nii.gz")
_SUFFIXES = {"segment": "dseg", "t1map": "T1map"}
_SESSION = ("subject", "session")


@dataclass(frozen=True)
class BidsImage:
    """An image of the data set with its entities, as texts."""

    path: str
    entities: Mapping[str, str]

    def fits(self, wanted: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether every wanted entity has one of its values; ``01`` and ``1`` are the same run."""
        return all(
            any(_same(self.entities.get(name), value) for value in values)
            for name, values in wanted.items()
        )


def read_dataset(folder: str | Path) -> tuple[list[BidsImage], set[str]]:
    """Every NIfTI image of a data set, sorted by path, and the names of entities.

    Raises:
        BadInput: the folder is not a BIDS data set.
        MissingDependency: pybids is not installed.
    """
    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file():
        raise BadInput(
            f"The folder {folder} is not a BIDS data set: it has no {DESCRIPTION}.",
            "Give a CSV file, or the folder that holds that file.",
        )
    try:
        from bids import BIDSLayout
        from bids.layout import BIDSLayoutIndexer
    except ImportError as error:
        raise MissingDependency(
            "BIDS data sets need pybids, which is not installed.",
            "Install it with: pip install 'mriforge[cohort]', or give a CSV file.",
        ) from error
    # Sidecars are not read: only names count here, and large data sets are indexed in seconds.
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)
    layout = BIDSLayout(folder, validate=False, indexer=indexer)
    images = [
        BidsImage(found.path, {k: str(v) for k, v in found.get_entities().items()})
        for found in layout.get(extension=list(_ENDINGS))
        if not _derived(found.path, folder)
    ]
    known = set(layout.get_entities()) | {name for image in images for name in image.entities}
    return sorted(images, key=lambda image: image.path), known


def rows_of_dataset(
    folder: str | Path, job: str, filters: Mapping[str, str], common: Common, out: Path
) -> list[Row]:
    """The rows of a data set.

    Args:
        job: the command.
        filters: entity -> wanted values, separated by commas.
        common: options of every row; texts may hold entities in braces and ``bids:`` lookups.
        out: the batch's folder; results go there, too, unless ``output`` is set.

    Raises:
        BadInput: no image fits, an unknown entity, a lookup that finds no file or several.
        MissingDependency: pybids is not installed.
    """
    images, known = read_dataset(folder)
    main = main_input(job)
    if main is None:
        raise BadInput(f"'{job}' takes no image.", "Give a CSV file.")
    wanted = parsed_filters(filters, known, "--filter")
    chosen = [image for image in images if image.fits(wanted)]
    if not chosen:
        raise BadInput(
            f"No image of {folder} fits the filters ({len(images)} images).",
            "Loosen --filter; suffixes there are: " + ", ".join(_values(images, "suffix")) + ".",
        )
    option, spec = main
    groups = _sessions(chosen) if spec.kind == "files" else [[image] for image in chosen]
    rows, problems = [], []
    for group in groups:
        shared = dict(group[0].entities) if len(group) == 1 else _shared(group)
        row_id = stem_of(group[0].path) if spec.kind != "files" else _prefix(shared)
        names = {**shared, "id": row_id, "command": job, "stem": stem_of(group[0].path)}
        try:
            texts = {
                name: _found(name, text, job, shared, images, known)
                for name, text in common.texts.items()
            }
            values = Common(texts, common.values, common.base, common.values_base).for_command(
                job, names
            )
            paths = [image.path for image in group]
            values = {option: paths if spec.kind == "files" else paths[0], **values}
            if "output" in options_of(job):
                values.setdefault("output", _derivative(out, shared, job, row_id))
            rows.append(Row(row_id, job, values, row_id))
        except BadInput as error:
            problems.append(f"{row_id}: {error.one_line()}")
    refuse_problems(problems, len(groups))
    return rows


def parsed_filters(
    filters: Mapping[str, str], known: set[str], called: str
) -> dict[str, tuple[str, ...]]:
    """Entity -> values; ``sub-01`` counts as ``01``.

    Raises:
        BadInput: an entity that the data set does not know.
    """
    found = {}
    for name, text in filters.items():
        if name not in known:
            raise BadInput(
                f"{called}: there is no BIDS entity '{name}'.",
                f"Known: {', '.join(sorted(known))}.",
            )
        values = [value.strip() for value in text.split(",")]
        short = {"subject": "sub-", "session": "ses-"}.get(name, "")
        found[name] = tuple(value.removeprefix(short) for value in values)
    return found


def describe_derivatives(out: Path, source: str) -> None:
    """Writes what BIDS asks of a folder of derivatives, unless it is there.

    Args:
        out: the batch's folder; its own files are named in ``.bidsignore``.
        source: the data set.
    """
    path = out / DESCRIPTION
    if path.exists():
        return
    with atomic_path(out / ".bidsignore") as partial:
        partial.write_text("\n".join(OWN) + "\n", encoding="utf-8")
    about = {
        "Name": "Results of MRIForge",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "MRIForge", "Version": __version__}],
        "SourceDatasets": [{"URL": Path(source).resolve().as_uri()}],
    }
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _found(
    name: str,
    text: str,
    job: str,
    shared: Mapping[str, str],
    images: list[BidsImage],
    known: set[str],
) -> str:
    """A ``bids:`` lookup as the path of the one file of the same session that fits."""
    if not text.startswith(_LOOKUP):
        return text
    pairs = _pairs(name, text.removeprefix(_LOOKUP))
    wanted = parsed_filters(pairs, known, f"'{name}'")
    for entity in _SESSION:
        if entity in shared:
            wanted.setdefault(entity, (shared[entity],))
    fitting = [image.path for image in images if image.fits(wanted)]
    spec = options_of(job)[checked_name(name, job, options_of(job))]
    if spec.kind == "files" and fitting:
        return SEPARATOR.join(fitting)
    if len(fitting) != 1:
        many = ", ".join(os.path.basename(path) for path in fitting[:3])
        raise BadInput(
            f"'{name}': {len(fitting) or 'no'} images fit {text}{f' ({many})' if many else ''}.",
            "Name entities that tell them apart.",
        )
    return fitting[0]


def _pairs(name: str, text: str) -> dict[str, str]:
    """``suffix=T1w,acquisition=planning`` by entity."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key.strip() and value.strip() for key, _, value in pairs):
        raise BadInput(f"'{name}' needs bids:ENTITY=VALUE,ENTITY=VALUE, not '{text}'.")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _derivative(out: Path, entities: Mapping[str, str], job: str, stem: str) -> str:
    """``out/sub-01/anat/sub-01_desc-superres_T2w.nii.gz``."""
    folder = out
    for entity, short in zip(_SESSION, ("sub", "ses"), strict=True):
        if entity in entities:
            folder /= f"{short}-{entities[entity]}"
    if "datatype" in entities:
        folder /= entities["datatype"]
    suffix = entities.get("suffix", "")
    stem = stem.removesuffix(f"_{suffix}") if suffix else stem
    suffix = _SUFFIXES.get(job, suffix or "image")
    ending = "" if options_of(job)["output"].kind == "folder" else f"_{suffix}.nii.gz"
    return os.path.abspath(folder / f"{stem}_desc-{job}{ending}")


def _sessions(images: list[BidsImage]) -> list[list[BidsImage]]:
    groups: dict[tuple[str | None, ...], list[BidsImage]] = {}
    for image in images:
        groups.setdefault(tuple(image.entities.get(e) for e in _SESSION), []).append(image)
    return list(groups.values())


def _shared(group: list[BidsImage]) -> dict[str, str]:
    """The entities that all images of a group agree in."""
    first = group[0].entities
    return {k: v for k, v in first.items() if all(i.entities.get(k) == v for i in group)}


def _prefix(entities: Mapping[str, str]) -> str:
    shorts = {"subject": "sub", "session": "ses"}
    return "_".join(f"{shorts[e]}-{entities[e]}" for e in _SESSION if e in entities) or "all"


def _values(images: list[BidsImage], entity: str) -> list[str]:
    return sorted({image.entities.get(entity, "") for image in images} - {""})


def _derived(path: str, folder: Path) -> bool:
    """Whether a file is a result or a source, not raw data of the data set."""
    parts = Path(path).resolve().relative_to(folder.resolve()).parts
    return parts[0] in ("derivatives", "sourcedata", "code")


def _same(found: Any, wanted: str) -> bool:
    if found is None:
        return False
    numbers = found.isdigit() and wanted.isdigit()
    return found == wanted or (numbers and int(found) == int(wanted))
