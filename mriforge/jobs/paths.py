"""Inputs that exist, outputs that can be written and that are never an input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.jobs.options import Spec, label, specs

_SIDECARS = {".npy": ".json"}


def check_paths(options: Any) -> None:
    """Refuses missing inputs, unwritable outputs and outputs that would touch an input.

    Raises:
        BadInput: with the name of the file and of the option.
    """
    inputs = list(input_paths(options))
    outputs = list(output_paths(options))
    for name, path in inputs:
        _check_input(name, path)
    for index, (name, path, spec) in enumerate(outputs):
        _check_output(name, path, spec)
        for other, source in inputs:
            _check_apart(path, source, other)
        for other, earlier, _ in outputs[:index]:
            if claims(path) & claims(earlier):
                raise BadInput(
                    f"{name} and {other} would both write {path}.", "Give them different names."
                )


def input_paths(options: Any) -> list[tuple[str, str]]:
    """(label, path) of every input file or folder that is given."""
    found = []
    for name, spec in specs(options).items():
        value = getattr(options, name)
        if spec.kind == "input" and value is not None:
            found.append((label(name, spec), value))
        if spec.kind == "files" and value:
            found.extend((f"{label(name, spec)}, number {n}", p) for n, p in enumerate(value, 1))
        if spec.kind == "inputs" and value:
            found.extend((f"{label(name, spec)} {key}", path) for key, path in value.items())
    return found


def output_paths(options: Any) -> list[tuple[str, str, Spec]]:
    """(label, path, spec) of every output file or folder that is given."""
    found = []
    for name, spec in specs(options).items():
        value = getattr(options, name)
        if spec.kind in ("output", "folder") and value is not None:
            found.append((label(name, spec), value, spec))
    return found


def _check_input(name: str, path: str) -> None:
    try:
        os.stat(path)
    except FileNotFoundError:
        raise BadInput(
            f"There is no file or folder {path} ({name}).", "Check the name and the folder."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path:.200} ({name}) cannot be read ({reason}).") from error
    if not os.access(path, os.R_OK):
        raise BadInput(f"{path} ({name}) cannot be read: you have no right to.")


def _check_output(name: str, path: str, spec: Spec) -> None:
    from mriforge import io

    if spec.kind == "folder":
        if os.path.exists(path) and not os.path.isdir(path):
            raise BadInput(f"{path} ({name}) is a file, not a folder.", "Name a folder.")
        io.check_writable(os.path.join(path, "content"))
        return
    if spec.suffixes:
        if not path.lower().endswith(spec.suffixes):
            raise BadInput(f"{name} {path} must end with {' or '.join(spec.suffixes)}.")
        if os.path.isdir(path):
            raise BadInput(f"{path} ({name}) is a folder, not a file.", "Name a file.")
        io.check_writable(path)
        return
    io.check_output(path)
    if os.path.isdir(path) and os.listdir(path):
        raise BadInput(f"The folder {path} ({name}) is not empty.", "Name a new folder.")


def _check_apart(output: str, source: str, source_name: str) -> None:
    """Refuses the same file under any name (links), and a folder of images inside the input."""
    hint = "Choose another name: inputs are never changed."
    if os.path.exists(output) and os.path.samefile(output, source):
        raise BadInput(f"{output} is also the input ({source_name}).", hint)
    real_output, real_source = Path(output).resolve(), Path(source).resolve()
    if real_output == real_source or (real_source.is_file() and real_source in claims(output)):
        raise BadInput(f"{output} would overwrite the input {source} ({source_name}).", hint)
    in_source = real_source.is_dir() and real_source in real_output.parents
    if in_source and (real_source / "dataset_description.json").is_file():
        # BIDS keeps results there, apart from the images.
        in_source = real_output.relative_to(real_source).parts[0] != "derivatives"
    if in_source and real_output.suffix.lower() in ("", ".dcm"):
        raise BadInput(f"{output} lies inside the input folder {source} ({source_name}).", hint)


def claims(path: str) -> set[Path]:
    """Every file that writing ``path`` writes."""
    real = Path(path).resolve()
    sidecar = _SIDECARS.get(real.suffix.lower())
    return {real, real.with_suffix(sidecar)} if sidecar else {real}
