"""The one thing every acquisition model has in common: forward, adjoint, pseudo-inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from mriforge.volume import Grid


class LinearOperator(ABC):
    """A linear map from images on ``high`` to images on ``low``, with the geometry of both.

    Tensors are real, ``(..., z, y, x)``; leading axes (time, batch, channel) are carried along.
    ``<A(x), y> == <x, A_adjoint(y)>`` holds to rounding for every subclass (it is tested).

    Attributes:
        high: grid of the sharp image.
        low: grid of the acquired image; its voxels are where the acquisition really put them.
    """

    high: Grid
    low: Grid

    @abstractmethod
    def A(self, image: Tensor) -> Tensor:
        """Acquire: ``(..., *high.shape)`` to ``(..., *low.shape)``, amplitude kept."""

    @abstractmethod
    def A_adjoint(self, data: Tensor) -> Tensor:
        """Transpose of :meth:`A`: ``(..., *low.shape)`` to ``(..., *high.shape)``."""

    @abstractmethod
    def A_dagger(self, data: Tensor) -> Tensor:
        """Minimum-norm image that :meth:`A` maps to ``data`` (in least squares)."""

    def restore(self, image: Tensor, data: Tensor) -> Tensor:
        """The image nearest to ``image`` that explains ``data``: ``x + A^+(y - A x)``."""
        return image + self.A_dagger(data - self.A(image))
