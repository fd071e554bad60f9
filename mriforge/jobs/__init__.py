"""A job is data: a request that can be written down, checked, sent to another process and run.

The request file::

    {"version": 1, "command": "superres", "options": {"input": "a.nii.gz", "output": "b.nii.gz"},
     "cancel_file": "stop", "time_limit_s": 3600}

(the last two are optional). The command line, the worker, 3D Slicer and batches all make a
:class:`Request` and call :func:`run_request`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Control, Events, plain
from mriforge.jobs.options import parse
from mriforge.jobs.paths import check_paths
from mriforge.untrusted.texts import from_json

REQUEST_VERSION = 1


@dataclass(frozen=True)
class Command:
    """One entry of :data:`COMMANDS`.

    Attributes:
        module: where its ``Options`` dataclass and ``run(options, events) -> dict`` are; imported
            when the command is used. Importing it must be cheap (no torch): heavy things are
            imported by ``run``.
        summary: one line for the overview.
    """

    module: str
    summary: str

    def load(self) -> ModuleType:
        """The command's module, with ``Options`` and ``run``."""
        return import_module(self.module)


COMMANDS: dict[str, Command] = {
    "degrade": Command(
        "mriforge.jobs.degrade", "Make the low-resolution image that a shorter scan would give."
    ),
    "kernel": Command(
        "mriforge.jobs.kernel", "Learn how a scanner loses resolution, from its own images."
    ),
    "superres": Command(
        "mriforge.jobs.superres", "Sharpen a volume or a time series, with a prior scan if given."
    ),
    "selfcheck": Command(
        "mriforge.jobs.selfcheck", "Check a method on your own scan, made coarser once more."
    ),
    "fuse": Command(
        "mriforge.jobs.fuse", "Make one isotropic volume of two or three stacks of thick slices."
    ),
    "finetune": Command("mriforge.jobs.finetune", "Adapt a model to a subject's own sharp scan."),
    "train": Command("mriforge.jobs.train", "Train a model by a recipe."),
    "t1map": Command("mriforge.jobs.t1map", "Map T1 from images, or from a reconstruction."),
    "evaluate": Command("mriforge.jobs.evaluate", "Compare an image with a reference."),
    "recon": Command("mriforge.jobs.recon", "Reconstruct free-breathing MR Multitasking raw data."),
    "frames": Command("mriforge.jobs.frames", "Write a line of a reconstruction's frames."),
    "segment": Command("mriforge.jobs.segment", "Outline ten abdominal organs in MR images."),
    "simulate": Command("mriforge.jobs.simulate", "Simulate a scan whose truth is known."),
    "batch": Command("mriforge.jobs.batch", "Run a job on every row of a table or BIDS folder."),
    "models": Command("mriforge.jobs.models", "List, show, verify, export, add or remove models."),
    "demo": Command("mriforge.jobs.demo", "Run the main job on a real series, in minutes."),
}


@dataclass(frozen=True)
class Request:
    """A job before it runs.

    Attributes:
        command: a name of :data:`COMMANDS`.
        options: the command's options by name, JSON types only.
        cancel_file: the job stops when a file of this name appears.
        time_limit_s: the job is stopped after this time (not a training budget).
    """

    command: str
    options: Mapping[str, Any] = field(default_factory=dict)
    cancel_file: str | None = None
    time_limit_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The request as a JSON object; :meth:`from_json` is its inverse."""
        data = {"version": REQUEST_VERSION, "command": self.command, "options": plain(self.options)}
        if self.cancel_file is not None:
            data["cancel_file"] = str(self.cancel_file)
        if self.time_limit_s is not None:
            data["time_limit_s"] = self.time_limit_s
        return data

    @classmethod
    def from_json(cls, data: Any) -> Request:
        """A request from its JSON object.

        Raises:
            BadInput: not an object of the documented form, or of a newer version.
        """
        if not isinstance(data, dict):
            raise BadInput("A request is a JSON object with 'command' and 'options'.")
        version = data.get("version")
        if version != REQUEST_VERSION or isinstance(version, bool):
            raise BadInput(
                f"The request has version {version!r}; this program knows {REQUEST_VERSION}.",
                "Use the same version of MRIForge on both sides.",
            )
        known = {"version", "command", "options", "cancel_file", "time_limit_s"}
        if unknown := sorted(set(data) - known):
            raise BadInput(f"The request has an unknown entry '{unknown[0]}'.")
        command, options = data.get("command"), data.get("options", {})
        if not isinstance(command, str):
            raise BadInput("The request names no command.")
        if not isinstance(options, dict):
            raise BadInput("The 'options' of a request are a JSON object.")
        cancel_file, limit = data.get("cancel_file"), data.get("time_limit_s")
        if cancel_file is not None and not isinstance(cancel_file, str):
            raise BadInput("The 'cancel_file' of a request is a file name.")
        if cancel_file is not None and not _is_path(cancel_file):
            raise BadInput("The 'cancel_file' of a request is not the name of a file.")
        usual = isinstance(limit, int | float) and not isinstance(limit, bool)
        if limit is not None and not (usual and math.isfinite(limit)):
            raise BadInput("The 'time_limit_s' of a request is a number of seconds.")
        return cls(command, options, cancel_file, limit)

    @classmethod
    def read(cls, path: str | Path) -> Request:
        """The request in a JSON file.

        Raises:
            BadInput: the file cannot be read or is not a request.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise BadInput(f"The request {path} cannot be read ({error.strerror}).") from error
        except UnicodeDecodeError as error:
            raise BadInput(f"The request {path} is not a text file.") from error
        try:
            tree = from_json(text, once=True)
        except ValueError as error:
            raise BadInput(f"The request {path} is not JSON ({error}).") from error
        return cls.from_json(tree)

    def control(self) -> Control:
        """The cancel switch that this request asks for."""
        return Control(self.cancel_file, self.time_limit_s)


def _is_path(text: str) -> bool:
    """Whether a system call can take it."""
    try:
        return b"\0" not in os.fsencode(text) and bool(text)
    except ValueError:
        return False


def command_named(name: str) -> Command:
    """The table entry of a command.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known are {', '.join(COMMANDS)}."
        raise BadInput(f"There is no command '{name}'.", hint)
    return COMMANDS[name]


def check_request(request: Request) -> Any:
    """The request's options, parsed; everything that can be refused before any work is.

    Raises:
        BadInput: unknown command or option, wrong value, missing input, output that cannot be
            written or that is one of the inputs.
    """
    module = command_named(request.command).load()
    options = parse(module.Options, request.options)
    check = getattr(module, "check", None)
    if check is not None:
        check(options)
    check_paths(options)
    return options


def run_request(request: Request, events: Events | None = None) -> dict[str, Any]:
    """Runs a job in this process.

    Returns:
        the result: paths of what was written, and figures (JSON types only).

    Raises:
        MRIForgeError: for everything that a user can understand; other exceptions are bugs.
    """
    events = events or Events(request.control())
    options = check_request(request)
    events.check_cancelled()
    result = command_named(request.command).load().run(options, events)
    return plain(result)
