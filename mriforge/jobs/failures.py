"""Any exception as one that a user can understand."""

from __future__ import annotations

import errno

from mriforge.errors import (
    Cancelled,
    Failed,
    MissingDependency,
    MRIForgeError,
    OutOfMemory,
)

# Import name -> what to install. Extras are named where the package is one.
_INSTALL = {
    "click": "mriforge[cli]",
    "rich": "mriforge[cli]",
    "matplotlib": "mriforge[report]",
    "bids": "mriforge[cohort]",
    "distributed": "mriforge[dask]",
}
_MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "alloc_failed",
    "bad_alloc",
    "unable to allocate",
)


def understood(error: BaseException) -> MRIForgeError:
    """The error as the user should see it; errors of the family are returned unchanged."""
    if isinstance(error, MRIForgeError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled("The job was cancelled.")
    if is_out_of_memory(error):
        return OutOfMemory(
            "There is not enough memory for this job.",
            "Close other programs, or lower --memory, or use --device cpu.",
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing_package(error.name)
    if isinstance(error, OSError):
        return _from_os_error(error)
    text = " ".join(str(error).split())
    name = type(error).__name__
    return Failed(
        f"Something went wrong inside MRIForge ({name}: {text[:300]})."
        if text
        else f"Something went wrong inside MRIForge ({name}).",
        "Run it again with MRIFORGE_DEBUG=1 and send us what it prints.",
    )


def missing_package(name: str) -> MissingDependency:
    """The error for an optional package that is not installed."""
    package = name.partition(".")[0]
    wanted = _INSTALL.get(package, package)
    return MissingDependency(
        f"The Python package {package} is needed for this and is not installed.",
        f'Install it with: python -m pip install "{wanted}"',
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, numpy or the system had no memory left.

    torch's own exception class has moved between versions and is absent on some devices, so the
    words of the message decide.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return any(words in text for words in _MEMORY_WORDS)


def _from_os_error(error: OSError) -> MRIForgeError:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed(
            f"The disk is full{':' + where if where else ''}.", "Free some space and run it again."
        )
    reason = error.strerror or str(error) or type(error).__name__
    return Failed(f"The file system refused{where}: {reason}.", "Check the folder and your rights.")
