"""What a row's result depends on: the content of its files, its settings, its models.

Content is told by SHA-256. A file whose size and time of change are those of the last look is not
read again, as in git; one that was changed within two seconds of the look is, since its time could
not tell another change.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mriforge.cohort.rows import is_place
from mriforge.events import plain
from mriforge.io.formats import suffix
from mriforge.jobs.needs import models_of
from mriforge.jobs.options import specs
from mriforge.jobs.paths import input_paths, output_paths
from mriforge.models.store import file_sha256

Content = dict[str, Any]
"""``sha256``, and the ``size`` and ``mtime_ns`` that it was found at; JSON types."""

_RACY_NS = 2_000_000_000
_ELSEWHERE = ("device", "memory")
"""Options that say where a job runs, not what comes out."""
_BESIDE = (".json", ".img", ".hdr", ".raw", ".zraw", ".cfl", ".bvec", ".bval")
"""Endings of files that belong to an image of the same name."""


def settings_of(options: Any) -> dict[str, Any]:
    """Options that decide what comes out, defaults included, JSON types."""
    return {k: plain(v) for k, v in vars(options).items() if k not in _ELSEWHERE}


def files_of(command: str, options: Any) -> list[str]:
    """Every file or folder that a job reads: inputs, what lies beside them, its models.

    Raises:
        MissingModel: a model that it needs is not there.
    """
    outputs = {os.path.realpath(path) for _, path, _ in output_paths(options)}
    found = [path for _, path in input_paths(options)]
    for name, spec in specs(options).items():
        value = getattr(options, name)
        if is_place(spec) and isinstance(value, str) and os.path.isfile(value):
            found.append(value)
    for path in list(found):
        found += [near for near in _beside(path) if os.path.realpath(near) not in outputs]
    for model in models_of(command, options):
        found += [str(model.weights), str(model.path / "card.json")]
    return list(dict.fromkeys(os.path.abspath(path) for path in found))


def content_of(path: str, known: Mapping[str, Any] | None = None) -> Content:
    """What a file or folder holds.

    Args:
        known: of an earlier look; believed when size and time of change are still the same.

    Raises:
        OSError: it cannot be read.
    """
    now = time.time_ns()
    if os.path.isdir(path):
        return _of_folder(path, known, now)
    stat = os.stat(path)
    seen = {"size": stat.st_size, "mtime_ns": _settled(stat.st_mtime_ns, now)}
    if known and _looks_same(known, stat.st_size, stat.st_mtime_ns):
        return {**seen, "sha256": known["sha256"]}
    return {**seen, "sha256": file_sha256(Path(path))}


def differs(path: str, known: Mapping[str, Any] | None) -> bool:
    """Whether a file or folder holds something else than when it was known, or is gone."""
    if known is None:
        return True
    try:
        return content_of(path, known)["sha256"] != known.get("sha256")
    except OSError:
        return True


def _of_folder(path: str, known: Mapping[str, Any] | None, now: int) -> Content:
    """A folder by the names and the contents of all its files."""
    files = sorted(p for p in Path(path).rglob("*") if p.is_file())
    stats = [p.stat() for p in files]
    names = [p.relative_to(path).as_posix() for p in files]
    size = sum(s.st_size for s in stats)
    looks = [f"{n}\0{s.st_size}\0{s.st_mtime_ns}" for n, s in zip(names, stats, strict=True)]
    listing = hashlib.sha256("\n".join(looks).encode()).hexdigest()
    newest = max((s.st_mtime_ns for s in stats), default=1)
    seen = {"size": size, "mtime_ns": _settled(newest, now), "listing": listing}
    if known and known.get("listing") == listing and _looks_same(known, size, newest):
        return {**seen, "sha256": known["sha256"]}
    whole = hashlib.sha256()
    for file, name in zip(files, names, strict=True):
        whole.update(f"{name}\0{file_sha256(file)}\n".encode())
    return {**seen, "sha256": whole.hexdigest()}


def _settled(mtime_ns: int, now_ns: int) -> int:
    """The time of change, or 0 where it is too young to tell a later change."""
    return mtime_ns if now_ns - mtime_ns > _RACY_NS else 0


def _looks_same(known: Mapping[str, Any], size: int, mtime_ns: int) -> bool:
    return bool(known.get("mtime_ns")) and (known["size"], known["mtime_ns"]) == (size, mtime_ns)


def _beside(path: str) -> list[str]:
    if os.path.isdir(path):
        return []
    ending = suffix(path)
    stem = path[: len(path) - len(ending)] if ending else path
    return [stem + near for near in _BESIDE if near != ending and os.path.isfile(stem + near)]
