"""Stacks that become one volume: what the panel says before, what is in the scene after."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import add_image, add_linear, contents, index_to_world
from stack_helpers import add_stacks, blob


@pytest.fixture
def python(tmp_path, monkeypatch):
    import launcher_helpers

    launcher_helpers.install(tmp_path, monkeypatch)


def wishes(nodes, **more):
    from MRIForgeLib.superres.wishes import Wishes

    return Wishes(nodes[0], method="fuse", stack_nodes=tuple(nodes[1:]), **more)


def test_what_is_missing_or_senseless(scene) -> None:
    from MRIForgeLib.superres.advice import preview, why_not
    from MRIForgeLib.superres.wishes import TargetKind

    one, two, three = add_stacks(scene)
    assert "second stack" in why_not(wishes([one]))
    assert "second stack" in why_not(wishes([one, None, None]))
    assert "twice" in why_not(wishes([one, two, one]))
    assert why_not(wishes([one, two])) == why_not(wishes([one, None, three])) == ""
    assert "no stack 3" in why_not(wishes([one, two], target_stack=3))
    assert "size" in why_not(wishes([one, two], target=TargetKind.FACTOR))
    assert "same contrast" in why_not(wishes([one, two], target_stack=1, slice_motion=True))
    assert "switch it off" in why_not(wishes([one, two], finetune=True, prior_node=three))
    assert "Result: 32 x 32 x 32 voxels of 1 x 1 x 1 mm." in preview(wishes([one, two]))
    size = {"target": TargetKind.SPACING, "spacing": (2.0, 1.0, 1.0)}
    assert "16 x 16 x 16" in preview(wishes([one, two], **size))
    cube = add_image(scene, blob(), np.eye(4), "cube")
    assert "Stack 2 has no thick slices" in why_not(wishes([one, cube]))
    organs = add_image(scene, (blob() > 150).astype(np.uint8), np.eye(4), "organs")
    assert "'organs' holds labels" in why_not(wishes([one, organs]))
    assert preview(wishes([one, organs])) == ""


def test_stacks_of_one_orientation_are_doubted(scene) -> None:
    from MRIForgeLib.superres.advice import doubts

    one, two, _three = add_stacks(scene)
    again = add_stacks(scene)[0]
    assert doubts(wishes([one, two])) == []
    assert any("same orientation" in text for text in doubts(wishes([one, again])))


def test_sentences_about_a_fusion() -> None:
    from MRIForgeLib.superres.summary import sentences

    figures = {
        "seconds": 5.0,
        "device": "cpu",
        "stacks": [
            {"rotation_deg": 0.0, "shift_mm": 0.0, "relative_residual": 0.031, "correlation": 0.99},
            {"rotation_deg": 1.26, "shift_mm": 0.8, "relative_residual": 0.04, "correlation": 0.9},
        ],
        "warnings": ["Stack 2 agrees badly."],
    }
    assert sentences(figures)[1:] == [
        "Stack 1: residual 3.1 %, correlation 0.990.",
        "Stack 2: turned by 1.3 degrees and shifted by 0.8 mm; residual 4 %, correlation 0.900.",
        "Stack 2 agrees badly.",
    ]
    flat = {"stacks": [{"relative_residual": 1.0, "correlation": None}]}
    assert sentences(flat)[1] == "Stack 1: residual 100 %, correlation -."


def test_a_session_ends_also_when_what_follows_a_task_fails(scene, python, monkeypatch) -> None:
    from mriforge.errors import MRIForgeError
    from MRIForgeLib.superres import summary
    from MRIForgeLib.superres.session import SuperresSession

    monkeypatch.setattr(summary, "sentences", lambda figures: 1 / 0)
    session = SuperresSession(wishes(add_stacks(scene)[:2], align=False))
    session.execute()
    assert not session.running and isinstance(session.error, MRIForgeError)


def test_three_stacks_are_fused_where_the_first_lies(scene, python) -> None:
    """Under a transform that all share; with a reference, so that it is measured too."""
    import slicer

    from MRIForgeLib.superres.session import SuperresSession, compared

    nodes = add_stacks(scene)
    truth = add_image(scene, blob(), np.diag([1, 1, 1, 1.0]), "truth")
    moved = add_linear(scene, np.array([[0, -1, 0, 30], [1, 0, 0, -9], [0, 0, 1, 4], [0, 0, 0, 1]]))
    for node in (*nodes, truth):
        node.SetAndObserveTransformNodeID(moved.GetID())
    session = SuperresSession(wishes(nodes, reference_node=truth, align=False))
    made = session.execute()
    result = made["result"]
    assert result.GetName() == "axial fused"
    assert result.GetAttribute("MRIForge.job") == "fuse"
    assert result.GetParentTransformNode() is moved
    array = slicer.util.arrayFromVolume(result)
    assert array.shape == (32, 32, 32)
    assert np.allclose(index_to_world(result)[:3, :3], index_to_world(truth)[:3, :3], atol=1e-5)
    for number, node in enumerate(nodes, start=1):
        residual = made[f"residual{number}"]
        assert np.allclose(index_to_world(residual), index_to_world(node), atol=1e-4)
        assert residual.GetName() == f"{node.GetName()} residual"
    assert (
        session.figures["measured"]["psnr"] > session.figures["measured"]["compare"]["low"]["psnr"]
    )
    roles = {role for role, node in compared(session.wishes, made).items() if node is not None}
    assert roles == {
        *("low", "stack2", "stack3", "result", "reference"),
        *("residual1", "residual2", "residual3"),
    }


def test_a_cancelled_fusion_leaves_nothing(scene, python) -> None:
    from mriforge.errors import Cancelled
    from MRIForgeLib.run import Run
    from MRIForgeLib.superres.fuse import FuseTask

    nodes = add_stacks(scene)
    before = contents(scene)
    run = Run(FuseTask(wishes(nodes)))
    run.start()
    run.cancel("stop")
    with pytest.raises(Cancelled):
        run.wait()
    assert contents(scene) == before


def test_two_stacks_by_an_implicit_network(scene, python) -> None:
    """Some seconds of it; its live figures come through."""
    import slicer

    from MRIForgeLib.superres.session import SuperresSession
    from MRIForgeLib.superres.wishes import TargetKind, Wishes
    from MRIForgeLib.view import View

    class Following(View):
        seen: list = []  # noqa: RUF012

        def metric(self, values):
            self.seen.append(values)

    one, two, _three = add_stacks(scene)
    coarse = {"target": TargetKind.SPACING, "spacing": (2.0, 2.0, 2.0)}
    wanted = Wishes(one, method="fuse_implicit", stack_nodes=(two,), minutes=0.2, **coarse)
    assert wanted.learns
    session = SuperresSession(wanted, Following())
    nodes = session.execute()
    assert slicer.util.arrayFromVolume(nodes["result"]).shape == (16, 16, 16)
    assert set(nodes) == {"result", "residual1", "residual2"}
    learned = session.figures["implicit"]["steps"] > 0  # not on a computer that is very busy
    assert not learned or any("loss" in values for values in Following.seen)
