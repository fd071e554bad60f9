"""Networks whose answers are known without training, and images that they understand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mriforge.models.card import ModelCard
from mriforge.models.store import save_model
from mriforge.networks.registry import build, count_parameters
from mriforge.volume import Grid, Volume

SLICES = 20
FAR = -1000.0
LEVEL = {0: 100.0, 4: 180.0, 5: 20.0}
"""Intensities of background, right kidney and left kidney. The boundary of each against the
background is half-way, where a mixture of both is cut."""
OPTIONS = {"growth": 20, "levels": 2, "layers": 1}


def band_network(centres: dict[int, float], sharpness: float = 8.0) -> nn.Module:
    """A real DenseUnet that gives a voxel the label whose centre is nearest to its intensity.

    Its first convolution passes each slice on, shifted to where ELU changes nothing; the skip
    connection takes it to the head, whose scores are ``2 c z - c^2``: the nearest ``c`` wins.

    Args:
        centres: of labels, in units of the normalised image.
        sharpness: of the probabilities.
    """
    network = build("denseunet_small", **OPTIONS)
    shift = 50.0
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for s in range(SLICES):
            network.first.weight[s, s, 1, 1] = 1.0
            network.first.bias[s] = shift
            network.down[0].layers[0].weight[s, s, 1, 1] = 1.0
            network.merge[0].layers[0].weight[s, 40 + s, 1, 1] = 1.0
            for label in range(11):
                c = centres.get(label, FAR)
                place = label * SLICES + s
                network.heads[0].weight[place, s] = sharpness * 2 * c
                network.heads[0].bias[place] = -sharpness * (c**2 + 2 * c * shift)
    return network.eval()


def bands_of(volume: Volume, levels: dict[int, float] = LEVEL) -> dict[int, float]:
    """Centres of labels after the normalisation of a volume, which must fill its grid."""
    mean, deviation = volume.array.mean(dtype=float), volume.array.std(dtype=float)
    return {label: (level - mean) / deviation for label, level in levels.items()}


def save_bands(
    folder: Path, centres: dict[int, float], spacing: float, *, task: str = "organs"
) -> Path:
    """A model folder with such a network."""
    network = band_network(centres)
    card = ModelCard(
        folder.name, "denseunet_small", "denseunet_small", task=task, network_options=OPTIONS,
        parameters=count_parameters(network),
        settings={"organs": {"spacing": spacing, "slices": SLICES}},
        input={"normalise": "zscore", "spacing_mm": spacing, "slices": SLICES},
    )  # fmt: skip
    return save_model(folder, network.state_dict(), card).path


def centres_mm(grid: Grid) -> np.ndarray:
    """LPS mm of all voxel centres, ``(z, y, x, 3)``."""
    k, j, i = np.indices(grid.shape)
    return grid.index_to_world(np.stack([i, j, k], -1))


def kidneys(grid: Grid, middle=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Labels 4 on the patient's right and 5 on the left, of different sizes and heights."""
    away = centres_mm(grid) - np.asarray(middle)
    labels = np.zeros(grid.shape, np.uint8)
    for label, place, axes in (
        (4, (-45.0, 12.0, -8.0), (26.0, 22.0, 34.0)),
        (5, (42.0, 20.0, 6.0), (22.0, 20.0, 30.0)),
    ):
        labels[(((away - np.array(place)) / np.array(axes)) ** 2).sum(-1) < 1] = label
    return labels


def image_of(labels: np.ndarray, grid: Grid, levels: dict[int, float] = LEVEL) -> Volume:
    """Every label at its intensity."""
    table = np.zeros(11, np.float32)
    table[list(levels)] = list(levels.values())
    return Volume(table[labels], grid)


def dice(found: np.ndarray, truth: np.ndarray, label: int) -> float:
    a, b = found == label, truth == label
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def rotation(a: float, b: float, c: float) -> np.ndarray:
    """Turns about x, y and z, rad."""
    parts = []
    for axis, angle in enumerate((a, b, c)):
        i, j = [n for n in range(3) if n != axis]
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        parts.append(one)
    return parts[0] @ parts[1] @ parts[2]


def around(shape, spacing, turn=None, middle=(0.0, 0.0, 0.0)) -> Grid:
    """A grid of ``shape`` (z, y, x) whose middle is at a place in mm."""
    turn = np.eye(3) if turn is None else turn
    half = (np.array(shape[::-1]) - 1) / 2 * np.array(spacing)
    return Grid(shape, spacing, tuple(np.asarray(middle) - turn @ half), tuple(turn.ravel()))
