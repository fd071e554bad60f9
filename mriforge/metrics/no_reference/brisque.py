"""BRISQUE by OpenCV, for those who have it and the published weights.

Mittal, Moorthy, Bovik 2012 (IEEE TIP 21:4695): 36 statistics of the MSCN coefficients at two
resolutions, and a support vector regression learnt from what people thought of distorted
photographs (the LIVE database). The regression is OpenCV's (package ``opencv-contrib-python``,
module ``quality``); its two files, ``brisque_model_live.yml`` and ``brisque_range_live.yml``, lie
in the samples of that module and are not part of the package. 0 is best, 100 worst. People judged
photographs: on MR images the score orders little, Chen 2021 (table 5-1) finds 45.6 for the original
and 45.3 for its interpolation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput, MissingDependency
from mriforge.metrics.no_reference.mscn import as_images

FILES = ("brisque_model_live.yml", "brisque_range_live.yml")


class Brisque:
    """The regression, ready to judge slices.

    Args:
        folder: where the two published files lie.

    Raises:
        MissingDependency: OpenCV with its extra modules is not installed.
        BadInput: the files are not there, or OpenCV cannot read them.
    """

    def __init__(self, folder: str | Path) -> None:
        paths = [Path(folder) / name for name in FILES]
        for path in paths:
            if not path.is_file():
                raise BadInput(
                    f"{path} is not there; BRISQUE needs its published weights.",
                    f"Put {FILES[0]} and {FILES[1]} of OpenCV's module 'quality' into one folder.",
                )
        cv2 = _opencv()
        try:
            self._judge = cv2.quality.QualityBRISQUE_create(*map(str, paths))
        except cv2.error as error:
            raise BadInput(
                f"{folder} holds no BRISQUE weights that OpenCV can read.", "Copy them again."
            ) from error

    def __call__(self, image: np.ndarray) -> float:
        """The score of one slice ``(rows, columns)``, bright tissue 255; values are clipped.

        Returns:
            0 to 100; not a number where the slice is constant.
        """
        image = np.clip(np.rint(as_images(image, smallest=16)[0]), 0, 255).astype(np.uint8)
        if image.min() == image.max():
            return float("nan")
        return float(self._judge.compute(image)[0])


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise _missing() from error
    if not hasattr(cv2, "quality"):  # OpenCV without its extra modules
        raise _missing()
    return cv2


def _missing() -> MissingDependency:
    return MissingDependency(
        "BRISQUE needs OpenCV with its extra modules, which is not installed.",
        "Install it with: pip install opencv-contrib-python-headless  (in place of other OpenCVs).",
    )
