"""Videos as stacks of grey frames: for learning what lies between neighbouring images.

A video file, or a folder of frames as PNG or JPEG (one sequence of REDS). The frames become 90 x
160 pixels as in Wang et al. 2024, whatever their size was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput, MissingDependency
from mriforge.volume import Grid, Volume

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
PICTURES = (".png", ".jpg", ".jpeg")
FRAME = (90, 160)
MOST_FRAMES = 5000
"""Frames that are read of one video: 0.3 GB in memory."""


def is_video(path: Path) -> bool:
    """Whether ``path`` is a video file, or a folder of numbered frames."""
    if path.is_dir():
        return any(_frames_of(path))
    return path.suffix.lower() in VIDEOS


def read_video(path: Path, size: tuple[int, int] = FRAME, most: int = MOST_FRAMES) -> Volume:
    """Grey frames, area-averaged to ``size`` (height, width): ``(frames, height, width)``, uint8.

    Args:
        most: the frames after these are left out.

    Raises:
        MissingDependency: PyAV is not installed.
        BadInput: not a video, or fewer than two frames.
    """
    av = _av()
    files = list(_frames_of(path)) if path.is_dir() else [path]
    frames: list[np.ndarray] = []
    try:
        for file in files:
            with av.open(str(file)) as container:
                for frame in container.decode(video=0):
                    grey = frame.reformat(size[1], size[0], "gray", interpolation="AREA")
                    frames.append(grey.to_ndarray())
                    if len(frames) >= most:
                        break
            if len(frames) >= most:
                break
    except (av.error.FFmpegError, IndexError) as error:
        raise BadInput(
            f"{file} cannot be read as a video ({error}).", "Convert it, for example to MP4."
        ) from error
    if len(frames) < 2:
        raise BadInput(f"{path} has {len(frames)} frames.", "Give a video of several frames.")
    array = np.stack(frames)
    return Volume(array, Grid(array.shape))


def _frames_of(folder: Path) -> Iterator[Path]:
    """Pictures of a folder in the order of their names."""
    return iter(sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES))


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependency(
            "Reading a video needs PyAV, which is not installed.",
            "Install it with: pip install 'mriforge[video]'  (or: pip install av).",
        ) from error
    return av
