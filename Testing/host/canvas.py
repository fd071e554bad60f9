"""A Qt widget that shows what VTK draws in memory."""

from __future__ import annotations

import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy

_RENDER_DELAY_MS = 10


def window_image(window: vtk.vtkRenderWindow) -> QtGui.QImage:
    """The picture in a render window, the right way up.

    Args:
        window: A window that has been rendered.

    Returns:
        A QImage that owns its pixels.
    """
    width, height = window.GetSize()
    pixels = vtk.vtkUnsignedCharArray()
    window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
    rows = vtk_to_numpy(pixels).reshape(height, width, 3)[::-1].copy()
    kind = QtGui.QImage.Format.Format_RGB888
    return QtGui.QImage(rows.data, width, height, 3 * width, kind).copy()


class Canvas(QtWidgets.QWidget):
    """Shows what a renderer draws at the size of the widget, and draws again when asked to.

    Requests are collected for a few milliseconds, so that a change of ten nodes is one picture.
    """

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._image = QtGui.QImage()
        self._paused = 0
        self._stale = True
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_RENDER_DELAY_MS)
        self._timer.timeout.connect(self._render_if_shown)

    def _draw(self, width: int, height: int) -> QtGui.QImage:
        raise NotImplementedError

    def _request(self) -> None:
        self._stale = True
        if not self._paused and self.isVisible():
            self._timer.start()

    def _render_now(self) -> None:
        self._timer.stop()
        if self.width > 1 and self.height > 1:
            self._image = self._draw(self.width, self.height)
            self._stale = False
            self.update()

    def _set_paused(self, pause: bool) -> None:
        self._paused = max(0, self._paused + (1 if pause else -1))
        if not self._paused and self._stale:
            self._request()

    def _render_if_shown(self) -> None:
        if not self._paused and self.isVisible():
            self._render_now()

    def resizeEvent(self, event):
        super().resizeEvent(event)
        self._request()

    def showEvent(self, event):
        super().showEvent(event)
        self._request()

    def paintEvent(self, event):
        if self._stale or self._image.size() != self.size:
            self._render_now()
        painter = QtGui.QPainter(self)
        painter.drawImage(0, 0, self._image)
        painter.end()
