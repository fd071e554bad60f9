"""How much main memory there is to be had."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

GIB = 2**30


def free_main_memory() -> int:
    """Bytes that this process may still use.

    Limits set for a container (cgroups) count.
    """
    if sys.platform.startswith("linux"):
        free = _linux_available()
        limit = _container_free()
        return free if limit is None else min(free, limit)
    if sys.platform == "win32":
        return _windows_available()
    # macOS compresses and swaps; half of what is built in is what can be had without harm.
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError, AttributeError):
        return 2 * GIB


def _linux_available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _container_free() -> int | None:
    """What the cgroup of this process leaves, or None where no limit is set."""
    root = Path("/sys/fs/cgroup")
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            maximum = int((root / limit).read_text(encoding="ascii"))
            return max(0, maximum - int((root / usage).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        *[(name, ctypes.c_ulonglong) for name in ("total", "available", "page_total", "page")],
        *[(name, ctypes.c_ulonglong) for name in ("virtual_total", "virtual", "extended")],
    ]


def _windows_available() -> int:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return 2 * GIB
    return int(status.available)
