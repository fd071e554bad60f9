"""The job: a volume or series in; label map, disagreement, volumes and doubts out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mriforge import __version__
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.models.card import ModelCard
from mriforge.models.store import load_model
from mriforge.segment import doubts
from mriforge.segment.outline import Outliner, Settings
from mriforge.volume import Image, Series, as_series, like_input

if TYPE_CHECKING:
    from torch import nn

TASK = "organs"


@dataclass(frozen=True)
class Outlined:
    """Organs of a volume or series, on its grid, like the input a volume or a series.

    Attributes:
        labels: uint8.
        votes: uint8.
        entropy: float32, or None.
        figures: volumes, warnings, method, settings (JSON types only).
    """

    labels: Image
    votes: Image
    entropy: Image | None
    figures: dict[str, Any] = field(default_factory=dict)


def outline_image(
    image: Image,
    model: nn.Module,
    card: ModelCard,
    settings: Settings,
    events: Events | None = None,
) -> Outlined:
    """Organs of every frame, with what is known about them.

    Args:
        image: MR magnitude image, a volume or a series; a frame with the same value everywhere
            has no organs.
        model, card: from :func:`mriforge.models.store.load_model`.

    Raises:
        BadInput, OutOfMemory, Cancelled: as of :func:`mriforge.segment.outline.outline`.
    """
    events, series = events or Events(), as_series(image)
    started = time.monotonic()
    warnings = doubts.before(card, series, settings.spacing)
    outliner = Outliner(model, settings, events)
    labels = np.zeros(series.array.shape, dtype=np.uint8)
    votes = np.zeros(series.array.shape, dtype=np.uint8)
    entropy = np.zeros(series.array.shape, np.float32) if settings.disagreement else None
    volumes, found, figures = [], [], {}
    for number, volume in enumerate(series):
        part = events.part(number / len(series), (number + 1) / len(series))
        made = outliner(volume, part if len(series) == 1 else _Named(part, number, len(series)))
        labels[number], votes[number] = made.labels, made.votes
        if entropy is not None:
            entropy[number] = made.entropy
        volumes.append(doubts.volumes_ml(made.labels, series.grid))
        found.append(doubts.after(made.labels, series.grid, volumes[-1]))
        figures = {**figures, **made.figures}
    single = not isinstance(image, Series)
    keys = volumes[0]
    figures = {
        "method": {"name": card.name, "kind": card.kind, "network": card.network,
                   "sha256": card.sha256},
        "views": list(settings.views),
        "fusion": settings.fusion,
        "overlap": settings.overlap,
        "cleaned": {"largest": bool(settings.largest), "holes": bool(settings.holes)},
        "volumes_ml": volumes[0] if single else {k: [v[k] for v in volumes] for k in keys},
        "warnings": warnings + doubts.as_sentences(found),
        **figures,
        "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip
    return Outlined(
        _like(labels, image, series, figures),
        _like(votes, image, series, figures, "views that agree with the label"),
        None if entropy is None else _like(entropy, image, series, figures, "disagreement, 0 to 1"),
        figures,
    )


def model_for_organs(name: str) -> tuple[nn.Module, ModelCard]:
    """A trained network that outlines organs, and its card.

    Raises:
        BadInput: it is for something else.
        MissingModel: it is not there, or damaged.
    """
    model, card = load_model(name)
    if card.task != TASK:
        raise BadInput(
            f"The model '{name}' is for {card.task}, not for organs.",
            "Choose a model whose task is 'organs' (mriforge models list).",
        )
    return model, card


def _like(
    array: np.ndarray, image: Image, series: Series, figures: dict[str, Any], what: str = "organs"
) -> Image:
    """A result ``(t, z, y, x)`` on the input's grid, with how it was made."""
    provenance = {
        "software": f"MRIForge {__version__}",
        "use": "research use only",
        "job": "segment",
        "shows": what,
        **{name: value for name, value in figures.items() if name not in ("seconds", "volumes_ml")},
    }
    made = Series(
        array, series.grid, series.times, series.time_name, series.time_unit,
        {**series.metadata, "provenance": provenance},
    )  # fmt: skip
    return like_input(made, image)


class _Named(Events):
    """Progress of one frame: says which."""

    def __init__(self, inner: Events, number: int, count: int) -> None:
        super().__init__(inner.control)
        self._inner, self._text = inner, f"frame {number + 1} of {count}"

    def progress(self, fraction: float, message: str = "") -> None:
        self._inner.progress(fraction, f"{self._text}: {message}")

    def log(self, text: str) -> None:
        self._inner.log(text)

    def metric(self, **values: Any) -> None:
        self._inner.metric(**values)
