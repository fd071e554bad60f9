"""The job for one slice of Cartesian k-space: an image, its phase, and the coil maps' support."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mriforge import __version__
from mriforge.errors import BadInput
from mriforge.events import Events, plain
from mriforge.io.atomic import atomic_path
from mriforge.recon.cartesian import reconstruct_cartesian
from mriforge.untrusted.arrays import load_array
from mriforge.volume import Grid, Volume


def read_kspace(path: str) -> np.ndarray:
    """``(C, ny, nx)`` complex64 of a NumPy or BART file.

    Raises:
        BadInput: not such a file, or of other axes.
    """
    if not path.lower().endswith(".npy"):
        from mriforge.io.bart import read_cartesian

        return read_cartesian(path)
    try:
        array = load_array(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as a NumPy array ({error}).") from error
    if array.ndim != 3 or not np.iscomplexobj(array):
        raise BadInput(
            f"{path} is {array.dtype} of shape {array.shape}.",
            "Cartesian k-space of one slice is complex, (coils, y, x).",
        )
    return array.astype(np.complex64)


def reconstruct_cartesian_file(
    path: str, folder: str, *, coil_maps: str, device: torch.device, events: Events
) -> dict[str, Any]:
    """Reads k-space, reconstructs, writes ``image.nii.gz``, ``phase.nii.gz`` and ``recon.json``.

    The files say nothing of the voxel size: it is 1 mm, and the image lies at the origin.
    """
    from mriforge.io import write

    events.progress(0.0, f"reading {path}")
    kspace = torch.from_numpy(read_kspace(path)).to(device)
    image, maps, info = reconstruct_cartesian(
        kspace, coil_maps=coil_maps, events=events.part(0.02, 0.95)
    )
    events.check_cancelled()
    events.progress(0.95, f"writing {folder}")
    about = plain(
        {
            "program": f"MRIForge {__version__}",
            "note": "For research use only. The voxel size is not known.",
            "input": path,
            "coils": maps.shape[0],
            **info,
        }
    )
    grid = Grid((1, *image.shape))
    paths = {"output": Path(folder) / "image.nii.gz", "phase": Path(folder) / "phase.nii.gz"}
    values = image.cpu().numpy()[None]
    write(Volume(np.abs(values), grid, about), paths["output"])
    write(Volume(np.angle(values).astype(np.float32), grid, about), paths["phase"])
    paths["json"] = Path(folder) / "recon.json"
    with atomic_path(paths["json"]) as partial:
        partial.write_text(json.dumps(about, indent=2), encoding="utf-8")
    events.progress(1.0, "done")
    return {**{kind: str(p) for kind, p in paths.items()}, "iterations": info["iterations"]}
