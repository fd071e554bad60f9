"""Organs of one volume: onto the working grid, through the views, their vote, and back."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from mriforge.anatomy import CLASSES, VIEWS
from mriforge.device import GIB, choose_device, free_memory, trouble
from mriforge.errors import BadInput, Failed, OutOfMemory
from mriforge.events import Events
from mriforge.models.card import ModelCard
from mriforge.physics.canonical import on_grid
from mriforge.physics.zscore import standardised
from mriforge.segment.clean import clean
from mriforge.segment.predict import SlabPredictor
from mriforge.segment.shares import labels_on
from mriforge.segment.slabs import slab_starts
from mriforge.segment.vote import agreement, entropy, vote
from mriforge.training.precision import bfloat16_on_cpu
from mriforge.volume import Grid, Volume

_SHARE_OF_FREE = 0.9


@dataclass(frozen=True)
class Settings:
    """How organs are outlined.

    Attributes:
        spacing: voxel size that the network works at, mm.
        slices: of a slab.
        views: names of :data:`mriforge.anatomy.VIEWS`, each once.
        fusion: ``vote``, or ``probability``: the mean of the views' probabilities decides.
        overlap: slabs that see a slice.
        disagreement: also make the map of entropies.
        largest, holes: see :func:`mriforge.segment.clean.clean`.
        device: ``auto`` and ``cuda`` take every GPU that works, a view on each.
        memory_gib: at most; None: what is free.
        batch: slabs at a time; None: as many as are of use and fit.
        half: half precision; None: on GPUs, and on CPUs that multiply it where the labels of a
            slab agree.
    """

    spacing: float
    slices: int = 20
    views: tuple[str, ...] = tuple(VIEWS)
    fusion: str = "vote"
    overlap: int = 2
    disagreement: bool = False
    largest: bool | Collection[int] = False
    holes: bool | Collection[int] = False
    device: str | torch.device = "auto"
    memory_gib: float | None = None
    batch: int | None = None
    half: bool | None = None

    @classmethod
    def of(cls, card: ModelCard, **changes: Any) -> Settings:
        """What a model's card says, and what is asked for."""
        organs = card.settings.get("organs") or {}
        spacing = organs.get("spacing") or card.input.get("spacing_mm") or 1.2
        slices = organs.get("slices") or card.input.get("slices") or 20
        return cls(**{"spacing": float(spacing), "slices": int(slices), **changes})


@dataclass(frozen=True)
class Answers:
    """What the views say of one volume.

    Attributes:
        grid: of the volume.
        working: grid that the network worked on.
        views: labels ``(z, y, x)`` on ``grid`` by view, uint8.
        total: sum of the views' probabilities ``(classes, z, y, x)`` on ``working``, or None.
        figures: device, precision, slabs of each view, working grid.
    """

    grid: Grid
    working: Grid
    views: dict[str, np.ndarray]
    total: np.ndarray | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    def fused(self, fusion: str, events: Events | None = None) -> np.ndarray:
        """One answer, labels ``(z, y, x)`` on ``grid``: by ``vote``, or by ``probability``."""
        if fusion == "vote":
            return vote(self.views)
        check = (events or Events()).check_cancelled
        return labels_on(self._needed_total(), self.working, self.grid, check)

    def entropy(self, events: Events | None = None) -> np.ndarray:
        """Where the views disagree, ``(z, y, x)`` on ``grid``, float32, 0 to 1."""
        found = Volume(entropy(self._needed_total(), events), self.working)
        return np.clip(on_grid(found, self.grid).array, 0, 1)

    def _needed_total(self) -> np.ndarray:
        if self.total is None:
            raise ValueError("probabilities were not kept")
        return self.total


@dataclass(frozen=True)
class Outline:
    """Organs of one volume, on its grid.

    Attributes:
        labels: ``(z, y, x)``, uint8; 0 to 10, see :data:`mriforge.anatomy.ORGANS`.
        votes: how many views give the label, uint8.
        entropy: where the views disagree, float32, 0 to 1; None where it was not asked for.
        figures: as of :class:`Answers`.
    """

    labels: np.ndarray
    votes: np.ndarray
    entropy: np.ndarray | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def outline(
    volume: Volume, model: nn.Module, settings: Settings, events: Events | None = None
) -> Outline:
    """Organs of a volume; for several volumes keep an :class:`Outliner`.

    Args:
        volume: MR magnitude image on any grid.
        model: ``(b, slices, h, w)`` to scores ``(b, classes * slices, h, w)``; not changed.
        settings: see :class:`Settings`; ``Settings.of(card)`` is what the model expects.

    Raises:
        BadInput: voxels that are not numbers, unknown views.
        OutOfMemory: not even one slab fits, neither on the device nor on the CPU.
        Cancelled: the caller asked to stop.
    """
    return Outliner(model, settings, events)(volume, events)


