"""A scanner's own loss of resolution as a kernel: what it is, its file, and its operator.

The kernel is the response to an impulse on the high-resolution grid, its middle tap where the
impulse is. Low-resolution samples lie on high-resolution ones, where truncated k-space puts them
(:mod:`mriforge.physics.kspace`): sample ``j`` of ``n`` at ``(j - n // 2) ratio + N // 2`` of ``N``.
Images continue periodically, as they do for truncated k-space.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.physics.operator import LinearOperator
from mriforge.physics.solve import cgls
from mriforge.untrusted.texts import from_json
from mriforge.volume import Grid

FORMAT = "mriforge-kernel-1"
WELL_MEASURED = 0.1
"""Frequencies measured weaker than this part of the strongest, for those who want no noise back."""
_HINT = "Make one with 'mriforge kernel', or see Docs/command-line.md for its form."


@dataclass(frozen=True)
class DownsamplingKernel:
    """How images lose resolution: taps and how far apart the samples are that are kept.

    Attributes:
        taps: ``(y, x)`` or ``(z, y, x)``, odd lengths, sum 1 (they are divided by it).
        ratio: per axis of ``taps``, whole numbers.
        spacing: of the high-resolution pixels in mm, per axis of ``taps``; empty: not known.
        provenance: where it is from, JSON.

    Raises:
        BadInput: no kernel.
    """

    taps: np.ndarray
    ratio: tuple[int, ...] = (2, 2)
    spacing: tuple[float, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taps = np.asarray(self.taps, dtype=float)
        if taps.ndim not in (2, 3) or any(n % 2 == 0 for n in taps.shape):
            raise BadInput(
                f"A kernel of {'x'.join(map(str, taps.shape))} taps has no middle.",
                "It has two or three axes of odd length.",
            )
        if not np.isfinite(taps).all() or not taps.sum() > 1e-6 * np.abs(taps).sum() > 0:
            raise BadInput("The taps of the kernel do not add up to a positive number.", _HINT)
        ratio, spacing = tuple(self.ratio), tuple(float(s) for s in self.spacing)
        if len(ratio) != taps.ndim or any(r != int(r) or r < 1 for r in ratio):
            raise BadInput(
                f"The ratio {list(ratio)} does not fit a kernel of {taps.ndim} axes.",
                "Give a whole number of 1 or more for each axis.",
            )
        if spacing and (len(spacing) != taps.ndim or any(not 0 < s < math.inf for s in spacing)):
            raise BadInput(f"The kernel's pixel size {list(spacing)} mm is not usable.")
        object.__setattr__(self, "taps", taps / taps.sum())
        object.__setattr__(self, "ratio", tuple(int(r) for r in ratio))
        object.__setattr__(self, "spacing", spacing)

    @property
    def centre_of_mass(self) -> np.ndarray:
        """Distance of the centre of mass from the middle tap, in taps, per axis."""
        places = np.indices(self.taps.shape).reshape(self.taps.ndim, -1)
        return places @ self.taps.ravel() - (np.array(self.taps.shape) - 1) / 2

    def across(self) -> tuple[np.ndarray, float]:
        """Weights along the axis of the largest ratio, and the pixel size along it in mm.

        Raises:
            BadInput: an in-plane kernel of one ratio, or one whose pixel size is not known.
        """
        ratios, last = self.ratio, len(self.ratio) - 1
        if len(set(ratios)) == 1 and last == 1:
            raise BadInput(
                "The kernel is one in plane: it says nothing about slices.",
                "Learn one across the slices, or give the weights of a slice profile.",
            )
        if not self.spacing:
            raise BadInput("The kernel's file does not say how large its pixels are.", _HINT)
        axis = int(np.argmax(ratios))
        others = tuple(a for a in range(last + 1) if a != axis)
        # A profile is read along the axis, a response against it.
        return np.flip(self.taps.sum(axis=others)), self.spacing[axis]

    def to_json(self) -> str:
        """Text of a kernel file."""
        tree = {
            "format": FORMAT,
            "ratio": list(self.ratio),
            "spacing_mm": list(self.spacing),
            "taps": [[round(float(v), 9) for v in row] for row in self.taps]
            if self.taps.ndim == 2
            else np.round(self.taps, 9).tolist(),
            "provenance": self.provenance,
        }
        return json.dumps(tree, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_tree(cls, tree: Any) -> DownsamplingKernel:
        """The inverse of :meth:`to_json`, from what it was parsed to.

        Raises:
            BadInput: not a kernel.
        """
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise BadInput("This is not a downsampling kernel.", _HINT)
        try:
            taps = np.asarray(tree["taps"], dtype=float)
            ratio, spacing = tuple(tree["ratio"]), tuple(tree.get("spacing_mm") or ())
            provenance = dict(tree.get("provenance") or {})
            return cls(taps, ratio, spacing, provenance)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput("The kernel's entries are not numbers as they should be.", _HINT) from (
                error
            )


def read_kernel(path: str | Path) -> DownsamplingKernel:
    """The kernel in a file.

    Raises:
        BadInput: there is none, or it holds something else.
    """
    try:
        tree = from_json(Path(path).read_bytes(), once=True)
    except FileNotFoundError:
        raise BadInput(f"There is no downsampling kernel {path}.", "Check the name.") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is not a downsampling kernel.", _HINT) from error
    try:
        return DownsamplingKernel.from_tree(tree)
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", error.hint) from error


def gaussian_kernel(
    sigma: float | tuple[float, ...],
    ratio: tuple[int, ...] = (2, 2),
    size: int = 13,
    angle: float = 0.0,
) -> DownsamplingKernel:
    """A sampled Gaussian.

    Args:
        sigma: standard deviation in high-resolution pixels, of all axes or of each.
        ratio: see :class:`DownsamplingKernel`.
        size: taps along each axis.
        angle: rad by which the last two axes are turned.
    """
    count = len(ratio)
    widths = (sigma,) * count if isinstance(sigma, int | float) else tuple(sigma)
    at = list(np.indices((size,) * count) - (size - 1) / 2)
    along, aside = at[-1], at[-2]
    at[-1] = math.cos(angle) * along + math.sin(angle) * aside
    at[-2] = math.cos(angle) * aside - math.sin(angle) * along
    square = sum((x / s) ** 2 for x, s in zip(at, widths, strict=True))
    return DownsamplingKernel(np.exp(-0.5 * square), ratio)


class KernelDownsampling(LinearOperator):
    """Blur with a kernel, then take every ``ratio``-th sample.

    Args:
        high: grid of the sharp image.
        kernel: in plane, or in 3-D.
        axes: stored axes that a kernel in plane acts on: its columns on the first of them, its rows
            on the second. A kernel in 3-D acts on i, j, k.
        condition: frequencies measured weaker than this part of the strongest one are treated as
            not measured by :meth:`A_dagger`.

    Raises:
        BadInput: the image is too small for the ratio, or the axes are no two of three.
    """

    def __init__(
        self,
        high: Grid,
        kernel: DownsamplingKernel,
        axes: tuple[int, ...] = (0, 1),
        condition: float = 1e-3,
    ) -> None:
        stored = (0, 1, 2) if kernel.taps.ndim == 3 else tuple(sorted(axes))
        if len(set(stored)) != kernel.taps.ndim or not set(stored) <= {0, 1, 2}:
            raise BadInput(
                f"A kernel in plane acts on two of the axes 0, 1, 2, not on {list(axes)}.",
                "For example 0,1.",
            )
        self.high, self.kernel, self.stored = high, kernel, stored
        self.axes = tuple(-1 - a for a in stored)
        # The kernel's axes are in array order: the last one belongs to the first stored axis.
        self._ratio = dict(zip(self.axes, reversed(kernel.ratio), strict=True))
        self._start: dict[int, int] = {}
        self.low = self._low_grid()
        self._condition = condition
        self._response = self._spectrum()

    def _low_grid(self) -> Grid:
        shape, spacing, first = list(self.high.stored_shape), list(self.high.spacing), [0.0] * 3
        for axis, ratio in self._ratio.items():
            stored, size = -1 - axis, self.high.shape[axis]
            if size < ratio:
                raise BadInput(
                    f"An axis of {size} voxels cannot be downsampled by {ratio}.",
                    "The ratio is at most the number of voxels.",
                )
            shape[stored] = size // ratio
            self._start[axis] = size // 2 - (shape[stored] // 2) * ratio
            spacing[stored] *= ratio
            first[stored] = float(self._start[axis])
        return self.high.resampled(tuple(shape), tuple(spacing), tuple(first))

    def _spectrum(self) -> Tensor:
        """Transform of the kernel on the image's own grid; folded where the image is smaller."""
        dims = sorted(self.axes)
        sizes = [self.high.shape[axis] for axis in dims]
        folded = np.zeros(sizes)
        taps = self.kernel.taps
        places = [(np.arange(n) - n // 2) % size for n, size in zip(taps.shape, sizes, strict=True)]
        np.add.at(folded, np.ix_(*places), taps)
        shape = [1, 1, 1]
        for axis in dims:
            shape[axis] = self.high.shape[axis]
        return torch.fft.fftn(torch.from_numpy(folded)).reshape(shape)

    def _filtered(self, image: Tensor, response: Tensor) -> Tensor:
        kind = torch.complex128 if image.dtype == torch.float64 else torch.complex64
        spectrum = torch.fft.fftn(image, dim=self.axes) * response.to(image.device, kind)
        return torch.fft.ifftn(spectrum, dim=self.axes).real

    def _taken(self, tensor: Tensor, axis: int) -> Tensor:
        """View of the samples that are kept along ``axis``."""
        ratio, start = self._ratio[axis], self._start[axis]
        index = [slice(None)] * tensor.ndim
        stop = start + (self.low.shape[axis] - 1) * ratio + 1
        index[axis] = slice(start, stop, ratio)
        return tensor[tuple(index)]

    def A(self, image: Tensor) -> Tensor:
        found = self._filtered(image, self._response)
        for axis in self.axes:
            found = self._taken(found, axis)
        return found.contiguous()

    def A_complex(self, image: Tensor) -> Tensor:
        """As :meth:`A`, as a complex image."""
        return self.A(image) + 0j

    def _spread(self, data: Tensor) -> Tensor:
        """Transpose of taking samples: zeros in between."""
        shape = list(data.shape)
        for axis in self.axes:
            shape[axis] = self.high.shape[axis]
        full = data.new_zeros(shape)
        target = full
        for axis in self.axes:
            target = self._taken(target, axis)
        target.copy_(data)
        return full

    def A_adjoint(self, data: Tensor) -> Tensor:
        return self._filtered(self._spread(data), self._response.conj())

    def A_dagger(self, data: Tensor) -> Tensor:
        low, high = self.low.shape, self.high.shape
        if any(low[axis] * ratio != high[axis] for axis, ratio in self._ratio.items()):
            return cgls(self, data, 1e-12)
        # Frequencies that fall on one another in the samples are measured together.
        power = self._folded(self._response.abs().square())
        weight = torch.where(
            power > self._condition**2 * power.max(), 1 / power, torch.zeros(()).double()
        )
        gain = math.prod(self._ratio.values())
        repeats = [1, 1, 1]
        for axis, ratio in self._ratio.items():
            repeats[axis] = ratio
        inverse = self._response.conj() * weight.repeat(repeats) * gain
        return self._filtered(self._spread(data), inverse)

    def _folded(self, power: Tensor) -> Tensor:
        """Sum over frequencies that samples ``ratio`` apart cannot tell from each other."""
        for axis, ratio in self._ratio.items():
            power = power.unflatten(axis, (ratio, -1)).sum(axis - 1)
        return power
