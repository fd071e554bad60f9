"""The images of a reconstruction, shown one at a time in one volume node.

Tens of thousands of images are never in memory together: the node's voxels are computed from the
factors when another image is asked for, and written in place. The node remembers the file of the
factors and which image it shows, so that a saved scene finds both again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.factors import AXES, Factors
from mriforge.volume import Volume
from MRIForgeLib.display import is_in_scene, scalar_display, set_window
from MRIForgeLib.placing import Place, add_volume, image_data
from MRIForgeLib.provenance import PREFIX

FACTORS = PREFIX + "factors"
"""Attribute of a volume: file of the factors that its voxels are computed from."""
POSITION = PREFIX + "position"
"""Attribute: cardiac phase, respiratory phase and inversion time that are shown, from 0."""
PART = PREFIX + "part"
"""Attribute: "magnitude" or "phase"."""

MAGNITUDE, PHASE = "magnitude", "phase"

_LOOKED_AT = 12
_MOST_OPEN = 3
_open: dict[tuple[str, int, int], Factors] = {}
_DARKEST, _BRIGHTEST = 1.0, 99.7


@dataclass(frozen=True)
class Position:
    """One image of the tensor, each axis counted from 0."""

    cardiac: int = 0
    respiratory: int = 0
    inversion: int = 0

    def __getitem__(self, axis: str) -> int:
        return getattr(self, axis)

    def moved(self, axis: str, number: int) -> Position:
        """The same with another number along one axis of :data:`mriforge.factors.AXES`."""
        return replace(self, **{axis: int(number)})

    def within(self, bins: tuple[int, int, int]) -> Position:
        """The nearest position that exists."""
        pairs = zip(AXES, bins, strict=True)
        return Position(**{axis: min(max(self[axis], 0), n - 1) for axis, n in pairs})

    @classmethod
    def parsed(cls, text: str | None) -> Position:
        """What :meth:`text` gives; the last image of the first phases when it is none."""
        try:
            return cls(*(int(number) for number in (text or "").split()))
        except (TypeError, ValueError):
            return cls(inversion=2**31)

    def text(self) -> str:
        """For the attribute of a node."""
        return " ".join(str(self[axis]) for axis in AXES)


class Frames:
    """Shows images of ``factors`` in ``node``, whose voxels are overwritten in place.

    Attributes:
        node, factors: as given.
        position: of the image that is shown.
        part: "magnitude" or "phase".
    """

    def __init__(self, node: slicer.vtkMRMLScalarVolumeNode, factors: Factors) -> None:
        self.node, self.factors = node, factors
        self.position = Position.parsed(node.GetAttribute(POSITION)).within(factors.bins)
        self.part = PHASE if node.GetAttribute(PART) == PHASE else MAGNITUDE

    @property
    def alive(self) -> bool:
        """Whether the node is still in the scene."""
        return is_in_scene(self.node)

    def show(self, position: Position, part: str | None = None) -> None:
        """Computes one image and puts it into the node.

        Args:
            position: nearest if it does not exist.
            part: "magnitude" or "phase"; default: as before.
        """
        changed_part = part is not None and part != self.part
        self.part = part or self.part
        self.position = position.within(self.factors.bins)
        blocked = self.node.StartModify()
        try:
            part_of(self.factors.frame(*self._numbers), self.part, out=self._voxels())
            self.node.SetAttribute(POSITION, self.position.text())
            self.node.SetAttribute(PART, self.part)
            slicer.util.arrayFromVolumeModified(self.node)
        finally:
            self.node.EndModify(blocked)
        if changed_part:
            self.fit_window()

    def fit_window(self) -> None:
        """A gray window that suits all images, not only the one that is shown."""
        display = scalar_display(self.node)
        if display is not None:
            set_window(display, *window_of(self.factors, self.part))

    @property
    def _numbers(self) -> tuple[int, int, int]:
        return tuple(self.position[axis] for axis in AXES)

    def _voxels(self) -> np.ndarray:
        """The node's own voxels; made anew if somebody has replaced them by others."""
        shape = self.factors.grid.shape
        image = self.node.GetImageData()
        if image is not None and image.GetPointData().GetScalars() is not None:
            voxels = slicer.util.arrayFromVolume(self.node)
            if voxels.shape == shape and voxels.dtype == np.float32:
                return voxels
        self.node.SetAndObserveImageData(image_data(np.zeros(shape, np.float32)))
        return slicer.util.arrayFromVolume(self.node)


