"""The low-resolution image that a shorter scan would have given."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.physics.downsampling import KernelDownsampling, read_kernel
from mriforge.physics.fermi import Fermi, FermiCrop
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.noise import add_complex_noise, generator
from mriforge.physics.operator import LinearOperator
from mriforge.physics.profiles import read_profile
from mriforge.physics.slices import SliceProfile
from mriforge.physics.solve import Chain
from mriforge.physics.truncation import KspaceZeroFill
from mriforge.volume import Grid, Image, as_series, like_input

_AXIS_NAMES = "ijk"
_SCALE_PERCENTILE = 99.5

_BLOCK_VOXELS = 4_000_000

_SIGNED = 0.01
"""Negative voxels up to this part of the maximum are ringing of an earlier interpolation."""


@dataclass(frozen=True, kw_only=True)
class DegradeOptions:
    """What is lost: some of ``keep`` or ``kernel``, ``slice_thickness`` and ``noise`` are given.

    Attributes:
        keep: fraction of k-space samples kept over ``axes``, in (0, 1].
        kernel: file of a downsampling kernel in place of ``keep``; in plane it acts on ``axes``.
        axes: stored axes (i, j, k = 0, 1, 2) that are truncated; default 0 and 1.
        mode: ``"crop"`` makes fewer, larger voxels; ``"zerofill"`` keeps the matrix.
        fermi: windows the kept k-space.
        slice_thickness: mm.
        slice_gap: mm between slices, negative for overlap; spacing = thickness + gap.
        axis: stored axis that the slices are stacked along.
        profile: ``"gaussian"``, ``"box"`` or a file (see ``physics.profiles.read_profile``).
        noise: standard deviation of the noise in each of the real and imaginary channels, as a
            fraction of the image's 99.5th percentile.
        noise_kind: ``"rician"`` (of a magnitude image) or ``"complex"`` (its real channel:
            Gaussian, can be negative).
        seed: of the noise; the same seed gives the same image on every machine.

    Raises:
        BadInput: impossible or contradictory values.
    """

    keep: float | None = None
    kernel: str | None = None
    axes: tuple[int, ...] = (0, 1)
    mode: str = "crop"
    fermi: bool = False
    slice_thickness: float | None = None
    slice_gap: float = 0.0
    axis: int = 2
    profile: str = "gaussian"
    noise: float = 0.0
    noise_kind: str = "rician"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(self.axes))
        self._check_what()
        self._check_kspace()
        self._check_slices()
        self._check_noise()

    @property
    def _whole_plane(self) -> bool:
        """Nothing is lost in plane."""
        return self.keep is None and self.kernel is None

    def _check_what(self) -> None:
        if self._whole_plane and self.slice_thickness is None and self.noise == 0:
            raise BadInput(
                "Nothing is to be degraded.",
                "Give the fraction of k-space to keep, a kernel, a slice thickness, or noise.",
            )
        if self.keep is not None and self.kernel is not None:
            raise BadInput(
                "A kernel and truncated k-space both say how resolution is lost.", "Give one."
            )
        if self.keep is None and (self.fermi or self.mode != "crop"):
            raise BadInput(
                "A Fermi window or zero-filling needs truncated k-space.",
                "Give the fraction of k-space to keep as well.",
            )
        if self.slice_thickness is None and (self.slice_gap != 0 or self.profile != "gaussian"):
            raise BadInput(
                "A slice gap or profile needs thick slices.", "Give the slice thickness as well."
            )

    def _check_kspace(self) -> None:
        if self.keep is not None and not 0 < self.keep <= 1:
            raise BadInput(
                f"The kept fraction of k-space is above 0 and at most 1, not {self.keep:g}.",
                "6.25 % is 0.0625.",
            )
        if not self.axes or len(set(self.axes)) != len(self.axes) or not _are_axes(self.axes):
            raise BadInput(
                f"The axes {self.axes} are not some of 0, 1, 2 (i, j, k as stored).",
                "For example 0,1 for the in-plane axes.",
            )
        if self.mode not in ("crop", "zerofill"):
            raise BadInput(f"The mode is crop or zerofill, not '{self.mode}'.")

    def _check_slices(self) -> None:
        if not _are_axes((self.axis,)):
            raise BadInput(f"The slice axis is 0, 1 or 2 (i, j, k as stored), not {self.axis}.")
        if self.slice_thickness is None:
            return
        if not (math.isfinite(self.slice_thickness) and self.slice_thickness > 0):
            raise BadInput(
                f"The slice thickness is a positive number of mm, not {self.slice_thickness:g}."
            )
        if not (math.isfinite(self.slice_gap) and self.slice_thickness + self.slice_gap > 0):
            raise BadInput(
                f"Slices of {self.slice_thickness:g} mm with a gap of {self.slice_gap:g} mm do "
                "not advance.",
                "An overlap (negative gap) is smaller than the thickness.",
            )
        if not self._whole_plane and self.axis in self.axes:
            raise BadInput(
                f"Axis {self.axis} cannot be both truncated in plane and cut into slices.",
                "Choose other axes or another slice axis.",
            )

    def _check_noise(self) -> None:
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise BadInput(f"The noise is a fraction of the signal, 0 or more, not {self.noise:g}.")
        if self.noise_kind not in ("rician", "complex"):
            raise BadInput(f"The noise is rician or complex, not '{self.noise_kind}'.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise BadInput(f"The seed is a whole number of 0 or more, not {self.seed}.")


def _are_axes(axes: tuple[Any, ...]) -> bool:
    return all(isinstance(a, int) and not isinstance(a, bool) and a in (0, 1, 2) for a in axes)


def make_operators(
    grid: Grid, options: DegradeOptions
) -> tuple[SliceProfile | None, LinearOperator | None]:
    """The slice operator and, on its grid, the k-space operator; None where not asked for.

    Raises:
        BadInput: the image is too small for what is asked.
    """
    slices = kspace = None
    if options.slice_thickness is not None:
        profile = options.profile
        if profile not in ("gaussian", "box"):
            if not Path(profile).is_file():
                raise BadInput(
                    f"There is no slice profile {profile}.", "Give gaussian, box or a file."
                )
            profile = read_profile(profile, grid.spacing[options.axis])
        slices = SliceProfile(
            grid, options.slice_thickness, options.slice_gap, options.axis, profile
        )
    plane = grid if slices is None else slices.low
    if options.kernel is not None:
        kspace = _kernel_operator(plane, options)
    elif options.keep is not None:
        kspace = _kspace_operator(plane, options)
    return slices, kspace


def _kernel_operator(grid: Grid, options: DegradeOptions) -> KernelDownsampling:
    kernel = read_kernel(options.kernel)
    if kernel.taps.ndim == 3 and options.slice_thickness is not None:
        raise BadInput(
            f"The kernel {options.kernel} acts across the slices as well.",
            "Leave out the slice thickness.",
        )
    return KernelDownsampling(grid, kernel, options.axes)


def _kspace_operator(grid: Grid, options: DegradeOptions) -> LinearOperator:
    for axis in options.axes:
        if grid.stored_shape[axis] == 1 and options.keep < 1:
            raise BadInput(
                f"Axis {axis} ({_AXIS_NAMES[axis]}) has a single voxel and cannot be truncated.",
                "Leave it out of the axes.",
            )
    low_shape = KspaceCrop.from_fraction(grid, options.keep, options.axes).low.stored_shape
    if options.mode == "zerofill":
        return KspaceZeroFill(grid, low_shape, Fermi() if options.fermi else None)
    return FermiCrop(grid, low_shape) if options.fermi else KspaceCrop(grid, low_shape)


def acquisition(grid: Grid, options: DegradeOptions) -> LinearOperator | None:
    """The whole acquisition of ``options`` as one operator; None for noise alone."""
    slices, kspace = make_operators(grid, options)
    if slices is not None and kspace is not None:
        return Chain(slices, kspace)
    return kspace if slices is None else slices


def degrade(image: Image, options: DegradeOptions, events: Events | None = None) -> Image:
    """The image that the shorter scan would have given.

    A magnitude image gives the magnitude of the complex truncated image; an image with clearly
    negative voxels (CT, a subtraction, a phase) is none, and gives the real part. Frames are
    processed one by one. The input is not modified.

    Args:
        image: any real dtype; finite.
        options: what is lost.
        events: listens, and may cancel between frames.

    Returns:
        float32 on the low-resolution grid, with ``metadata["provenance"]``.

    Raises:
        BadInput: an image that is not finite, or too small for what is asked.
    """
    events = events or Events()
    series = as_series(image)
    slices, kspace = make_operators(series.grid, options)
    low = next((op.low for op in (kspace, slices) if op is not None), series.grid)
    signed = _is_signed(series.array)
    real = signed or (options.noise > 0 and options.noise_kind == "complex")
    sd = options.noise * _bright(series.array) if options.noise > 0 else 0.0
    result = np.empty((len(series), *low.shape), dtype=np.float32)
    for index, frame in enumerate(series.array):
        events.check_cancelled()
        sharp = torch.from_numpy(np.array(frame, dtype=np.float32))
        if slices is not None:
            sharp = slices.A(sharp)
        random = generator(options.seed, index)
        for start, stop in _blocks(sharp, kspace):
            acquired: Tensor = sharp[start:stop]
            if kspace is not None:
                acquired = kspace.A_complex(acquired)
            if sd > 0:
                acquired = add_complex_noise(acquired, sd, random)
            if acquired.is_complex():
                acquired = acquired.real if real else acquired.abs()
            result[index, start : start + acquired.shape[0]] = acquired.numpy()
        events.progress((index + 1) / len(series), f"frame {index + 1} of {len(series)}")
    provenance = _provenance(options, slices, kspace, "real" if real else "magnitude")
    if sd > 0:
        provenance["noise_sd"] = sd
    metadata = {**series.metadata, **_describe(series.metadata, provenance, options)}
    return like_input(replace(series, array=result, grid=low, metadata=metadata), image)


def _blocks(sharp: Tensor, kspace: LinearOperator | None) -> list[tuple[int, int]]:
    """Slabs that a k-space operator may do one by one: complex copies are eight times larger."""
    depth = sharp.shape[0]
    if kspace is not None and -3 in kspace.axes:
        return [(0, depth)]
    step = max(1, _BLOCK_VOXELS // max(1, sharp[0].numel()))
    return [(start, min(start + step, depth)) for start in range(0, depth, step)]


def _is_signed(array: np.ndarray) -> bool:
    """Whether the voxels are no magnitudes; a frame at a time, refuses what is not finite."""
    least, most = math.inf, -math.inf
    for frame in array:
        low, high = float(frame.min()), float(frame.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise BadInput(
                "The image has voxels that are not numbers (NaN) or infinite.",
                "Replace them before degrading it.",
            )
        least, most = min(least, low), max(most, high)
    return least < -_SIGNED * max(most, 0.0)


def _bright(array: np.ndarray) -> float:
    """The intensity that noise is relative to: that of the brightest frame."""
    return max(
        float(np.percentile(np.abs(frame.astype(np.float32)), _SCALE_PERCENTILE)) for frame in array
    )


def _provenance(
    options: DegradeOptions,
    slices: SliceProfile | None,
    kspace: LinearOperator | None,
    output: str,
) -> dict[str, Any]:
    names = [
        name
        for name, used in (
            ("slice_profile", slices is not None),
            ("kernel", options.kernel is not None),
            (f"kspace_{options.mode}", options.keep is not None),
            ("fermi_window", options.fermi),
            (f"{options.noise_kind}_noise", options.noise > 0),
        )
        if used
    ]
    settings = {**asdict(options), "axes": list(options.axes)}
    if kspace is not None:
        kept = getattr(kspace, "kept_shape", kspace.low.stored_shape)
        settings["kept_matrix"] = [int(n) for n in kept]
    if options.kernel is not None:
        settings["kernel_taps"] = kspace.kernel.taps.tolist()
        settings["kernel_ratio"] = list(kspace.kernel.ratio)
    return {"operation": "degrade", "operator": "+".join(names), "output": output, **settings}


def _describe(
    metadata: dict[str, Any], provenance: dict[str, Any], options: DegradeOptions
) -> dict[str, Any]:
    if metadata.get("provenance"):
        provenance["of"] = metadata["provenance"]
    described: dict[str, Any] = {"provenance": provenance}
    if options.slice_thickness is not None:
        described["slice_thickness_mm"] = options.slice_thickness
    return described
