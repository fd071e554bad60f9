"""The Python packages that jobs need and Slicer does not bring along.

Nothing is installed before the user asks for a job, and nothing without being asked. What is
missing is read from the packages' metadata: torch is never imported into the application by a
look at whether it is there, because its libraries would then stay loaded and could not be updated.

torch comes through the PyTorch extension, which picks the build for the graphics card. The rest
comes through Slicer's own installer. On a machine without network both come from a folder of
wheels.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

import mriforge
from mriforge.errors import BadInput, Cancelled, Failed, MissingDependency

TORCH = "torch>=2.4"
RAW_DATA = "h5py>=3.10"
"""Needed for the raw data of scanners (ISMRMRD) only."""
REQUIREMENTS = Path(__file__).resolve().parent / "Resources" / "requirements.txt"

# Its file names are longer than Windows allows below Slicer's folder, so that pip fails.
_FIRST_BAD_TORCH_ON_WINDOWS = "2.13"
_SHOWN = ("torch", "numpy", "scipy", "SimpleITK", "nibabel", "safetensors", "psutil")


WHEELS = "MRIFORGE_WHEELS"
"""Environment variable: folder of wheels to install from, on computers without internet."""
CHECKSUMS = "SHA256SUMS"
"""File beside the wheels with their checksums, as ``Testing/dev.py wheelhouse`` writes it."""


class InstallationFailed(Failed):
    """The installer failed.

    Attributes:
        shown: Slicer has already shown a dialog with the installer's log; do not add a second.
    """

    def __init__(self, message: str, hint: str = "", *, shown: bool = False) -> None:
        super().__init__(message, hint)
        self.shown = shown


def missing(more: Sequence[str] = ()) -> list[str]:
    """The requirements that are not met, such as ``"nibabel>=5.2"``; imports none of them.

    Args:
        more: requirements beside those of every job.
    """
    importlib.invalidate_caches()
    return [needed for needed in (TORCH, *_others(), *more) if not _is_met(needed)]


def ensure(
    requester: str,
    interactive: bool,
    wheel_folder: Path | None = None,
    more: Sequence[str] = (),
) -> None:
    """Makes sure that jobs can run; asks and installs if it may.

    Args:
        requester: name of the module that asks, shown in the dialogs.
        interactive: whether dialogs may be shown. Without, nothing is installed.
        wheel_folder: install from the wheels in this folder and contact nobody; default: the
            folder that the environment variable ``MRIFORGE_WHEELS`` names, if it is set.
        more: requirements beside those of every job.

    Raises:
        MissingDependency: something is missing, and what to do about it.
        Cancelled: the user does not want it installed.
        BadInput: ``wheel_folder`` is no folder with wheels, or they are not what its list of
            checksums says.
        InstallationFailed: the installer failed.
    """
    absent = missing(more)
    if not absent:
        return
    if wheel_folder is None and os.environ.get(WHEELS):
        wheel_folder = Path(os.environ[WHEELS])
    # In its testing mode Slicer takes every question as answered with yes.
    if not interactive or slicer.app.testingEnabled():
        raise _by_hand(absent, wheel_folder)
    if wheel_folder is not None:
        _install_from_folder(absent, requester, Path(wheel_folder))
    else:
        if TORCH in absent:
            _install_torch()
        # torch brings some of the others.
        if others := [requirement for requirement in missing(more) if requirement != TORCH]:
            _install(others, requester)
    if absent := missing(more):
        raise MissingDependency(
            _("These Python packages are still missing: {packages}.").format(
                packages=", ".join(absent)
            ),
            _("Restart 3D Slicer and try again."),
        )


def versions_text() -> str:
    """Versions of MRIForge, Slicer, Python and the packages, one line, for logs and reports."""
    slicer_version = getattr(slicer.app, "applicationVersion", "")
    parts = [f"MRIForge {mriforge.__version__}"]
    if slicer_version:
        parts.append(f"Slicer {slicer_version}")
    parts.append(f"Python {platform.python_version()} on {platform.system()}")
    parts += [f"{name} {_version(name) or 'missing'}" for name in _SHOWN]
    return ", ".join(parts)


def _others() -> list[str]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _is_met(requirement: str) -> bool:
    """Whether a package is there, importable by its look, and new enough."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    version = _version(wanted.name)
    if version is None or not wanted.specifier.contains(version, prereleases=True):
        return False
    try:
        found = importlib.util.find_spec(wanted.name)
    except ValueError:  # a half-loaded module
        return False
    # After a removal that failed half-way a folder without code is left; that is no package.
    return found is not None and found.origin is not None


def _version(name: str) -> str | None:
    """Version by the metadata; None if the package or (half installed) its metadata is missing."""
    try:
        return importlib.metadata.version(name) or None
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return None


def _by_hand(absent: list[str], wheel_folder: Path | None) -> MissingDependency:
    """What somebody who cannot be asked has to do."""
    message = _("These Python packages are missing: {packages}.").format(packages=", ".join(absent))
    others = [requirement for requirement in absent if requirement != TORCH]
    if wheel_folder is not None:
        packages, options = absent, f'--no-index --find-links "{wheel_folder}" '
    else:
        packages, options = others, ""
    todo = []
    if TORCH in absent and wheel_folder is None:
        todo.append(
            _("Install the extension PyTorch, restart 3D Slicer, install torch in its module.")
        )
    if packages:
        names = " ".join(f'"{requirement}"' for requirement in packages)
        command = f"PythonSlicer -m pip install {options}{names}"
        todo.append(_("Run: {command}").format(command=command))
    return MissingDependency(message, " ".join(todo))


