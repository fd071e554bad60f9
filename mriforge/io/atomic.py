"""Outputs that are whole or not there.

A file or folder is written under a temporary name beside its final one and renamed when it is
complete and on the disk. After an exception nothing is left. A killed process cannot clean up:
what it leaves is hidden, recognisable (``.partial-<host>-<pid>-<name>``) and removed by the next
write of the same name.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import platform
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mriforge.errors import BadInput, Failed, MRIForgeError

_PREFIX = ".partial-"
_REPLACED = ".replaced-"
_STALE_AFTER_S = 24 * 3600.0
_FULL_BELOW_BYTES = 1 << 20
_SWAPS = 50
_CROSSED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EACCES)
# File systems allow 255 bytes; the temporary name has up to 40 more than the final one.
_LONGEST_NAME = 210
_counter = itertools.count()
_active: set[Path] = set()


@contextmanager
def atomic_path(final: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path with the extension of ``final``; it becomes ``final`` at the end.

    Raises:
        BadInput: when ``final`` is a folder or cannot be written.
        Failed: when the disk is full or the file cannot be moved into place.
    """
    final = Path(final)
    check_writable(final)
    if final.is_dir():
        raise BadInput(f"{final} is a folder, not a file.", "Give the name of a file.")
    with _partial(final) as partial:
        yield partial
        if not partial.exists():
            raise Failed(f"Nothing was written for {final}.")
        _flush(partial)
        os.replace(partial, final)
        _flush_folder(final.parent)


@contextmanager
def atomic_directory(final: str | os.PathLike, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary empty folder that becomes ``final`` at the end.

    Args:
        final: the folder to make.
        replace: whether a folder with files in it may be replaced as a whole. Without it such a
            folder is refused, because everything in it would be lost.

    Raises:
        BadInput: when ``final`` is a file or a folder that is not empty.
        Failed: as of :func:`atomic_path`.
    """
    final = Path(final)
    check_writable(final)
    if final.exists() and not final.is_dir():
        raise BadInput(f"{final} is a file, not a folder.", "Give the name of a new folder.")
    if final.is_dir() and not replace and any(final.iterdir()):
        raise BadInput(f"The folder {final} is not empty.", "Give the name of a new folder.")
    with _partial(final) as partial:
        partial.mkdir()
        yield partial
        for path in sorted(partial.rglob("*")):
            if path.is_file():
                _flush(path)
        _flush_folder(partial)
        _swap(partial, final)
        _flush_folder(final.parent)


def check_writable(path: str | os.PathLike) -> None:
    """Refuses an output path that cannot be written, before any work is done.

    Missing parent folders are fine (they are made when the output is written).
    """
    path = Path(path)
    if path.name in ("", ".", ".."):
        raise BadInput(f"{path} is not the name of an output.", "Give a file or folder name.")
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise BadInput(f"The name {path.name:.60}... is too long.", "Choose a shorter name.")
    folder = path.absolute().parent
    try:
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise BadInput(
                f"{path} cannot be written: {folder} is not a folder.", "Choose another place."
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise BadInput(
                f"{path} cannot be written: the folder {folder} is read-only for you.",
                "Choose another place or ask for the right to write there.",
            )
    except OSError as error:
        reason = f"{path} cannot be written ({error.strerror})."
        raise BadInput(reason, "Choose another place.") from error


@contextmanager
def _partial(final: Path) -> Iterator[Path]:
    """Temporary sibling of ``final``: registered, cleaned up, errors in the user's words."""
    final = final.absolute()
    made = _make_parents(final.parent)
    _recover(final)
    _remove_stale(final)
    partial = final.parent / f"{_PREFIX}{_host()}-{os.getpid()}-{next(_counter)}-{final.name}"
    _active.add(partial)
    try:
        yield partial
        made = []
    except MRIForgeError:
        raise
    except OSError as error:
        raise _explain(error, final) from error
    except RuntimeError as error:
        # SimpleITK reports every write error as a RuntimeError without a cause.
        if _disk_full(final.parent):
            raise _full(final) from error
        raise
    finally:
        _remove(partial)
        _active.discard(partial)
        for folder in reversed(made):
            try:
                folder.rmdir()
            except OSError:
                break


def _make_parents(folder: Path) -> list[Path]:
    """Makes ``folder``; returns what was made, outermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _explain(error, folder) from error
    return missing


def _swap(partial: Path, final: Path) -> None:
    """Moves a folder into place; the old one is kept until the new one is there.

    Of processes that replace the same folder at once the last one wins, and each folder that was
    in its place was whole.
    """
    old = final.with_name(f"{_REPLACED}{final.name}")
    for attempt in range(_SWAPS):
        try:
            if final.is_dir():
                _remove(old)
                os.replace(final, old)
            os.replace(partial, final)
            break
        except OSError as error:
            # Another process was between the two lines, too.
            if error.errno not in _CROSSED or not partial.exists() or attempt + 1 == _SWAPS:
                raise
            time.sleep(0.002 * (1 + os.getpid() % 7))
    _remove(old)


def _recover(final: Path) -> None:
    """Brings a folder back whose replacement was killed between the two renames of ``_swap``."""
    old = final.with_name(f"{_REPLACED}{final.name}")
    if old.is_dir() and not final.exists():
        os.replace(old, final)
    _remove(old)


def _remove_stale(final: Path) -> None:
    """Removes what killed processes left of ``final``."""
    for path in final.parent.iterdir():
        fields = path.name.removeprefix(_PREFIX).split("-", 3)
        if not path.name.startswith(_PREFIX) or len(fields) != 4 or fields[3] != final.name:
            continue
        if _is_stale(path, host=fields[0], pid=fields[1]):
            _remove(path)


def _is_stale(path: Path, host: str, pid: str) -> bool:
    if path in _active or not pid.isdigit():
        return False
    if host == _host():
        return int(pid) == os.getpid() or not _alive(int(pid))
    try:
        return time.time() - path.stat().st_mtime > _STALE_AFTER_S
    except OSError:
        return False


def _host() -> str:
    """Short name of this machine for temporary names (folders may be on a network drive)."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _alive(pid: int) -> bool:
    """Whether a process runs. On Windows ``os.kill(pid, 0)`` would interrupt it."""
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        query, still_active = 0x1000, 259
        handle = kernel.OpenProcess(query, False, pid)
        if not handle:
            return False
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == still_active
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        # A leftover that cannot be removed now is removed by the next write of the same name.
        pass


def _flush(path: Path) -> None:
    """Waits until a file is on the disk. Windows wants a writable handle for that."""
    with open(path, "r+b") as handle:
        os.fsync(handle.fileno())


def _flush_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut, where the system can do it."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        # Some network file systems cannot flush a folder; the file itself is flushed.
        pass
    finally:
        os.close(handle)


def _disk_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _FULL_BELOW_BYTES
    except OSError:
        return False


def _full(final: Path) -> Failed:
    return Failed(
        f"The disk is full, {final} was not written.", "Free some space and run it again."
    )


def _explain(error: OSError, final: Path) -> MRIForgeError:
    hidden = error.errno in (errno.EIO, None) and _disk_full(final.parent)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or hidden:
        return _full(final)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Failed(
            f"{final} cannot be written (permission denied).",
            "Close programs that use it, or choose another place.",
        )
    return Failed(f"{final} cannot be written ({error.strerror or error}).", "Try another disk.")