class Outliner:
    """A network on its devices, for volume after volume.

    Args:
        model, settings: as of :func:`outline`.
        events: hears what was chosen and what went wrong.
    """

    def __init__(self, model: nn.Module, settings: Settings, events: Events | None = None) -> None:
        if not settings.views or not set(settings.views) <= set(VIEWS):
            raise BadInput(f"Views are some of {', '.join(VIEWS)}.")
        if settings.fusion not in ("vote", "probability"):
            raise BadInput(f"Views become one by vote or probability, not '{settings.fusion}'.")
        self.settings, self._model = settings, model
        self._log = (events or Events()).log
        self.devices = devices_for(settings.device, len(settings.views))
        self._predictors: dict[torch.device, SlabPredictor] = {}

    def __call__(self, volume: Volume, events: Events | None = None) -> Outline:
        """The organs of one volume."""
        events, settings = events or Events(), self.settings
        answers = self.ask(volume, events.part(0.0, 0.97))
        labels = answers.fused(settings.fusion, events)
        labels = clean(labels, largest=settings.largest, holes=settings.holes, events=events)
        doubt = answers.entropy(events) if settings.disagreement else None
        return Outline(labels, agreement(labels, answers.views), doubt, answers.figures)

    def ask(self, volume: Volume, events: Events | None = None, whole: bool = False) -> Answers:
        """What each view says.

        Args:
            whole: keep the sum of the probabilities even where the settings do not need it.
        """
        events, settings = events or Events(), self.settings
        whole = whole or settings.disagreement or settings.fusion == "probability"
        given = standardised(volume, settings.spacing)
        image, working = given.array, given.grid
        figures = {
            "working": {
                "matrix": list(working.stored_shape),
                "spacing_mm": [round(s, 6) for s in working.spacing],
            },
            "device": str(self.devices[0]),
        }
        if not image.any():  # the same value everywhere: there is nothing in it
            views = {name: np.zeros(volume.grid.shape, np.uint8) for name in settings.views}
            total = np.zeros((CLASSES, *working.shape), np.int16) if whole else None
            return Answers(volume.grid, working, views, total, figures)
        half = self._half(image)
        work = _Work(self, volume.grid, working, image, half, whole, events)
        work.run()
        figures["device"] = ", ".join(work.devices)
        figures["precision"] = "half" if work.half else "single"
        figures["slabs"] = work.slabs
        views = {name: work.views[name] for name in settings.views}
        return Answers(volume.grid, working, views, work.total, figures)

    def predictor(self, device: torch.device) -> SlabPredictor:
        """The network on a device."""
        if device not in self._predictors:
            self._predictors[device] = SlabPredictor(
                self._model, self.settings.slices, device, batch=self.settings.batch, log=self._log
            )
        return self._predictors[device]

    def _half(self, image: np.ndarray) -> bool:
        device = self.devices[0]
        if self.settings.half is not None or device.type != "cpu":
            return bool(self.settings.half if self.settings.half is not None
                        else device.type == "cuda")  # fmt: skip
        if not bfloat16_on_cpu():
            return False
        axis = VIEWS[self.settings.views[0]]
        return self.predictor(device).agrees(np.moveaxis(image, axis, 0))

    def limit(self, device: torch.device, working: Grid, grid: Grid, whole: bool) -> int:
        """Bytes that the network's feature maps may take on a device."""
        asked = self.settings.memory_gib
        limit = int(asked * GIB) if asked is not None else _SHARE_OF_FREE * free_memory(device)
        voxels, returned = math.prod(working.shape), math.prod(grid.shape)
        store = 2 * CLASSES * voxels
        if device.type != "cpu":
            return int(limit) - store
        views = len(self.settings.views)
        # Image, probabilities of a view and of all, one class being interpolated, labels, maps.
        held = 4 * voxels + store * (1 + whole) + 12 * voxels + (views + 6) * returned
        return int(limit) - held


