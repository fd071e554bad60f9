"""A learned kernel as a picture: its taps, its lines through the middle, what it lets through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mriforge.io.atomic import atomic_path
from mriforge.report.figures import figure_class, to_png

_COLOURS = ("#0072B2", "#E69F00", "#009E73")


def kernel_picture(
    path: str | Path,
    taps: np.ndarray,
    ratio: Sequence[int],
    *,
    real: np.ndarray | None = None,
    made: np.ndarray | None = None,
) -> Path:
    """Writes the picture.

    Args:
        path: a PNG file.
        taps: ``(y, x)``, or ``(z, y, x)`` of which the sum across z is shown.
        ratio: of the samples, per axis of ``taps``.
        real: a real low-resolution slice, and
        made: another one that the kernel made of a sharp slice, to be compared by eye.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    plane = taps if taps.ndim == 2 else taps.sum(0)
    images = [(n, i) for n, i in (("real low resolution", real), ("made by the kernel", made))
              if i is not None]  # fmt: skip
    figure = figure_class()(3.4 * (3 + len(images)), 3.5)
    count = 3 + len(images)
    limit = float(np.abs(plane).max())
    axes = figure.add_subplot(1, count, 1)
    half = [n / 2 for n in plane.shape]
    axes.imshow(
        plane, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=(-half[1], half[1], half[0], -half[0])
    )
    axes.set_title("response to a point", fontsize=10)
    _lines(figure.add_subplot(1, count, 2), taps)
    _passed(figure.add_subplot(1, count, 3), taps, ratio)
    for place, (name, image) in enumerate(images, 4):
        axes = figure.add_subplot(1, count, place)
        axes.imshow(image, cmap="gray", vmin=0, vmax=float(np.percentile(image, 99.7)) or 1.0)
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    figure.tight_layout()
    with atomic_path(path) as partial:
        partial.write_bytes(to_png(figure))
    return Path(path)


def _marginals(taps: np.ndarray) -> list[tuple[str, np.ndarray]]:
    names = "xyz"[: taps.ndim][::-1]
    return [
        (name, taps.sum(tuple(a for a in range(taps.ndim) if a != axis)))
        for axis, name in reversed(list(enumerate(names)))
    ]


def _lines(axes: object, taps: np.ndarray) -> None:
    for (name, line), colour in zip(_marginals(taps), _COLOURS, strict=False):
        at = np.arange(len(line)) - len(line) // 2
        axes.plot(at, line, marker=".", color=colour, label=f"along {name}")
    axes.axhline(0, color="#999999", linewidth=0.6)
    axes.set_xlabel("high-resolution pixels", fontsize=9)
    axes.set_title("added up across", fontsize=10)
    axes.legend(fontsize=8, frameon=False)


def _passed(axes: object, taps: np.ndarray, ratio: Sequence[int]) -> None:
    """Magnitude of the response along each axis; the samples' own limit dotted."""
    for (name, line), colour, r in zip(_marginals(taps), _COLOURS, reversed(ratio), strict=False):
        response = np.abs(np.fft.rfft(line, 256))
        axes.plot(np.linspace(0, 0.5, len(response)), response, color=colour, label=f"along {name}")
        axes.axvline(0.5 / r, color=colour, linestyle=":", linewidth=0.8)
    axes.set_ylim(0, None)
    axes.set_xlabel("cycles per high-resolution pixel", fontsize=9)
    axes.set_title("what is let through", fontsize=10)