def _install_torch() -> None:
    """Installs torch by the PyTorch extension, which asks first."""
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise MissingDependency(
            _("There is no current version of PyTorch for Intel Macs."),
            _("On a Mac with Apple silicon, install the arm64 version of 3D Slicer."),
        )
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise MissingDependency(
            _("The extension PyTorch is not installed."),
            _("Install PyTorch in the Extensions Manager, restart 3D Slicer and try again."),
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    # The names of its arguments have changed between its versions.
    known = inspect.signature(logic.installTorch).parameters
    wanted: dict[str, Any] = {
        "askConfirmation": True,
        "torchVersionRequirement": torch_requirement(sys.platform).removeprefix("torch"),
    }
    arguments = {name: value for name, value in wanted.items() if name in known}
    try:
        torch = logic.installTorch(**arguments)
    except (subprocess.CalledProcessError, OSError, ImportError, RuntimeError) as error:
        logging.exception("MRIForge: installing torch failed")
        raise InstallationFailed(
            _("PyTorch could not be installed ({reason}).").format(reason=error),
            _("Look into the Python console. Without network, install from a folder of wheels."),
        ) from error
    if torch is None:
        raise Cancelled(_("PyTorch was not installed, as you wished."))


def torch_requirement(system: str) -> str:
    """The requirement to install, which has an upper end on Windows."""
    return f"{TORCH},<{_FIRST_BAD_TORCH_ON_WINDOWS}" if system == "win32" else TORCH


def _install(requirements: list[str], requester: str) -> None:
    """Installs from the package index by Slicer's installer, which asks first."""
    try:
        import slicer.packaging as packaging
    except ImportError:
        # Slicer 5.10
        _confirm(requirements, requester)
        _pip(slicer.util.pip_install, requirements)
        return
    try:
        packaging.pip_ensure(requirements, requester=requester)
    except subprocess.CalledProcessError as error:
        raise _installer_failed(error, shown=True) from error
    except RuntimeError as error:
        # All that tells a "no" from other trouble; pip_ensure does not translate it.
        if "declined" not in str(error):
            raise InstallationFailed(
                _("The Python packages could not be installed ({reason}).").format(reason=error)
            ) from error
        raise Cancelled(_("The packages were not installed, as you wished.")) from error


def _install_from_folder(requirements: list[str], requester: str, folder: Path) -> None:
    """Installs from wheels in a folder; no network."""
    if not folder.is_dir() or not any(folder.glob("*.whl")):
        raise BadInput(
            _("There are no wheels in {folder}.").format(folder=folder),
            _("Give the folder that holds the .whl files of the packages."),
        )
    _confirm(requirements, requester)
    _compare_checksums(folder)
    wanted = [torch_requirement(sys.platform) if each == TORCH else each for each in requirements]
    # pip_ensure takes requirements only; pip_install passes a list on as pip's own arguments.
    arguments = ["--no-index", "--find-links", str(folder), *wanted]
    try:
        import slicer.packaging as packaging
    except ImportError:
        # Slicer 5.10
        _pip(slicer.util.pip_install, arguments)
        return
    _pip(packaging.pip_install, arguments, shown=True, requester=requester)


def _compare_checksums(folder: Path) -> None:
    """Wheels are code: those that were changed, or damaged on a stick, are not installed.

    A folder without a list of checksums is taken as it is; with one, it has to be whole, and there
    is no wheel beside it.
    """
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            _("The list {file} cannot be read.").format(file=folder / CHECKSUMS),
            _("Copy the folder of wheels again."),
        ) from error
    wanted = {name.strip(): digest for digest, _sep, name in (x.partition("  ") for x in lines)}
    there = {path.name for path in folder.glob("*.whl")}
    wrong = sorted(there ^ set(wanted)) or [
        name for name in sorted(there) if _sha256(folder / name) != wanted[name]
    ]
    if wrong:
        raise BadInput(
            _("The wheels in {folder} are not those of its list of checksums: {names}.").format(
                folder=folder, names=", ".join(wrong[:5])
            ),
            _("Copy the folder again, whole, from where it was made."),
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _confirm(requirements: list[str], requester: str) -> None:
    question = _("These Python packages will be installed into 3D Slicer: {packages}.").format(
        packages=", ".join(requirements)
    )
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=requester):
        raise Cancelled(_("The packages were not installed, as you wished."))


def _pip(install: Any, arguments: list[str], shown: bool = False, **options: Any) -> None:
    try:
        install(arguments, **options)
    except subprocess.CalledProcessError as error:
        raise _installer_failed(error, shown=shown) from error


def _installer_failed(error: subprocess.CalledProcessError, *, shown: bool) -> InstallationFailed:
    logging.error("MRIForge: pip ended with code %s", error.returncode)
    return InstallationFailed(
        _("The Python packages could not be installed."),
        _("The Python console shows the installer's messages."),
        shown=shown,
    )
