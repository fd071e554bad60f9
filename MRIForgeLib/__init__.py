"""MRIForge in 3D Slicer: what the modules share, between the MRML scene and the core.

Importing this package imports nothing else.
"""

from __future__ import annotations

import sys


def forget_modules() -> None:
    """Lets the next import execute this library and the core anew, for Slicer's Reload.

    Slicer itself executes only the module's own file again. Objects that exist keep the old code.
    """
    for name in [*sys.modules]:
        if name.split(".")[0] in ("MRIForgeLib", "mriforge"):
            del sys.modules[name]
