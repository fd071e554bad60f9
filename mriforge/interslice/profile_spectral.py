"""Width of the slice profile from the scan itself: its spectrum across the slices and in plane.

Tissue has no preferred direction at the scale of a slice, so that the power spectrum of the sharp
image depends on the length of the frequency, ``S(|f|)``. Slices of profile ``h``, ``s`` apart, turn
it into

    P(rho, f) = sum_k |H(f + k/s)|^2 S(sqrt(rho^2 + (f + k/s)^2)) + noise,

with ``rho`` the length of the in-plane frequency, ``f`` the frequency across the slices up to
``1/(2s)``, and the sum over what aliases onto it. The plane ``f = 0`` shows ``S`` as it is, the
others show it times ``|H|^2``: at one ``|f|`` only the direction differs, and the thickness of the
slices, which also smears the pictures themselves, needs no correction. ``S`` is a spline, and what
preference for the slice direction anatomy has at all lengths alike is one more unknown
(``exp(a cos^2)``), held small. ``H`` is the one that ``profile_matrix`` will use: the weights of
whole fine samples.

The idea to find the through-plane blur relative to the in-plane one is that of ESPRESO (Han et
al.) and ECLARE (Remedios et al., arXiv 2503.11787), which learn it adversarially; this closed form
is our own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.interpolate import CubicSpline
from scipy.optimize import least_squares

from mriforge.physics.blur import centred_positions
from mriforge.physics.profiles import FWHM_PER_SIGMA, Profile, box, gaussian
from mriforge.volume import Volume

PLAUSIBLE = (0.3, 2.0)
"""FWHM in slice spacings: what is looked for, and what a header is believed."""

FEWEST_SLICES = 8
_SLICES = 16
"""Slices of a block: enough frequencies to see a shape, few enough to find blocks of tissue."""
_MOST_BLOCKS = 500
_FILLED = 0.5
"""Part of a block, weighed by its window, that has to be tissue."""
_WIDTHS = np.geomspace(*PLAUSIBLE, 24)
_KNOTS = 8
_REACH = 3.0
"""In-plane frequencies are used up to this many slice frequencies ``1/s``."""
_IN_BAND = 0.9
"""Part of the in-plane band below its Nyquist frequency that is used: corners are filtered."""
_MODEL_ERROR = 0.15
"""Standard deviation of log power around the model that more data do not lower [M]."""
_PREFERENCE_SD = 0.3
_NOISE_SD = 10.0
"""Of the logit of noise over the lowest power: as good as free."""
_PRIOR_SD = 0.5
"""Slices are mostly about as thick as they are apart: log FWHM/s is 0 with this deviation."""
_OVERCONFIDENT = 3.0
"""Bins share their anatomy: real errors are this many times those of independent bins [M]."""
_OWN_BLUR = 0.08
"""The scan's own resolution in plane is not the same along every axis [M]."""
_UNCERTAIN = 0.4
_CLEARLY = 9.0
"""Difference of chi squared, with those errors, by which a box has to beat the Gaussian."""


@dataclass(frozen=True)
class SpectralFit:
    """What the spectrum says.

    Attributes:
        family: ``"gaussian"`` or ``"box"``.
        fwhm_mm: full width at half maximum (a box: its width).
        relative_sd: standard deviation of ``fwhm_mm`` over itself.
        preference: log power across the slices over that in plane, apart from the profile.
        blocks: number of blocks of tissue that were used.
        why_not: why the figure should not be used; empty when it can be.
    """

    family: str
    fwhm_mm: float
    relative_sd: float
    preference: float
    blocks: int
    why_not: str = ""

    @property
    def profile(self) -> Profile:
        """The profile of that family and width."""
        return _profile(self.family, self.fwhm_mm)


@dataclass(frozen=True)
class _Spectrum:
    """Mean power by in-plane frequency ``rho`` and frequency ``across`` (1/mm); counts of modes."""

    rho: np.ndarray
    across: np.ndarray
    power: np.ndarray
    modes: np.ndarray
    length: float
    blocks: int


