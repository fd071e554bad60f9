"""Tissue images on the reconstructed grid, for every cardiac and respiratory bin."""

from __future__ import annotations

import numpy as np

from mriforge.events import Events
from mriforge.phantoms.multitasking.render import (
    CARDIAC_BINS,
    RESPIRATORY_BINS,
    Renderer,
    State,
    fractions,
)


def true_images(
    renderer: Renderer, phase: np.ndarray, events: Events
) -> tuple[np.ndarray, np.ndarray]:
    """Area fractions and band-limited images of one slice.

    Args:
        renderer: on the fine grid, twice the matrix.
        phase: ``(fine, fine)`` complex64 of the object.
        events: progress and cancel.

    Returns:
        fractions ``(t, cardiac, respiratory, y, x)`` float32, and images of unit signal, complex64.
    """
    fine = renderer.pixels
    rows, columns = renderer.window
    limit = band_limit(fine)
    tissues = len(renderer.subject.tissues)
    shape = (tissues, CARDIAC_BINS, RESPIRATORY_BINS, fine // 2, fine // 2)
    areas, images = np.empty(shape, np.float32), np.empty(shape, np.complex64)
    coarse = tuple(slice(s.start // 2, s.stop // 2) for s in (rows, columns))
    for r in range(RESPIRATORY_BINS):
        first = renderer.labels(State.of_bins(0, r))
        base = renderer.fractions(first)
        areas[:, :, r] = _coarse(first, tissues, (slice(0, fine // 2),) * 2)[:, None]
        images[:, :, r] = _limited(base * phase, limit, limit)[:, None]
        for c in range(1, CARDIAC_BINS):
            events.check_cancelled()
            events.progress((r + c / CARDIAC_BINS) / RESPIRATORY_BINS, "rendering the truth")
            labels = renderer.labels(State.of_bins(c, r))
            areas[:, c, r, *coarse] = _coarse(labels, tissues, coarse)
            change = renderer.fractions(renderer.within(labels)) - base[:, rows, columns]
            for t in np.flatnonzero(np.abs(change).max((1, 2))):
                moved = change[t] * phase[rows, columns]
                images[t, c, r] += _limited(moved, limit[:, rows], limit[:, columns])
    return areas, images


def band_limit(fine: int) -> np.ndarray:
    """``(fine // 2, fine)`` float32: keeps the middle half of the frequencies, half the pixels.

    The lowest frequency ``-0.5`` is measured and ``+0.5`` is not; half of each keeps it real.
    """
    coarse = fine // 2
    frequency = np.arange(-(coarse // 2), coarse // 2 + 1)
    weight = np.where(np.abs(frequency) * 2 == coarse, 0.5, 1.0)
    apart = np.subtract.outer(np.arange(coarse) - coarse // 2, (np.arange(fine) - coarse) / 2)
    waves = np.cos(2 * np.pi * apart[..., None] * frequency / coarse)
    return (waves @ weight / fine).astype(np.float32)


def _coarse(labels: np.ndarray, tissues: int, window: tuple[slice, slice]) -> np.ndarray:
    """Area fractions of the coarse pixels of a window.

    Coarse pixel ``x`` is centred on fine pixel ``2 x``: two sub-pixels to either side of it.
    """
    rows, columns = (slice(4 * s.start, 4 * s.stop) for s in window)
    return fractions(np.roll(labels, (1, 1), (0, 1))[rows, columns], tissues, 4)


def _limited(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    parts = [rows @ np.ascontiguousarray(part) @ columns.T for part in (images.real, images.imag)]
    return (parts[0] + 1j * parts[1]).astype(np.complex64)
