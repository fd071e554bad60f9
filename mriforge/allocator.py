"""Settings of a job's process: malloc keeps what is freed, idle threads sleep.

A network's activations are freed and allocated again at every layer. By default glibc returns
blocks of this size to the kernel and faults them in again, page by page, which can cost as much
as the convolutions. Called once by the processes that run jobs, never by an import: it changes
the whole process, and freed memory stays with it.

Idle OpenMP threads spin by default. On a machine that does anything else as well the spinning
takes the processor from the thread that is waited for: measured at twice the time of inference.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

# Numbers from glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_SETTINGS = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**29))
SWITCH = "MRIFORGE_MALLOC"
"""Environment variable; ``default`` leaves the allocator alone."""


def tune() -> bool:
    """Make malloc keep what is freed, and idle threads sleep if torch is not imported yet.

    Returns:
        Whether this system's malloc took the settings: on Linux with glibc only.
    """
    if "torch" not in sys.modules:  # its OpenMP reads the variable once, when it is loaded
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.platform.startswith("linux") or os.environ.get(SWITCH) == "default":
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return all(mallopt(name, value) == 1 for name, value in _SETTINGS)
