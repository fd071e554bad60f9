"""Outlined organs as nodes: segments one by one, their place, map, table, sequence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
import vtk
from scene_helpers import (
    OBLIQUE,
    add_image,
    add_linear,
    add_sequence,
    contents,
    finish,
    index_to_world,
)
from segment_helpers import LABELS, SHAPE, organ_image, organ_labels, voxels_of, worker_left

from mriforge.anatomy import ORGANS
from mriforge.jobs.options import parse
from mriforge.jobs.segment import Options

MOVED = ((0, -1, 0, 30), (1, 0, 0, -9), (0, 0, 1, 4), (0, 0, 0, 1))


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.segment import task, wishes

    class Lib:
        SegmentTask = task.SegmentTask
        Wishes = wishes.Wishes
        Fusion = wishes.Fusion

    return Lib


def run(lib, node, folder, **more):
    """Nodes of a task whose worker left the known organs."""
    task = lib.SegmentTask(lib.Wishes(node, surfaces=False, **more))
    finish(task.export(folder))
    from mriforge.io import read

    nodes, _ = finish(task.collect(folder, worker_left(folder, read(folder / "input.npy"))))
    return task, nodes


def test_the_command_knows_every_option(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image())
    wishes = lib.Wishes(
        node, views=("axial", "sagittal"), fusion=lib.Fusion.PROBABILITY, largest=True, memory_gib=2
    )
    options, _ = finish(lib.SegmentTask(wishes).export(tmp_path))
    parsed = parse(Options, options)
    assert parsed.views == "axial,sagittal" and parsed.fusion == "probability"
    assert parsed.largest and parsed.memory == 2.0 and parsed.disagreement
    alone, _ = finish(lib.SegmentTask(lib.Wishes(node, views=("axial",))).export(tmp_path))
    assert "disagreement" not in alone


def test_every_segment_has_its_name_color_meaning_and_voxels(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image(), OBLIQUE, "belly")
    _task, nodes = run(lib, node, tmp_path)
    made = nodes["segmentation"]
    segmentation = made.GetSegmentation()
    organs = [organ for organ in ORGANS if organ.label in LABELS]
    assert list(segmentation.GetSegmentIDs()) == [organ.key for organ in organs]
    logic, entry = slicer.modules.terminologies.logic(), slicer.vtkSlicerTerminologyEntry()
    for organ in organs:
        segment = segmentation.GetSegment(organ.key)
        assert segment.GetName() == organ.title
        assert np.allclose(np.array(segment.GetColor()) * 255, organ.colour, atol=0.5)
        text = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), text)
        assert logic.DeserializeTerminologyEntry(str(text), entry)
        assert logic.SerializeTerminologyEntry(entry) == str(text)
        assert entry.GetTypeObject().GetCodeValue() == organ.code[0]
        assert entry.GetCategoryObject().GetCodeValue() == "123037004"
        modifier = entry.GetTypeModifierObject()
        assert (modifier.GetCodeMeaning() or "") == organ.side
        assert np.array_equal(voxels_of(made, organ.key), organ_labels() == organ.label)
    assert segmentation.GetNumberOfLayers() == 1, "one image for all"
