"""Stand-in for `slicer.packaging`: what is missing is found out for real, but nothing is fetched.

Only an installation with `--no-index` (from a folder of wheels) is really run; any other raises
CalledProcessError, as pip does on a computer without a network. In testing mode
(`slicer.app.testingEnabled()`) `pip_ensure` installs nothing unless `skip_in_testing=False`.
"""

import importlib
import importlib.metadata
import logging
import shlex
import subprocess
import sys
import tomllib

# Absolute imports: inside this file "packaging" is the distribution of that name.
from packaging.requirements import Requirement

__all__ = [
    "isPipInstallInProgress",
    "load_pyproject_dependencies",
    "load_requirements",
    "pip_check",
    "pip_ensure",
    "pip_install",
    "pip_uninstall",
]


def load_requirements(path):
    """Read the requirements of a file; comments and pip's own options are left out."""
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def load_pyproject_dependencies(path):
    """Read `[project] dependencies`; raises KeyError without a `[project]` table."""
    with open(path, "rb") as file:
        project = tomllib.load(file)["project"]
    return [Requirement(text) for text in project.get("dependencies", [])]


def isPipInstallInProgress():
    """Say whether an installation runs in the background: never, here."""
    return False


def pip_check(req, _seen=None):
    """Say whether all requirements are there, with those of the extras they ask for."""
    seen = set() if _seen is None else _seen
    return all(_satisfied(one, seen) for one in _as_list(req))


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
):
    """Install what is missing, after asking.

    Raises:
        RuntimeError: the user declines.
        subprocess.CalledProcessError: pip fails.
    """
    import slicer

    missing = [one for one in _as_list(requirements) if not pip_check(one)]
    if not missing:
        return None
    names = [str(one) for one in missing]
    if getattr(slicer, "app", None) is None:
        return pip_install(names, constraints=constraints, skip_packages=skip_packages)
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info("testing mode: %s are not installed", ", ".join(names))
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else None
        question = f"{len(names)} Python packages need to be installed. Continue?"
        if not slicer.util.confirmOkCancelDisplay(question, title, detailedText="\n".join(names)):
            raise RuntimeError("User declined package installation")
    return pip_install(
        names,
        constraints=constraints,
        skip_packages=skip_packages,
        show_progress=show_progress,
        requester=requester,
    )


def pip_install(
    requirements,
    constraints=None,
    no_deps_requirements=None,
    skip_packages=None,
    blocking=True,
    show_progress=True,
    requester=None,
    logCallback=None,
    completedCallback=None,
):
    """Run `pip install`; requirements are a command line or a list of its words.

    Raises:
        ValueError: `skip_packages` together with `no_deps_requirements` or without `blocking`.
        subprocess.CalledProcessError: pip fails, or would have to fetch something.
    """
    if skip_packages is not None and (no_deps_requirements is not None or not blocking):
        raise ValueError("skip_packages needs blocking=True and no no_deps_requirements")
    tail = [] if constraints is None else ["-c", str(constraints)]
    try:
        if no_deps_requirements is not None:
            _pip("install", [*_words(no_deps_requirements), "--no-deps", *tail], logCallback)
        _pip("install", [*_words(requirements), *tail], logCallback)
    except subprocess.CalledProcessError as error:
        if blocking or completedCallback is None:
            raise
        completedCallback(error.returncode)
        return None
    if not blocking and completedCallback is not None:
        completedCallback(0)
    return None if skip_packages is None else []


def pip_uninstall(requirements, blocking=True, logCallback=None, completedCallback=None):
    """Refuse: a test does not take packages away from the Python that runs it."""
    raise RuntimeError(f"tests uninstall nothing: {requirements}")


def _pip(command, words, log):
    if "--no-index" not in words:
        raise subprocess.CalledProcessError(1, ["pip", command, *words], "tests fetch nothing")
    args = [sys.executable, "-m", "pip", command, *words]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        (log or logging.info)(line)
    done.check_returncode()
    importlib.invalidate_caches()


def _words(requirements):
    if isinstance(requirements, str):
        return shlex.split(requirements)
    if isinstance(requirements, list):
        return [str(word) for word in requirements]
    raise ValueError("requirements are a string or a list of strings")


def _as_list(requirements):
    if isinstance(requirements, Requirement):
        return [requirements]
    if isinstance(requirements, str):
        whole = ";" in requirements or "@" in requirements
        requirements = [requirements] if whole else requirements.split()
    if not isinstance(requirements, list):
        raise TypeError(f"expected a string, a Requirement or a list, got {type(requirements)}")
    return [Requirement(one) if isinstance(one, str) else one for one in requirements]


def _satisfied(requirement, seen):
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(version, prereleases=True):
        return False
    key = (requirement.name, frozenset(requirement.extras))
    if not requirement.extras or key in seen:
        return True
    seen.add(key)
    needed = map(Requirement, importlib.metadata.requires(requirement.name) or [])
    return all(
        _satisfied(_without_marker(one), seen)
        for one in needed
        if one.marker is not None
        and any(one.marker.evaluate({"extra": extra}) for extra in requirement.extras)
    )


def _without_marker(requirement):
    requirement.marker = None
    return requirement