def spectral_fit(image: Volume, axis: int) -> SpectralFit:
    """Fits the profile of ``image``, whose slices are stacked along the stored ``axis``.

    Takes a second or two. Check ``why_not`` before the result is used.
    """
    spacing = image.grid.spacing
    step, fine = spacing[axis], min(spacing[a] for a in range(3) if a != axis)
    slices = image.grid.stored_shape[axis]

    def unknown(why: str, blocks: int = 0) -> SpectralFit:
        return SpectralFit("gaussian", step, float("inf"), 0.0, blocks, why)

    if slices < FEWEST_SLICES:
        return unknown(f"it has only {slices} slices")
    if step < 1.5 * max(spacing[a] for a in range(3) if a != axis):
        return unknown("its slices are about as close together as its pixels")
    spectrum = _spectrum(image, axis)
    if spectrum is None:
        return unknown("no block of it is filled with tissue")
    model = _Model(spectrum, step, fine, slices)
    fits = {family: model.scan(family) for family in ("gaussian", "box")}
    better = fits["gaussian"][3] - fits["box"][3]
    needed = _CLEARLY * model.misfit(fits["gaussian"][3]) * _OVERCONFIDENT**2
    family = "box" if better > needed else "gaussian"
    width, sd, preference, _ = fits[family]
    why = ""
    if sd > _UNCERTAIN:
        why = f"its spectrum leaves the width open by {100 * sd:.0f} %"
    elif not 1.03 * PLAUSIBLE[0] < width < 0.97 * PLAUSIBLE[1]:
        why = f"its spectrum asks for an implausible width of {width:.2f} slice spacings"
    return SpectralFit(family, width * step, sd, preference, spectrum.blocks, why)


def _profile(family: str, fwhm: float) -> Profile:
    return box(fwhm) if family == "box" else gaussian(fwhm / FWHM_PER_SIGMA)


