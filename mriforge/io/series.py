"""One entry of the list of series in a DICOM folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SeriesInfo:
    """What a person needs to choose a series.

    Attributes:
        key: what ``read(..., series=key)`` takes; short and unique in the folder.
        uid: SeriesInstanceUID.
        number: series number, or 0.
        description: series description or protocol name.
        modality: ``"MR"``, ``"CT"``, ...
        part: which image of the series, where one holds several kinds: ``"M"`` (magnitude), ...
        files: number of files.
        frames: number of two-dimensional images.
        rows: image height in pixels.
        columns: image width in pixels.
    """

    key: str
    uid: str
    number: int
    description: str
    modality: str
    part: str
    files: int
    frames: int
    rows: int
    columns: int

    def one_line(self) -> str:
        """``3 "T1w" MR, 176 images of 192x192``."""
        part = f" [{self.part}]" if self.part else ""
        name = self.description or "no description"
        count = f"{self.frames} image{'' if self.frames == 1 else 's'}"
        return f'{self.key}: "{name}"{part} {self.modality}, {count} of {self.columns}x{self.rows}'

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