def devices_for(requested: str | torch.device, views: int) -> list[torch.device]:
    """The device, or every GPU that works where any will do and there are views for them."""
    first = choose_device(requested)
    if first.type != "cuda" or str(requested).strip().lower() not in ("auto", "cuda"):
        return [first]
    found = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    working = [device for device in found if trouble(device) is None]
    working.sort(key=lambda device: (device.index != first.index, -free_memory(device)))
    return working[:views] or [first]


class _Work:
    """The views of one volume, one after the other on each device, devices side by side.

    Attributes:
        views: labels on the volume's grid by view.
        total: sum of the probabilities, if wanted.
        slabs: number of slabs by view.
        devices: that were used.
    """

    def __init__(
        self,
        outliner: Outliner,
        grid: Grid,
        working: Grid,
        image: np.ndarray,
        half: bool,
        whole: bool,
        events: Events,
    ) -> None:
        self._outliner, self._grid, self._working = outliner, grid, working
        self._image, self.half, self._events = image, half, events
        self.views: dict[str, np.ndarray] = {}
        self.total = np.zeros((CLASSES, *working.shape), np.int16) if whole else None
        settings = outliner.settings
        self.slabs = {
            name: len(slab_starts(image.shape[VIEWS[name]], settings.slices, settings.overlap))
            for name in settings.views
        }
        self._size = {name: image.size / image.shape[VIEWS[name]] for name in settings.views}
        self._done = dict.fromkeys(settings.views, 0)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self.devices: list[str] = []

    def run(self) -> None:
        """All views."""
        devices, names = self._outliner.devices, self._outliner.settings.views
        shares = [names[number :: len(devices)] for number in range(len(devices))]
        if len(devices) == 1:
            self._several(devices[0], shares[0])
        else:
            with ThreadPoolExecutor(len(devices)) as pool:
                list(pool.map(self._several, devices, shares))
        if self._error is not None:
            raise self._error

    def _several(self, device: torch.device, names: Sequence[str]) -> None:
        """Views on one device; the first error on any of them ends all."""
        try:
            for name in names:
                self._one(device, name)
        except BaseException as error:
            self._error = self._error or error

    def _one(self, device: torch.device, name: str) -> None:
        axis = VIEWS[name]
        store = self._store(device, name, np.moveaxis(self._image, axis, 0))
        if len(store) != CLASSES:
            raise BadInput(
                f"The model tells {len(store)} classes apart, not background and {CLASSES - 1} "
                "organs."
            )
        fields = np.moveaxis(store, 1, 1 + axis)
        if self.total is not None:
            with self._lock:
                self.total += fields
        check = self._events.check_cancelled
        self.views[name] = labels_on(fields, self._working, self._grid, check)

    def _store(self, device: torch.device, name: str, image: np.ndarray) -> np.ndarray:
        """Probabilities of a view; on the CPU where the device has no memory for it."""
        outliner = self._outliner
        limit = outliner.limit(device, self._working, self._grid, self.total is not None)
        given = {"limit": limit, "half": self.half, "after": self._told(name)}
        overlap = outliner.settings.overlap
        try:
            store = outliner.predictor(device)(image, overlap, **given)
            if str(device) not in self.devices:
                self.devices.append(str(device))
            return store
        except OutOfMemory as error:
            if device.type == "cpu":
                raise
            reason = error.message
        except Failed:
            if not self.half:
                raise
            self._events.log("Half precision is not enough for this image: single precision.")
            self.half = False
            return self._store(device, name, image)
        self._events.log(f"{reason} Going on with the CPU.")
        self.half = False
        return self._store(torch.device("cpu"), name, image)

    def _told(self, name: str):
        """What the predictor calls after each batch."""
        total = sum(self.slabs[name] * self._size[name] for name in self.slabs)

        def after(done: int, count: int) -> None:
            self._events.check_cancelled()
            if self._error is not None:
                raise Failed("Another view failed.")
            self._done[name] = done
            fraction = sum(self._done[other] * self._size[other] for other in self._done) / total
            text = f"{name} view, slab {min(done + 1, count)} of {count}"
            self._events.progress(fraction, text)

        return after
