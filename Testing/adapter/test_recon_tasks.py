"""Reconstruction as a task: what the worker is asked, where files stay, what a cancel leaves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
from launcher_helpers import install
from recon_helpers import write_result
from scene_helpers import contents, finish

from mriforge.errors import BadInput

TINY = {"matrix": 48, "coils": 4, "inversions": 6, "rank": 6}


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.recon import tasks

    return tasks


@pytest.fixture
def wishes(lib, tmp_path):
    """Makes wishes whose results go to a folder of the test."""
    from MRIForgeLib.devices import Device
    from MRIForgeLib.recon.wishes import ReconWishes

    def make(**more):
        chosen = {"folder": str(tmp_path / "kept"), "rank": 6, "outer": 2, "cardiac": 6}
        return ReconWishes(**{**chosen, "respiratory": 2, "device": Device.CPU, **more})

    return make


def worker_left(folder: Path, with_t1=True) -> dict:
    """What the command has written, and its answer."""
    write_result(folder, with_t1)
    (folder / "recon.json").write_text("{}")
    found = {"factors": str(folder / "factors.npz"), "seconds": {"iterations": 2.0}}
    return {**found, "t1": str(folder / "t1_ms.nii.gz")} if with_t1 else found


@pytest.mark.parametrize("method", ["gridding", "admm", "fista", "malibu"])
def test_the_command_knows_every_option(lib, wishes, tmp_path, method):
    from mriforge.jobs.options import parse
    from mriforge.jobs.recon import Options
    from MRIForgeLib.recon.wishes import Method

    chosen = wishes(method=Method(method), coils=4, inversion=20, memory_gib=2.0)
    options, _ = finish(lib.ReconTask(chosen, tmp_path / "scan.h5").export(tmp_path))
    parsed = parse(Options, options)
    assert (parsed.method, parsed.rank, parsed.inversion) == (method, 6, 20)
    assert parsed.output == str(tmp_path / "results")


def test_the_lists_are_those_of_the_command(lib):
    from mriforge.jobs.options import specs
    from mriforge.jobs.recon import Options
    from MRIForgeLib.recon import wishes

    kinds = {
        "method": wishes.Method,
        "basis": wishes.Basis,
        "sparsity": wishes.Sparsity,
        "coil_maps": wishes.CoilMaps,
    }
    known, default = specs(Options), wishes.ReconWishes()
    for name, kind in kinds.items():
        # Cartesian data have no phases to browse.
        assert {each.value for each in kind} == set(known[name].choices) - {"sense"}
        assert all(kind.label(each) for each in kind)
        assert getattr(default, name).value == Options.__dataclass_fields__[name].default
    for name in ("model", "rank", "cardiac", "respiratory", "regularisation", "outer", "inner"):
        assert getattr(default, name) == Options.__dataclass_fields__[name].default


def test_the_files_are_kept_and_shown(lib, wishes, scene, tmp_path):
    task = lib.ReconTask(wishes(raw_file=str(tmp_path / "scan.h5")), tmp_path / "scan.h5")
    nodes, _ = finish(task.collect(tmp_path, worker_left(tmp_path / "results")))
    folder = tmp_path / "kept" / "scan admm"
    assert {path.name for path in folder.iterdir()} == {
        "factors.npz",
        "t1_ms.nii.gz",
        "recon.json",
    }
    assert nodes["frames"].GetAttribute("MRIForge.factors") == str(folder / "factors.npz")
    assert nodes["frames"].GetAttribute("MRIForge.input") == "scan.h5"
    assert nodes["t1"].GetAttribute("MRIForge.map") == "t1"
    assert nodes["t1"].GetName() == "scan admm T1 map"
    grids = [node.GetImageData().GetDimensions() for node in nodes.values()]
    assert grids[0] == grids[1]
    assert slicer.modules.volumes.logic().CompareVolumeGeometry(*nodes.values()) == ""


def test_a_second_result_does_not_replace_the_first(lib, wishes, tmp_path):
    for number in range(2):
        task = lib.ReconTask(wishes(raw_file="scan.h5"), tmp_path / "scan.h5")
        made = tmp_path / str(number)
        finish(task.collect(made, worker_left(made / "results", with_t1=False)))
    there = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert there == ["scan admm", "scan admm 2"]


def test_discarded_nothing_is_left(lib, wishes, scene, tmp_path):
    before = contents(scene)
    task = lib.ReconTask(wishes(raw_file="scan.h5"), tmp_path / "scan.h5")
    nodes, _ = finish(task.collect(tmp_path, worker_left(tmp_path / "results")))
    task.discard(nodes)
    left = contents(scene) - before
    assert all(scene.GetNodeByID(each).IsA("vtkMRMLColorTableNode") for each in left)
    assert not (tmp_path / "kept").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(lib, wishes, tmp_path):
    (tmp_path / "kept").mkdir(mode=0o500)
    task = lib.ReconTask(wishes(raw_file="scan.h5"), tmp_path / "scan.h5")
    with pytest.raises(BadInput, match="kept"):
        finish(task.collect(tmp_path, worker_left(tmp_path / "results", with_t1=False)))


def test_results_where_a_file_is_in_the_way(lib, wishes, tmp_path):
    (tmp_path / "kept").write_text("a file")
    task = lib.ReconTask(wishes(raw_file="scan.h5"), tmp_path / "scan.h5")
    with pytest.raises(BadInput, match="kept"):
        finish(task.collect(tmp_path, worker_left(tmp_path / "results", with_t1=False)))
    assert (tmp_path / "kept").read_text() == "a file"


def test_an_earlier_reconstruction_is_opened_without_a_worker(lib, tmp_path):
    from MRIForgeLib.run import Run

    factors, images = write_result(tmp_path / "study")
    run = Run(lib.OpenTask(tmp_path / "study" / "factors.npz"))
    nodes = run.wait()
    assert set(nodes) == {"frames", "t1"} and run._worker is None
    late = np.abs(images[0, 0, -1])
    found = slicer.util.arrayFromVolume(nodes["frames"])
    np.testing.assert_allclose(found, late, atol=2e-4)
    assert factors.info["method"] in nodes["frames"].GetAttribute("MRIForge.provenance")


@pytest.mark.parametrize("content", [None, b"no archive", b"PK\x03\x04 cut off"])
def test_what_is_no_reconstruction_is_refused(lib, scene, tmp_path, content):
    from MRIForgeLib.run import Run

    before = contents(scene)
    path = tmp_path / "factors.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=r"factors\.npz"):
        Run(lib.OpenTask(path)).wait()
    assert contents(scene) == before


def test_advice_says_what_is_missing(lib, wishes, tmp_path):
    from MRIForgeLib.recon import advice
    from MRIForgeLib.recon.wishes import Method, Source

    (tmp_path / "scan.h5").touch()
    (tmp_path / "scan.cfl").touch()
    (tmp_path / "scan.dat").touch()
    for name, words in (
        ("", "Select a raw data file"),
        ("nowhere.h5", "no file"),
        ("scan.dat", "no raw data"),
        ("scan.cfl", "header"),
    ):
        path = str(tmp_path / name) if name else ""
        assert words in advice.why_not(wishes(raw_file=path))
    good = wishes(raw_file=str(tmp_path / "scan.h5"))
    assert advice.why_not(good) == ""
    assert not wishes(raw_file=str(tmp_path / "scan.cfl")).needs_raw_reader
    assert good.needs_raw_reader
    unknown = wishes(raw_file=good.raw_file, method=Method.MALIBU, model="nobody")
    assert "nobody" in advice.why_not(unknown)
    assert "Select the file" in advice.why_not(wishes(source=Source.FACTORS))
    in_the_way = wishes(raw_file=good.raw_file, folder=str(tmp_path / "scan.h5" / "below"))
    assert "cannot be written" in advice.why_not(in_the_way)


@pytest.mark.skipif(os.name == "nt", reason="shell script")
def test_from_a_simulated_subject_to_t1_and_back_to_nothing(
    lib, wishes, scene, tmp_path, monkeypatch
):
    """The real worker, end to end; then the same, stopped in the reconstruction."""
    pytest.importorskip("h5py")
    from MRIForgeLib.recon.session import ReconSession
    from MRIForgeLib.recon.t1 import region_figures
    from MRIForgeLib.recon.wishes import Source
    from MRIForgeLib.view import View

    class Seen(View):
        def __init__(self):
            self.metrics, self.fractions, self.session = [], [], None

        def metric(self, values):
            self.metrics.append(values)
            if self.session is not None:
                self.session.cancel()

        def progress(self, fraction, text):
            self.fractions.append(fraction)

    install(tmp_path, monkeypatch)
    wanted = wishes(source=Source.SIMULATED, seed=3, simulation=TINY)
    seen = Seen()
    session = ReconSession(wanted, seen)
    nodes = session.execute()
    assert {"frames", "t1", "t1_quality", "true_t1", "tissues"} <= set(nodes)
    assert [m["iteration"] for m in seen.metrics] == [1, 2]
    assert all(m["residual"] > 0 for m in seen.metrics)
    assert seen.fractions == sorted(seen.fractions) and seen.fractions[-1] == 1.0
    assert slicer.modules.volumes.logic().CompareVolumeGeometry(nodes["t1"], nodes["true_t1"]) == ""
    names = [region.name for region in region_figures(nodes["true_t1"], nodes["tissues"])]
    assert "myocardium" in names
    assert session.files["report"].is_file() and session.files["factors"].is_file()

    before = contents(scene), sorted((tmp_path / "kept").rglob("*"))
    seen = Seen()
    seen.session = ReconSession(wanted, seen)
    with pytest.raises(Exception, match="cancelled"):
        seen.session.execute()
    assert (contents(scene), sorted((tmp_path / "kept").rglob("*"))) == before
