"""Which trained models a job will load, known before it runs."""

from __future__ import annotations

from typing import Any

from mriforge.models.store import ModelFolder, find_model, installed_models


def models_of(command: str, options: Any) -> list[ModelFolder]:
    """The models of a job; their weights are not verified here.

    Args:
        command: a name of ``mriforge.jobs.COMMANDS``.
        options: its parsed options.

    Raises:
        MissingModel: one that the job cannot do without is not there.
    """
    name = getattr(options, "model", None)
    if command == "superres":
        return _of_superres(options)
    if command in ("segment", "finetune") or (command == "recon" and options.method == "malibu"):
        return [find_model(name)]
    if command == "train" and options.start is not None:
        return [find_model(options.start)]
    return []


def _of_superres(options: Any) -> list[ModelFolder]:
    from mriforge.interslice.methods import DEFAULT_METHOD, METHODS
    from mriforge.physics.baselines import TITLES
    from mriforge.superres.choices import DEFAULT_MODEL

    if options.labels:
        return []
    if not options.self_supervised:
        name = options.model or DEFAULT_MODEL
        return [] if name in TITLES else [find_model(name)]
    name = options.model or DEFAULT_METHOD
    if name not in METHODS:
        return [find_model(name)]
    if not METHODS[name].pretrained:
        return []
    # It begins with whichever of these fits best.
    return [model for model in installed_models() if model.card.network == "sa_inr"]
