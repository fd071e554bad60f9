"""What the tests of ALAMOSegment share: a model that has learned nothing, and a result at once."""

from __future__ import annotations

from pathlib import Path

from panel_helpers import add_series, add_volume
from segment_helpers import add_organ_model, organ_image, worker_left

SPACING = (12.0, 12.0, 14.0)


def own_models(tmp_path: Path) -> Path:
    """The user's folder of models, as the fixtures of the panels set it."""
    return tmp_path / "share" / "mriforge" / "models"


def add_tiny_model(tmp_path: Path, name: str = "denseunet_small") -> Path:
    """A network that has learned nothing, under the name that the panel chooses by itself.

    Its answer follows its coarsest features: organs are lumps, as real ones are, and no dust.
    """
    from mriforge.models.store import load_model, save_model

    folder = add_organ_model(tmp_path / "raw" / name)
    network, card = load_model(folder)
    for block, up in zip(network.merge, network.up, strict=True):
        up.weight.data = up.weight.data.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 2, 2)
        first, width = up.out_channels, block.layers[0].in_channels
        for layer in block.layers:
            layer.weight.data[:, first:width] = 0  # what the same level had on the way down
    weights = network.heads[0].weight
    classes = weights.data.view(11, -1, *weights.shape[1:])
    weights.data = classes.mean(dim=1, keepdim=True).expand_as(classes).reshape(weights.shape)
    target = own_models(tmp_path) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_model(target, state, card)
    return target


def add_abdomen(name: str = "abdomen", seed: int = 0, oblique: bool = False):
    """A volume with six organs."""
    return add_volume(organ_image(seed), name, SPACING, oblique=oblique)


def add_cine(frames: int = 3):
    """A series whose organs move; (sequence, browser, proxy)."""
    images = [organ_image(shift=number) for number in range(frames)]
    return add_series(images, "cine", range(frames), spacing=SPACING)


def give_result(panel, node, folder: Path) -> dict:
    """What a run on ``node`` leaves in scene and panel; only the worker's answer is made up.

    Returns:
        the nodes of the session.
    """
    from MRIForgeLib.segment.session import Session
    from MRIForgeLib.segment.task import SegmentTask
    from MRIForgeLib.segment.wishes import Wishes
    from MRIForgeLib.tasks import run_to_end

    folder.mkdir(parents=True, exist_ok=True)
    session = Session(Wishes(node), panel)
    session._task = task = SegmentTask(session.wishes)
    run_to_end(task.export(folder))
    from mriforge.io import read

    figures = worker_left(folder, read(folder / "input.npy"))
    nodes = run_to_end(task.collect(folder, figures))
    panel.session = session
    session._done(nodes, figures)
    return session.nodes
