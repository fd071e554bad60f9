"""The subject-specific step as a job of its own: a prior in, a model folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mriforge.device import choose_device
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.physics.kspace import KspaceCrop
from mriforge.superres.finetune import TuneSettings, degrade_prior, tune
from mriforge.superres.inference import Predictor
from mriforge.superres.method import finetuning_recipe, load_method, save_tuned
from mriforge.superres.prior import match_prior
from mriforge.superres.target import plan_acquisition
from mriforge.volume import Grid, Volume

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model"


def finetune_model(
    prior: Volume,
    out: Path,
    *,
    model: str | Path | None = None,
    like: Grid | None = None,
    keep: float | None = None,
    axes: tuple[int, ...] = (0, 1),
    max_minutes: float | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    resume: bool = False,
    device: str = "auto",
    events: Events | None = None,
) -> dict[str, Any]:
    """Fine-tunes a model on ``prior`` and writes it to ``out/model``.

    Args:
        prior: sharp scan of the subject.
        out: folder of the model and of the checkpoint that ``resume`` continues from.
        like: grid of the low-resolution images that the model will be used on, or
        keep: the fraction of k-space, over the stored ``axes``, that they hold.
        max_minutes, epochs, steps: how long, see :class:`TuneSettings`.

    Returns:
        the model's folder and the figures of the run.

    Raises:
        BadInput: neither ``like`` nor ``keep``, or a checkpoint is in the way.
        Cancelled: after a checkpoint was written.
    """
    events = events or Events()
    checkpoint = out / CHECKPOINT
    if checkpoint.is_file() and not resume:
        raise BadInput(
            f"There is already a fine-tuning in {out}.",
            "Continue it with --resume, or choose another folder.",
        )
    method = load_method(model)
    network, card = method.network()
    if like is not None:
        operator, _ = plan_acquisition(like, prior=prior.grid, axes=axes)
        prior = match_prior(prior, operator.high)
    elif keep is not None:
        operator = KspaceCrop.from_fraction(prior.grid, keep, axes)
    else:
        raise BadInput(
            "How coarse the images are is not said.",
            "Give one of them (--like FILE), or the kept fraction of k-space (--keep).",
        )
    chosen = choose_device(device)
    tuned = tune(
        network,
        finetuning_recipe(card),
        degrade_prior(prior, operator, method.upsample, method.percentile),
        lambda net: Predictor(net, device=chosen, log=events.log),
        TuneSettings(max_minutes, epochs, steps, checkpoint, resume),
        device=chosen,
        events=events,
    )
    events.log(tuned.gate.sentence())
    folder = save_tuned(out / MODEL, tuned, card)
    return {"model": str(folder.path), "sha256": folder.card.sha256, **tuned.figures}