def part_of(image: np.ndarray, part: str, out: np.ndarray | None = None) -> np.ndarray:
    """Magnitude, or phase in radians, of complex images; float32."""
    if part == PHASE:
        return np.arctan2(image.imag, image.real, out=out)
    return np.abs(image, out=out)


def window_of(factors: Factors, part: str) -> tuple[float, float]:
    """Darkest and brightest value worth showing, over images from all corners of the tensor."""
    if part == PHASE:
        return -float(np.pi), float(np.pi)
    numbers = np.random.default_rng(0).integers(0, factors.bins, (_LOOKED_AT, 3))
    numbers[0] = np.array(factors.bins) - 1
    values = np.concatenate([np.abs(factors.frame(*each)).ravel() for each in numbers])
    low, high = (float(v) for v in np.percentile(values, (_DARKEST, _BRIGHTEST)))
    return (low, high) if high > low else (0.0, high or 1.0)


def add_frames(
    factors: Factors,
    path: Path,
    place: Place,
    name: str,
    attributes: Mapping[str, str],
) -> slicer.vtkMRMLScalarVolumeNode:
    """A volume node that shows the images of ``factors``, kept in the file ``path``."""
    position = Position(inversion=factors.bins[2] - 1)
    numbers = (position[axis] for axis in AXES)
    first = Volume(part_of(factors.frame(*numbers), MAGNITUDE), factors.grid)
    about = {
        **attributes,
        FACTORS: str(path),
        POSITION: position.text(),
        PART: MAGNITUDE,
    }
    node = add_volume(first, place, name, about, same_look=False)
    Frames(node, factors).fit_window()
    return node


def holds_frames(node: Any) -> bool:
    """Whether a node shows images of a reconstruction."""
    return is_in_scene(node) and bool(node.GetAttribute(FACTORS))


def factors_file(node: slicer.vtkMRMLNode) -> Path:
    """The file of the factors of a node: where it was, or beside the scene file.

    Raises:
        BadInput: it is nowhere; says where it was.
    """
    known = node.GetAttribute(FACTORS)
    if not known:
        raise BadInput(
            _("'{name}' does not show the images of a reconstruction.").format(name=node.GetName()),
            _("Open the file factors.npz of a reconstruction."),
        )
    path = Path(known)
    places = [path]
    if node.GetScene() is not None and (root := node.GetScene().GetRootDirectory()):
        places += [Path(root) / path.parent.name / path.name, Path(root) / path.name]
    for place in places:
        if place.is_file():
            return place
    raise BadInput(
        _("The factors of '{name}' are gone: {path}").format(name=node.GetName(), path=path),
        _("Put the file back, or beside the scene file; until then only this image is there."),
    )


def load_factors(path: Path) -> Factors:
    """Reads factors; the last few that were read are kept, as long as their file stays the same.

    Safe in a thread.

    Raises:
        BadInput: not such a file, damaged, or gone.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise BadInput(
            _("{path} cannot be read ({reason}).").format(path=path, reason=error.strerror)
        ) from error
    key = (str(path), about.st_mtime_ns, about.st_size)
    found = _open.pop(key, None)
    if found is None:
        found = Factors.load(path)
    _open[key] = found
    while len(_open) > _MOST_OPEN:
        _open.pop(next(iter(_open)))
    return found


def frames_of(node: slicer.vtkMRMLScalarVolumeNode) -> Frames:
    """The images that a node shows.

    Raises:
        BadInput: it shows none, their file is gone or damaged, or they are of another size now.
    """
    path = factors_file(node)
    factors = load_factors(path)
    image = node.GetImageData()
    if image is not None and image.GetDimensions() != factors.grid.stored_shape:
        raise BadInput(
            _("The factors of '{name}' have another size now.").format(name=node.GetName()),
            _("Open the file again as a new volume."),
        )
    node.SetAttribute(FACTORS, str(path))
    return Frames(node, factors)
