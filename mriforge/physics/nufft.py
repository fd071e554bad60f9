"""Non-uniform Fourier transform of images: the samples that a trajectory takes.

``d(k) = sum_{y,x} image[y, x] exp(-2 pi i (kx (x - nx//2) + ky (y - ny//2)))``, with positions in
cycles per pixel; not normalised. The adjoint is the exact conjugate transpose of what is
computed, so that solvers converge and gradients are right.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from collections import OrderedDict
from typing import Any

import torch

from mriforge.physics.nufft_exact import ExactDft
from mriforge.physics.nufft_gridding import Gridding, keeps_its_table

BACKENDS = ("auto", "finufft", "gridding", "exact")
_PLANS_KEPT = 4
_MOST_AT_ONCE = 64


class Nufft:
    """Fourier transform from ``(ny, nx)`` images to the points of a trajectory, and its adjoint.

    Both directions take any number of images at once and are differentiable (to any order) with
    respect to their input.

    Args:
        trajectory: ``(..., 2)`` positions ``(kx, ky)`` in cycles per pixel, real; the points are
            taken in order, ``M`` in all. Its device is where images have to be.
        shape: ``(ny, nx)`` in pixels.
        tolerance: relative error to aim at. Single precision cannot do better than about 1e-5.
        backend: ``finufft`` (CPU only, optional package), ``gridding`` (ours, any device),
            ``exact`` (slow), or ``auto``: ours, or finufft where it is installed and the table
            of ours would be too large to be kept.

    Attributes:
        backend: what was chosen.

    Raises:
        ValueError: positions without two coordinates, or an unknown backend.
        ModuleNotFoundError: ``finufft`` was asked for by name and is not installed.
    """

    def __init__(
        self,
        trajectory: torch.Tensor,
        shape: tuple[int, int],
        tolerance: float = 1e-4,
        backend: str = "auto",
    ) -> None:
        if trajectory.shape[-1] != 2 or trajectory.is_complex():
            raise ValueError(f"a trajectory is (..., 2) and real, not {tuple(trajectory.shape)}")
        if backend not in BACKENDS:
            raise ValueError(f"{backend!r} is not one of {BACKENDS}")
        points = trajectory.detach().reshape(-1, 2)
        self.shape = (int(shape[0]), int(shape[1]))
        self.points = points
        self.tolerance = tolerance
        self.device = points.device
        if backend == "auto":
            kept = self.device.type != "cpu" or keeps_its_table(self.samples, tolerance)
            backend = "finufft" if not kept and has_finufft() else "gridding"
        self.backend = backend
        make = {"finufft": _Finufft, "gridding": Gridding, "exact": ExactDft}[backend]
        self._engine = make(points, self.shape, tolerance)

    @property
    def samples(self) -> int:
        """Number of points ``M``."""
        return self.points.shape[0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Samples ``(..., M)`` of images ``(..., ny, nx)``; complex64 or complex128."""
        if tuple(images.shape[-2:]) != self.shape:
            raise ValueError(f"images end with {tuple(images.shape[-2:])}, not {self.shape}")
        return _Apply.apply(_complex(images), self, False)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        """Images ``(..., ny, nx)`` of samples ``(..., M)``: the conjugate transpose."""
        if data.shape[-1] != self.samples:
            raise ValueError(f"{data.shape[-1]} samples for {self.samples} positions")
        return _Apply.apply(_complex(data), self, True)

    def _raw(self, values: torch.Tensor, adjoint: bool) -> torch.Tensor:
        inner = (self.samples,) if adjoint else self.shape
        outer = self.shape if adjoint else (self.samples,)
        lead = values.shape[: values.ndim - len(inner)]
        count = math.prod(lead)
        if count == 0:
            return values.new_zeros((*lead, *outer))
        flat = values.reshape(count, *inner)
        apply = self._engine.adjoint if adjoint else self._engine.forward
        if count <= _MOST_AT_ONCE:
            return apply(flat).reshape(*lead, *outer)
        found = values.new_empty((count, *outer))
        for start in range(0, count, _MOST_AT_ONCE):
            found[start : start + _MOST_AT_ONCE] = apply(flat[start : start + _MOST_AT_ONCE])
        return found.reshape(*lead, *outer)


class _Apply(torch.autograd.Function):
    """A linear map; the gradient of either direction is the other direction."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, nufft: Nufft, adjoint: bool) -> torch.Tensor:
        ctx.nufft, ctx.adjoint = nufft, adjoint
        return nufft._raw(values, adjoint)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _Apply.apply(gradient, ctx.nufft, not ctx.adjoint), None, None


def has_finufft() -> bool:
    """Whether the optional package is installed."""
    return importlib.util.find_spec("finufft") is not None


def _complex(values: torch.Tensor) -> torch.Tensor:
    if values.is_complex():
        return values
    return values.to(torch.complex128 if values.dtype == torch.float64 else torch.complex64)


class _Finufft:
    """Barnett, Magland and af Klinteberg 2019; plans are kept, because sorting points is dear."""

    def __init__(self, points: torch.Tensor, shape: tuple[int, int], tolerance: float) -> None:
        if points.device.type != "cpu":
            raise ValueError("finufft works on the CPU only")
        import finufft

        self._module = finufft
        self._angles = (2 * math.pi * points.to(torch.float64).T).contiguous().numpy()
        self._shape = shape
        self._tolerance = tolerance
        self._plans: OrderedDict[tuple, Any] = OrderedDict()
        self._lock = threading.Lock()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._execute(2, images)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        return self._execute(1, data)

    def _execute(self, kind: int, values: torch.Tensor) -> torch.Tensor:
        count = values.shape[0]
        array = values.detach().resolve_conj().contiguous().numpy()
        with self._lock:
            found = self._plan(kind, count, array.dtype).execute(array if count > 1 else array[0])
        found = torch.from_numpy(found)
        return found if count > 1 else found[None]

    def _plan(self, kind: int, count: int, dtype: Any) -> Any:
        key = (kind, count, str(dtype), torch.get_num_threads())
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        single = dtype.itemsize == 8
        # Below these it would warn that rounding errors are larger than what was asked for.
        tolerance = max(self._tolerance, 1e-6 if single else 1e-14)
        plan = self._module.Plan(
            kind,
            self._shape,
            n_trans=count,
            eps=tolerance,
            isign=-1 if kind == 2 else 1,
            dtype=str(dtype),
            nthreads=key[3],
        )
        kx, ky = self._angles.astype("float32" if single else "float64")
        plan.setpts(ky, kx)
        self._plans[key] = plan
        if len(self._plans) > _PLANS_KEPT:
            self._plans.popitem(last=False)
        return plan
