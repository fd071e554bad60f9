"""What a recipe may say about learning how a scanner loses resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class KernelSpec:
    """The downsampling GAN (``task = "kernel"``).

    Attributes:
        crop: side of the crops of sharp images; those of real low-resolution ones are as large as
            what the generator makes of it.
        batch: crops of each kind in a step.
        slices: one game for all slices of a scan, or one for ``each``.
        window, clip: crops are drawn by the magnitude of the gradient, averaged over ``window``
            pixels, not above this percentile of it.
        noise: standard deviation of what is added to both inputs of the judge; bright tissue is 1.
        denoise: strength of the non-local means of the low-resolution images, in standard
            deviations of their noise; 0: off.
        start: what leads the way in the beginning: ``bicubic`` downsampling, or the symmetric
            kernel that fits the ``spectrum`` of both kinds of images best.
        bicubic: weight of the distance from what that makes, in the beginning.
        distance: that distance: mean ``absolute`` or mean ``square`` difference.
        sum_to_one, boundaries: weights of these terms.
        spectrum: weight of the difference of the spectra's logarithms, squared; 0: not looked at.
        centre, sparse: weights of these terms from the moment on when ``bicubic`` is small.
        reached, checks: the weight of the bicubic term starts to decay when the distance was below
            ``reached`` in so many steps in a row,
        every, decay, floor: from then on in every so many steps by this factor, not below
            ``floor``.
        small: the weight of the bicubic term below which ``centre`` and ``sparse`` count.
        best: of the states at the validations, take the one whose images have the spectrum most
            like the real ones'; otherwise the last.
        keep: so many of the taps, the largest, are kept in the end.
    """

    crop: int = 64
    batch: int = 1
    slices: Literal["all", "each"] = "all"
    window: int = 5
    clip: float = 97.0
    noise: float = 1 / 255
    denoise: float = 0.0
    start: Literal["bicubic", "spectrum"] = "bicubic"
    bicubic: float = 5.0
    distance: Literal["absolute", "square"] = "absolute"
    sum_to_one: float = 0.5
    boundaries: float = 0.5
    spectrum: float = 0.0
    centre: float = 1.0
    sparse: float = 5.0
    reached: float = 0.4
    checks: int = 3
    every: int = 200
    decay: float = 0.01
    floor: float = 5e-6
    small: float = 0.005
    best: bool = False
    keep: int = 40
