"""What the spectra of real low- and high-resolution images say of the kernel between them.

Blur and sampling act on power spectra in a known way: the power of a sharp image times the squared
magnitude of the kernel's response, with what lies beyond the samples' own limit folded back. Mean
spectra of small windows are much alike among images of one kind, aligned or not, so the magnitude
of the response can be read off; its phase cannot, and a symmetric kernel is assumed where one is
fitted.

Three uses: a kernel to begin the game from, in seconds; a term that holds the game to the right
magnitudes while the judge finds what spectra do not tell; and a figure that no player is told, by
which to see when the game has gone past its best state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.blind.crops import gradient_weights
from mriforge.errors import BadInput

_WINDOW = {2: 32, 3: 12}
_SMALLEST = 6
_MOST_IMAGES = 24
_DETAIL = 0.5
_LOWEST = 0.1
"""Frequencies below this, in cycles per low-resolution sample, say what is in the image."""
_FAINT = 0.01
"""Of the mean power: what is fainter is made of noise and of the windows' own leakage."""
_FLAT = 1e-3
_COMPACT = 20.0
_SMOOTH = 1.0
_STARTS = (0.4, 0.6, 0.9)
"""Widths to begin from, in low-resolution pixels."""
_ROUNDS = 80


class Spectra:
    """Mean spectra of both kinds of images.

    Args:
        low, high: images of one number of axes; of either the ones with most detail count.
        ratio: per axis.
        noise: standard deviation of the noise that is in ``low``, or more than that.

    Attributes:
        share: how much of that noise's power counts.

    Raises:
        BadInput: images too small for a window.
    """

    def __init__(
        self,
        low: Sequence[np.ndarray],
        high: Sequence[np.ndarray],
        ratio: Sequence[int],
        noise: float = 0.0,
    ) -> None:
        self.ratio, count = tuple(ratio), len(ratio)
        low, high = richest(low, _MOST_IMAGES), richest(high, _MOST_IMAGES)
        room = [min(image.shape[a] for image in low) for a in range(count)]
        wide = [min(image.shape[a] for image in high) // ratio[a] for a in range(count)]
        self.window = tuple(min(_WINDOW[count], a, b) for a, b in zip(room, wide, strict=True))
        if min(self.window) < _SMALLEST:
            raise BadInput(
                "The images are too small to compare their spectra.",
                f"At least {_SMALLEST} low-resolution pixels are needed along each side.",
            )
        self.large = tuple(n * r for n, r in zip(self.window, ratio, strict=True))
        self.real, self._noise = _mean_spectrum(low, self.window, noise)
        self.sharp = _mean_spectrum(high, self.large, 0.0)[0]
        square = torch.zeros([1] * count, dtype=torch.double)
        for axis, n in enumerate(self.window):
            shape = [-1 if a == axis else 1 for a in range(count)]
            square = square + torch.fft.fftfreq(n).double().square().reshape(shape)
        self._used = square > _LOWEST**2
        faint = _FAINT * float(self.real[self._used].mean())
        self.real, self._faint = self.real + faint, faint
        self.share = 1.0

    def made(self, kernel: Tensor) -> Tensor:
        """The low-resolution spectrum that a kernel makes of the sharp one, up to its level."""
        sizes = self.large
        if any(n > size for n, size in zip(kernel.shape, sizes, strict=True)):
            raise BadInput("The images are too small for a kernel of this size.")
        response = torch.fft.fftn(kernel.double(), s=sizes)
        power = response.abs().square() * self.sharp.to(kernel.device)
        for axis, r in enumerate(self.ratio):
            power = power.unflatten(axis, (r, -1)).sum(axis)
        return power

    def mismatch(self, kernel: Tensor, share: Tensor | None = None) -> Tensor:
        """Mean square difference of the logarithms, level apart; a scalar with a gradient.

        Args:
            share: of the noise's power, see :attr:`share`.
        """
        power = self.made(kernel)
        used = self._used.to(kernel.device)
        real = self.real.to(kernel.device)
        floor = self._faint + self._noise * (self.share if share is None else share)
        # Only the shape counts: contrast differs from subject to subject.
        level = (real - floor).clamp_min(0)[used].sum() / power[used].sum()
        return ((level * power + floor).log() - real.log())[used].square().mean()

    def cost(self, kernel: Tensor, share: Tensor | None = None) -> Tensor:
        """:meth:`mismatch`, and what keeps it from fitting chance: a scalar with a gradient.

        Taps far from the middle cost something, and neighbours that differ: frequencies beyond the
        samples' limit are folded onto stronger ones, and could be anything.
        """
        axes = range(kernel.ndim)
        far = torch.zeros([1] * kernel.ndim, dtype=kernel.dtype, device=kernel.device)
        for axis, n in enumerate(kernel.shape):
            at = torch.arange(n, dtype=kernel.dtype, device=kernel.device) - n // 2
            shape = [-1 if a == axis else 1 for a in axes]
            far = far + (at / (n // 2)).square().reshape(shape)
        square = kernel.sum().square()
        spread = (kernel * far).square().sum() / square
        rough = sum(kernel.diff(dim=axis).square().sum() for axis in axes) / square
        return self.mismatch(kernel, share) + _COMPACT * spread + _SMOOTH * rough

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``likeness``: minus the root of the mismatch of a generator, in dB."""
        return {"likeness": -decibels(float(self.mismatch(model.kernel())))}

    def fitted(self, taps: int) -> np.ndarray:
        """The symmetric kernel whose spectrum fits best; ``(taps, ...)``, sum 1.

        First the best Gaussian, of any shape and direction, then all taps from there. How much of
        the noise is really noise is found with it: fine texture is easily taken for it.
        """
        count = len(self.ratio)
        at = torch.from_numpy(np.indices((taps,) * count).reshape(count, -1) - taps // 2).double()

        def gaussian(free: Tensor) -> Tensor:
            shape = free.reshape(count, count)
            found = torch.exp(-0.5 * (shape @ at).square().sum(0)).reshape((taps,) * count)
            return found / found.sum()

        def symmetric(free: Tensor) -> Tensor:
            found = free.reshape((taps,) * count)
            return (found + found.flip(tuple(range(count)))) / 2

        def cost(free: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
            kernel = make(free[1:])
            return self.cost(kernel, free[0].sigmoid()) + (kernel.sum() - 1).square()

        found = []
        for width in _STARTS:
            shape = torch.diag(1 / (width * torch.tensor(self.ratio, dtype=torch.double)))
            free = torch.cat([torch.zeros(1).double(), shape.flatten()])
            free = _least(lambda free: cost(free, gaussian), free)
            free = torch.cat([free[:1], gaussian(free[1:]).flatten()])
            free = _least(lambda free: cost(free, symmetric), free)
            kernel = symmetric(free[1:])
            left = float(cost(free, symmetric))
            found.append((left, float(free[0].sigmoid()), kernel / kernel.sum()))
        _, self.share, best = min(found, key=lambda one: one[0])
        return best.numpy()


def _least(cost: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Where ``cost`` is least, going down from ``start``; ``start`` if that leads nowhere."""
    free = start.detach().clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [free], max_iter=_ROUNDS, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = cost(free)
        loss.backward()
        return loss

    before = float(cost(start))
    solver.step(closure)
    after = float(cost(free).detach())
    return free.detach() if math.isfinite(after) and after < before else start


def decibels(mismatch: float) -> float:
    """Root of a mean square difference of natural logarithms of power, in dB."""
    return 10 / math.log(10) * math.sqrt(max(0.0, mismatch))


def _mean_spectrum(
    images: Sequence[np.ndarray], window: tuple[int, ...], noise: float
) -> tuple[Tensor, float]:
    """Mean power of windows that show some detail, each of them of one contrast; and the noise's.

    Windows overlap by half, have no mean and variance one.
    """
    axes = tuple(range(-len(window), 0))
    taper = torch.ones([1] * len(window))
    for axis, n in enumerate(window):
        shape = [-1 if a == axis else 1 for a in range(len(window))]
        taper = taper * torch.hann_window(n + 2)[1:-1].reshape(shape)
    pieces = []
    for image in images:
        found = torch.from_numpy(np.ascontiguousarray(image, np.float32))
        for axis, n in enumerate(window):
            found = found.unfold(axis, n, max(1, n // 2))
        pieces.append(found.reshape(-1, *window))
    every = torch.cat(pieces)
    every = every - every.mean(axes, keepdim=True)
    energy = every.square().mean(axes, keepdim=True)
    chosen = (energy >= torch.quantile(energy, _DETAIL)).flatten() & (energy > 0).flatten()
    if not bool(chosen.any()):
        raise BadInput("The images are the same everywhere.", "There is nothing to learn from.")
    size = energy[chosen].sqrt() + _FLAT
    power = torch.fft.fftn(every[chosen] / size * taper, dim=axes).abs().square().mean(0).double()
    floor = noise**2 * float(taper.square().sum()) * float(size.pow(-2).mean())
    return power + 1e-9, floor


def richest(images: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """The images with most detail, in their order."""
    return [images[number] for number in richest_numbers(images, count)]


def richest_numbers(images: Sequence[np.ndarray], count: int) -> list[int]:
    """Which they are."""
    detail = [float(gradient_weights(image).sum()) for image in images]
    return sorted(int(number) for number in np.argsort(detail)[-count:])