def _spectrum(image: Volume, axis: int) -> _Spectrum | None:
    """Mean power spectrum of blocks of tissue that are as long in plane as across the slices."""
    array = np.moveaxis(np.asarray(image.array, dtype=np.float32), 2 - axis, 0)
    array = np.nan_to_num(array, posinf=0.0, neginf=0.0)
    spacing = image.grid.spacing
    sides = [spacing[axis], *(spacing[a] for a in (2, 1, 0) if a != axis)]
    count = min(_SLICES, array.shape[0])
    length = count * sides[0]
    shape = [count] + [
        min(max(4, round(length / side)), size)
        for side, size in zip(sides[1:], array.shape[1:], strict=True)
    ]
    window = np.einsum("i,j,k->ijk", *(np.hanning(n + 2)[1:-1] for n in shape))
    window = (window / window.sum()).astype(np.float32)
    low, high = np.percentile(array, (1, 99))
    tissue = (array > low + 0.15 * (high - low)).astype(np.float32)
    places = [p for p in _places(array.shape, shape) if (tissue[p] * window).sum() >= _FILLED]
    places = places[:: max(1, -(-len(places) // _MOST_BLOCKS))]
    total, used = 0.0, 0
    for place in places:
        block = array[place] - (array[place] * window).sum()
        power = np.abs(fft.rfftn(block * window)) ** 2
        if power.sum() > 0:
            # Every block counts the same, however bright it is.
            total, used = total + power / power.sum(dtype=np.float64), used + 1
    if used == 0:
        return None
    return _binned(total / used, shape, sides, length, used)


def _places(size: tuple[int, ...], shape: list[int]) -> list[tuple[slice, ...]]:
    """Blocks of ``shape`` that overlap by half or more and cover the image."""
    starts = [
        np.unique(np.linspace(0, n - m, 1 + max(0, -(-(n - m) * 2 // m))).astype(int))
        for n, m in zip(size, shape, strict=True)
    ]
    return [
        tuple(slice(s, s + m) for s, m in zip(start, shape, strict=True))
        for start in itertools.product(*starts)
    ]


def _binned(
    power: np.ndarray, shape: list[int], sides: list[float], length: float, blocks: int
) -> _Spectrum:
    """Averages over the directions in plane, in rings one frequency step wide."""
    first, second = fft.fftfreq(shape[1], sides[1]), fft.rfftfreq(shape[2], sides[2])
    rho = np.hypot(first[:, None], second[None, :])
    weight = np.broadcast_to(np.where(second > 0, 2.0, 1.0), rho.shape)
    end = min(
        _REACH / sides[0],
        0.5 * _IN_BAND / max(sides[1:]),
        _cliff(first[: shape[1] // 2], power.sum(axis=(0, 2))),
        _cliff(second, power.sum(axis=(0, 1))),
    )
    rings = np.floor(rho * length + 0.5).astype(int)
    rings = np.where(rho <= end, rings, rings.max() + 1).ravel()
    known = np.unique(rings[rho.ravel() <= end])
    modes = np.bincount(rings, weight.ravel())[known]
    radius = np.bincount(rings, (weight * rho).ravel())[known] / modes
    rows = []
    for m in range(shape[0] // 2 + 1):
        both = (power[m] + power[-m]) / 2 if m else power[0]
        mean = np.bincount(rings, (weight * both).ravel())[known] / modes
        twice = 1.0 if m == 0 or 2 * m == shape[0] else 2.0
        rows.append((radius, np.full_like(radius, m / length), mean, modes * twice))
    rho, across, mean, modes = (np.concatenate(part) for part in zip(*rows, strict=True))
    # Below two steps the window mixes the mean of the block in.
    keep = (np.hypot(rho, across) >= 1.9 / length) & (mean > 0)
    return _Spectrum(rho[keep], across[keep], mean[keep], modes[keep], length, blocks)


def _cliff(frequency: np.ndarray, power: np.ndarray) -> float:
    """Where a spectrum ends because the scanner filled k-space with zeros; infinity if it does not.

    Tissue and noise fall slowly; a hundredfold within a third of the frequency is an end.
    """
    inside = frequency > 0
    frequency, level = frequency[inside], np.log(np.maximum(power[: len(inside)][inside], 1e-30))
    before = np.interp(frequency / 1.3, frequency, level)
    fallen = np.flatnonzero((level < before - np.log(100)) & (frequency > 4 * frequency[0]))
    return float(frequency[fallen[0]] / 1.2) if len(fallen) else float("inf")


class _Model:
    """The model of a measured spectrum, slices ``step`` and samples ``fine`` mm apart."""

    def __init__(self, spectrum: _Spectrum, step: float, fine: float, slices: int) -> None:
        self.step, self.fine = step, fine
        self.measured = np.log(spectrum.power)
        self.weight = 1 / np.sqrt(1 / spectrum.modes + _MODEL_ERROR**2)
        self.floor = float(np.quantile(spectrum.power, 0.02))
        end = 0.5 / fine
        orders = np.arange(-int(end * step + 1), int(end * step + 1) + 1)
        self.across = spectrum.across[:, None] + orders / step
        self.inside = np.abs(self.across) <= end * (1 + 1e-9)
        size = np.hypot(spectrum.rho[:, None], self.across)
        self.cosine2 = (self.across / np.maximum(size, 1e-12)) ** 2
        seen = np.log(np.hypot(spectrum.rho, spectrum.across))
        knots = np.linspace(seen.min(), seen.max(), _KNOTS)
        self.basis = _spline_basis(knots, np.log(np.maximum(size, 1e-12)))
        self.start = np.polyval(np.polyfit(seen, self.measured, 1), knots)
        # Where the slices lie between the fine samples, as in the grid that is wanted later.
        ratio = step / fine
        centres = centred_positions(max(1, round(slices * ratio)), slices, ratio)
        self.offsets = np.unique(np.round(centres % 1, 2) % 1)[:16]

    def misfit(self, chi2: float) -> float:
        """How much worse than its errors the data are described, at least 1."""
        return max(1.0, chi2 / len(self.measured))

    def transfer(self, profile: Profile) -> np.ndarray:
        """``|H|^2`` at every aliasing frequency, mean over where slices lie between samples."""
        half = int(np.ceil(profile.reach / self.fine)) + 1
        unique, inverse = np.unique(np.abs(self.across), return_inverse=True)
        total = np.zeros_like(unique)
        for offset in self.offsets:
            centre = (np.arange(-half, half + 1) - offset) * self.fine
            edges = np.append(centre - self.fine / 2, centre[-1] + self.fine / 2)
            taps = np.diff(profile.below(edges))
            total += np.abs(np.exp(-2j * np.pi * np.outer(unique, centre)) @ taps) ** 2
        return (total / len(self.offsets))[inverse].reshape(self.across.shape) * self.inside

    def scan(self, family: str) -> tuple[float, float, float, float]:
        """FWHM in slice spacings, its relative deviation, the preference, chi squared."""
        start = np.concatenate([self.start, [0.0, -3.0]])
        chi2, preference = np.empty(len(_WIDTHS)), np.empty(len(_WIDTHS))
        for i, width in enumerate(_WIDTHS):
            transfer = self.transfer(_profile(family, width * self.step))
            fit = least_squares(self._residual, start, self._slope, args=(transfer,), max_nfev=30)
            start, chi2[i], preference[i] = fit.x, 2 * fit.cost, fit.x[-2]
        scale = self.misfit(chi2.min()) * _OVERCONFIDENT**2
        logs = np.log(_WIDTHS)
        cost = chi2 / scale + (logs / _PRIOR_SD) ** 2
        fine = np.linspace(logs[0], logs[-1], 2001)
        smooth = CubicSpline(logs, cost)(fine)
        density = np.exp(-(smooth - smooth.min()) / 2)
        density /= density.sum()
        best = float(fine[smooth.argmin()])
        sd = float(np.sqrt((density * (fine - best) ** 2).sum() + _OWN_BLUR**2))
        at = float(np.interp(best, logs, preference))
        return float(np.exp(best)), sd, at, float(chi2.min())

    def _parts(self, unknowns: np.ndarray, transfer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Power of every aliasing frequency, and that of noise as a part of the lowest power."""
        log_power = self.basis @ unknowns[:-2] + unknowns[-2] * self.cosine2
        power = transfer * np.exp(np.clip(log_power, -60, 60))
        return power, 1 / (1 + np.exp(-np.clip(unknowns[-1], -30, 30)))

    def _residual(self, unknowns: np.ndarray, transfer: np.ndarray) -> np.ndarray:
        power, noise = self._parts(unknowns, transfer)
        model = np.log(power.sum(axis=1) + noise * self.floor)
        held = [unknowns[-2] / _PREFERENCE_SD, unknowns[-1] / _NOISE_SD]
        return np.concatenate([self.weight * (model - self.measured), held])

    def _slope(self, unknowns: np.ndarray, transfer: np.ndarray) -> np.ndarray:
        """Derivative of :meth:`_residual`."""
        power, noise = self._parts(unknowns, transfer)
        floor = noise * self.floor
        relative = power / (power.sum(axis=1, keepdims=True) + floor)
        spline = np.einsum("ik,ikn->in", relative, self.basis)
        preference = (relative * self.cosine2).sum(axis=1)
        noise_slope = floor * (1 - noise) / (power.sum(axis=1) + floor)
        slope = self.weight[:, None] * np.column_stack([spline, preference, noise_slope])
        held = np.zeros((2, slope.shape[1]))
        held[0, -2], held[1, -1] = 1 / _PREFERENCE_SD, 1 / _NOISE_SD
        return np.concatenate([slope, held])


def _spline_basis(knots: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Basis ``(*at.shape, knots)`` of the natural cubic spline; straight beyond the end."""
    spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
    beyond = np.maximum(at - knots[-1], 0.0)[..., None]
    return spline(np.clip(at, knots[0], knots[-1])) + beyond * spline(knots[-1], 1)
