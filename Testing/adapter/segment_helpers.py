"""A small abdomen with known organs, as volumes, label maps and answers of the worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

from mriforge.io import write
from mriforge.volume import Series, Volume

LABELS = (1, 2, 4, 5, 9, 10)
"""Those that are there; pancreas, stomach, duodenum and small intestine are not."""
SHAPE = (9, 26, 32)


def organ_labels(shift: int = 0) -> np.ndarray:
    """``(z, y, x)`` uint8; blocks of different sizes, 4 voxels apart."""
    found = np.zeros(SHAPE, np.uint8)
    for number, label in enumerate(LABELS):
        found[
            1 : 3 + number % 4, 4 + shift : 9 + shift + number, 1 + 5 * number : 4 + 5 * number
        ] = label
    return found


def organ_image(seed: int = 0, shift: int = 0) -> np.ndarray:
    """An image of these organs, with noise, int16."""
    rng = np.random.default_rng(seed)
    return (100 + 40 * organ_labels(shift) + rng.normal(0, 5, SHAPE)).astype(np.int16)


def voxels_of(node, key: str) -> np.ndarray:
    """Mask ``(z, y, x)`` of a segment on the reference geometry of its node."""
    geometry = slicer.vtkOrientedImageData()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = node.GetSegmentation().GetConversionParameter(name)
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, geometry, False)
    merged = slicer.vtkOrientedImageData()
    from vtk import vtkStringArray
    from vtk.util.numpy_support import vtk_to_numpy

    keys = vtkStringArray()
    keys.InsertNextValue(key)
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    assert node.GenerateMergedLabelmapForAllSegments(merged, extent, geometry, keys)
    scalars = vtk_to_numpy(merged.GetPointData().GetScalars())
    return scalars.reshape(merged.GetDimensions()[::-1]) > 0


def worker_left(folder: Path, image: Volume | Series, shift: int = 0, **more) -> dict:
    """What the command ``segment`` leaves for ``image``, and its answer."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = organ_labels(shift)
    if isinstance(image, Series):
        arrays = [
            np.where(organ_labels(t) == 2, 2 * (t > 0), organ_labels(t)) for t in range(len(image))
        ]
        labels = np.stack(arrays).astype(np.uint8)
    unsure = np.where(labels == 4, 0.5, 0.0).astype(np.float32)
    write(image.with_array(labels), folder / "labels.npy")
    write(image.with_array(unsure), folder / "disagreement.npy")
    return {
        "output": str(folder / "labels.npy"),
        "disagreement": str(folder / "disagreement.npy"),
        "method": {"name": "denseunet_small", "sha256": "abc"},
        "seconds": 3.0,
        "device": "cpu",
        **more,
    }


def add_organ_model(folder: Path, **more) -> Path:
    """A network of the right kind that has learned nothing, as a model of its own."""
    import torch

    from mriforge.models.card import ModelCard
    from mriforge.models.store import save_model
    from mriforge.networks.registry import build, count_parameters

    torch.manual_seed(0)
    options = {"growth": 4, "levels": 3, "layers": 2, "slices": 20}
    network = build("denseunet_small", **options)
    about = {
        "network": "denseunet_small",
        "title": "Tiny",
        "limits": "It has not been validated on patients.",
        "trained_on": [{"kind": "tissue map", "source": "simulated", "subjects": 3}],
        "input": {"normalise": "zscore", "spacing_mm": 6.0, "slices": 20},
        "figures": {"dice": 0.42},
        **more,
    }
    card = ModelCard(
        name=folder.name,
        network_options=options,
        recipe="denseunet_small",
        task="organs",
        parameters=count_parameters(network),
        **about,
    )
    save_model(folder, network.state_dict(), card)
    return folder
