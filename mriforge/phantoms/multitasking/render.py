"""The anatomy as fractions of tissues: rendered at twice the matrix with 2x2 points for a pixel.

Fine pixel ``j`` of ``N`` lies at ``(j - N // 2) * spacing``. The chest without the heart depends on
breathing alone, so it is painted once for each respiratory state; the heart is painted on top of
it within its own small window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mriforge.phantoms.multitasking.anatomy import Ellipse, Subject

AIR = 255
CARDIAC_BINS = 20
RESPIRATORY_BINS = 6
RV_WALL_MM = 3.0


@dataclass(frozen=True)
class State:
    """One posture of heart and chest.

    Attributes:
        contraction: 0 at end-diastole, 1 at end-systole.
        inspiration: 0 at end-expiration, 1 at end-inspiration.
    """

    contraction: float
    inspiration: float

    @classmethod
    def of_bins(cls, cardiac: float, respiratory: float) -> State:
        """The state of (fractional) bins: ``k = (1 - cos(2 pi c / 20)) / 2``, ``r / 5``."""
        return cls(
            0.5 * (1 - np.cos(2 * np.pi * cardiac / CARDIAC_BINS)),
            float(np.clip(respiratory / (RESPIRATORY_BINS - 1), 0, 1)),
        )


class Renderer:
    """Renders a subject's states on one grid.

    Args:
        subject: who.
        pixels: of the fine grid, even.
        fov_mm: field of view.
        z_mm: distance of the slice from the subject's own, towards the apex where positive.
    """

    def __init__(self, subject: Subject, pixels: int, fov_mm: float, z_mm: float = 0.0) -> None:
        self.subject, self.pixels, self.z_mm = subject, pixels, z_mm
        self.spacing_mm = fov_mm / pixels
        step = self.spacing_mm / 2
        self._axis = (np.arange(2 * pixels) - pixels) * step - step / 2
        self._tissue = {name: number for number, name in enumerate(subject.tissues)}
        self.window = self._window()
        self._chest = lru_cache(maxsize=2)(self._paint_chest)

    def labels(self, state: State) -> np.ndarray:
        """Tissue numbers ``(2 N, 2 N)`` uint8 of the sub-pixels, :data:`AIR` outside."""
        labels = self._chest(state.inspiration).copy()
        self._paint_heart(self.within(labels), state)
        return labels

    def window_labels(self, state: State) -> np.ndarray:
        """As :meth:`labels`, only within :attr:`window`."""
        labels = self.within(self._chest(state.inspiration)).copy()
        self._paint_heart(labels, state)
        return labels

    def within(self, labels: np.ndarray) -> np.ndarray:
        """The part of ``labels`` that is within :attr:`window`; a view."""
        rows, columns = self._window_of_labels
        return labels[rows, columns]

    @property
    def _window_of_labels(self) -> tuple[slice, slice]:
        rows, columns = (slice(2 * s.start, 2 * s.stop) for s in self.window)
        return rows, columns

    def fractions(self, labels: np.ndarray) -> np.ndarray:
        """Area fractions ``(tissue, N, N)`` float32 of fine pixels."""
        return fractions(labels, len(self._tissue), 2)

    def _window(self) -> tuple[slice, slice]:
        """Fine rows and columns that the heart never leaves."""
        who = self.subject
        reach = who.endo_mm + who.wall_lv_mm + 6
        left = reach + 1.6 * max(who.rv_mm) + 4
        tall = max(reach, max(who.rv_mm) + 8) + 0.7 * max(who.rv_mm)
        x, y = who.heart
        spans = (
            (y - tall, y + tall + who.breathing_mm[1]),
            (x - left, x + max(reach, 0.8 * left) + who.breathing_mm[0]),
        )
        found = []
        for low, high in spans:
            first = int(np.floor(low / self.spacing_mm)) + self.pixels // 2
            last = int(np.ceil(high / self.spacing_mm)) + self.pixels // 2
            first, last = max(first, 0), min(last, self.pixels)
            found.append(slice(first - first % 2, min(last + last % 2, self.pixels)))
        return found[0], found[1]

    def _inside(self, shape: Ellipse, rows: slice, columns: slice) -> np.ndarray:
        x = self._axis[columns][None, :] - shape.x
        y = self._axis[rows][:, None] - shape.y
        if shape.turn:
            cos, sin = np.cos(shape.turn), np.sin(shape.turn)
            x, y = cos * x + sin * y, cos * y - sin * x
        return (x / max(shape.a, 1e-6)) ** 2 + (y / max(shape.b, 1e-6)) ** 2 <= 1

    def _paint_chest(self, inspiration: float) -> np.ndarray:
        who, tissue = self.subject, self._tissue
        whole = slice(None)
        down = who.breathing_mm[1] * inspiration
        body = who.body.grown(0.3 * who.chest_mm * inspiration, who.chest_mm * inspiration)
        muscle = body.grown(-who.fat_mm)
        cavity = muscle.grown(-who.wall_mm)
        labels = np.full((2 * self.pixels, 2 * self.pixels), AIR, np.uint8)

        def paint(shape: Ellipse, name: str, within: np.ndarray | None = None) -> None:
            inside = self._inside(shape, whole, whole)
            labels[inside if within is None else inside & within] = tissue[name]

        paint(body, "fat")
        paint(muscle, "muscle")
        inner = self._inside(cavity, whole, whole)
        for lung in who.lungs:
            paint(lung.moved(0, 0.3 * down).grown(0.02 * down, 0.5 * down), "lung", inner)
        paint(who.mediastinum, "muscle", inner)
        # Slices towards the feet show more of the organs below the diaphragm.
        lower = 0.25 * self.z_mm
        for organ, name in ((who.liver, "liver"), (who.spleen, "spleen")):
            paint(organ.moved(0, down - lower), name, inner)
        paint(who.spine, "muscle")
        paint(who.spine.grown(-4.0), "fat")
        paint(who.aorta, "blood")
        return labels

    def _paint_heart(self, labels: np.ndarray, state: State) -> None:
        """Paints into the labels of the window."""
        who, tissue = self.subject, self._tissue
        rows, columns = self._window_of_labels
        part = self.z_mm / who.length_mm
        if abs(part) >= 1:
            return
        size = float(np.sqrt(1 - part**2))
        k = state.contraction
        x = who.heart[0] + who.breathing_mm[0] * state.inspiration
        y = who.heart[1] + who.breathing_mm[1] * state.inspiration
        endo = (who.endo_mm - who.endo_change_mm * k) * size
        wall = (who.wall_lv_mm + who.wall_change_mm * k) * (0.6 + 0.4 * size)
        cavity = Ellipse(x, y, endo * who.aspect, endo / who.aspect, who.turn)
        outer = cavity.grown(wall)
        septum = np.cos(who.turn), np.sin(who.turn)
        rv = Ellipse(
            x - septum[0] * 0.95 * who.rv_mm[0] * size,
            y - septum[1] * 0.95 * who.rv_mm[0] * size,
            (who.rv_mm[0] - who.rv_change_mm[0] * k) * size,
            (who.rv_mm[1] - who.rv_change_mm[1] * k) * size,
            who.turn,
        )

        def paint(shape: Ellipse, name: str) -> None:
            labels[self._inside(shape, rows, columns)] = tissue[name]

        if who.epicardial_fat_mm > 0:
            paint(rv.grown(RV_WALL_MM + who.epicardial_fat_mm), "fat")
            paint(outer.grown(who.epicardial_fat_mm), "fat")
        paint(rv.grown(RV_WALL_MM), "myocardium")
        paint(rv, "blood")
        paint(outer, "myocardium")
        if who.lesion is not None:
            affected = self._inside(cavity.grown(wall * who.lesion.depth), rows, columns)
            labels[affected & self._sector(x, y, rows, columns)] = tissue["lesion"]
        paint(cavity, "blood")
        for angle in who.papillary[:2]:
            radius = who.papillary[2] * size
            place = max(endo - 1.3 * radius, 0.0)
            at = Ellipse(x + place * np.cos(angle), y + place * np.sin(angle), radius, radius)
            paint(at, "myocardium")

    def _sector(self, x: float, y: float, rows: slice, columns: slice) -> np.ndarray:
        lesion = self.subject.lesion
        angles = np.arctan2(self._axis[rows][:, None] - y, self._axis[columns][None, :] - x)
        away = np.abs(np.angle(np.exp(1j * (angles - lesion.angle))))
        return away <= lesion.width / 2


def fractions(labels: np.ndarray, tissues: int, factor: int) -> np.ndarray:
    """Area fractions ``(tissue, ny / factor, nx / factor)`` float32 of blocks of labels."""
    blocks = [labels[i::factor, j::factor] for i in range(factor) for j in range(factor)]
    found = np.zeros((tissues, *blocks[0].shape), np.float32)
    present = np.unique(labels)
    for number in present[present < tissues]:
        count = np.zeros(blocks[0].shape, np.uint8)
        for block in blocks:
            count += block == number
        np.multiply(count, np.float32(1 / factor**2), out=found[number])
    return found


def polynomials(pixels: int, weights: tuple[float, float, float, float]) -> np.ndarray:
    """``w0 x + w1 y + w2 x y + w3 (x^2 - y^2)`` on a grid, in half fields of view."""
    axis = (np.arange(pixels) - pixels // 2) / (pixels / 2)
    x, y = axis[None, :], axis[:, None]
    w = weights
    return w[0] * x + w[1] * y + w[2] * x * y + w[3] * (x**2 - y**2)
