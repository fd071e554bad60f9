"""Reconstruction as tasks of :class:`MRIForgeLib.run.Run`: simulate, reconstruct, open, export."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from MRIForgeLib.exchange import receive
from MRIForgeLib.placing import Place, add_volume, provenance_attributes, remove_result
from MRIForgeLib.provenance import PREFIX
from MRIForgeLib.recon import results
from MRIForgeLib.recon.frames import add_frames, load_factors
from MRIForgeLib.recon.t1 import style_quality, style_t1
from MRIForgeLib.recon.truth import add_truth_steps
from MRIForgeLib.recon.wishes import ReconWishes
from MRIForgeLib.tasks import in_background

Nodes = dict[str, Any]
Making = Generator[Any, None, Nodes]

MAP_ROLE = PREFIX + "map"
"""Attribute of a map: "t1" or "t1_quality"."""


class SimulateTask:
    """Measures a simulated subject; ``collect`` gives the truth, ``true_t1`` and ``tissues``.

    Attributes:
        raw: the raw data, when done; in a folder of their own beside the results, with the truth.
    """

    command = "simulate"

    def __init__(self, wishes: ReconWishes) -> None:
        self.wishes = wishes
        self.place = Place.in_scene(slicer.mrmlScene, wishes.subject)
        self.raw: Path | None = None

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """The options of the job."""
        yield from ()
        made = folder / "results"
        made.mkdir()
        return {
            "what": "multitasking",
            "output": str(made / f"{self.wishes.subject}.h5"),
            "truth": str(made / "truth"),
            "seed": self.wishes.seed,
            **self.wishes.simulation,
        }

    def collect(self, folder: Path, result: Mapping[str, Any]) -> Making:
        """Keeps the files where the results will be, and shows the truth."""
        name, made = self.wishes.subject, Path(result["output"])
        kept = yield from in_background(
            results.keep, {"raw": made}, made.parent, self.wishes.results_folder, name
        )
        self.raw = kept["raw"]
        facts = {key: value for key, value in result.items() if key != "truth"}
        attributes = provenance_attributes(self.command, facts, name)
        steps = add_truth_steps(self.raw.with_name("truth"), self.place, name, attributes)
        return (yield from steps)

    def discard(self, nodes: Nodes) -> None:
        """Takes everything out of the scene and from the disk again."""
        remove_result(nodes)
        if self.raw is not None:
            results.drop(self.raw.parent)


class ReconTask:
    """Reconstructs a raw file; ``collect`` gives ``frames`` and where there are any the maps
    ``t1`` and ``t1_quality``.

    The files are moved to a folder of their own when all is done; a run that ends early leaves
    none.

    Args:
        wishes: how.
        raw: the file, ISMRMRD or BART.
    """

    command = "recon"

    def __init__(self, wishes: ReconWishes, raw: Path) -> None:
        self.wishes, self.raw = wishes, raw
        self.place = Place.in_scene(slicer.mrmlScene, wishes.subject)
        self.files: dict[str, Path] = {}

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """The options of the job."""
        yield from ()
        # A folder of its own: everything in it is a result.
        output = folder / "results"
        return {"input": str(self.raw), "output": str(output), **self.wishes.options()}

    def collect(self, folder: Path, result: Mapping[str, Any]) -> Making:
        """Keeps the files and puts the images into the scene."""
        name = f"{self.wishes.subject} {self.wishes.method.value}"
        parent = self.wishes.results_folder
        files = {key: Path(result[key]) for key in results.FILES if result.get(key)}
        made = files["factors"].parent
        self.files = yield from in_background(results.keep, files, made, parent, name)
        return (yield from add_result(self.files, self.place, name, result, self.raw.name))

    def discard(self, nodes: Nodes) -> None:
        """Takes everything out of the scene and from the disk again."""
        remove_result(nodes)
        if self.files:
            results.drop(self.files["factors"].parent)


class OpenTask:
    """Opens an earlier reconstruction; needs no worker. ``collect`` gives what a
    :class:`ReconTask` gives.
    """

    command = ""

    def __init__(self, factors: Path) -> None:
        self.factors = factors
        self.files: dict[str, Path] = {}
        self.place = Place.in_scene(slicer.mrmlScene, factors.name)

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """The files that there are."""
        yield from ()
        if not self.factors.is_file():
            raise BadInput(
                _("There is no file {path}.").format(path=self.factors), _("Choose another one.")
            )
        self.files = results.found_beside(self.factors)
        return {}

    def collect(self, folder: Path, result: Mapping[str, Any]) -> Making:
        """Puts the images into the scene."""
        name = self.factors.parent.name or self.factors.stem
        return (yield from add_result(self.files, self.place, name, {}, self.factors.name))

    def discard(self, nodes: Nodes) -> None:
        """Takes the images out of the scene again."""
        remove_result(nodes)


def add_result(
    files: Mapping[str, Path],
    place: Place,
    name: str,
    result: Mapping[str, Any],
    input_name: str,
) -> Making:
    """The images of a reconstruction as nodes; yields those made so far.

    Args:
        files: ``factors``, and ``t1`` and ``t1_quality`` where there are any.
        place: where they belong.
        name: of the nodes.
        result: of the command ``recon``; empty: what the factors say of themselves.
        input_name: what they were made from.

    Raises:
        BadInput: a file is damaged.
    """
    nodes: Nodes = {}
    factors = yield from in_background(load_factors, files["factors"])
    about = {**factors.info, **{k: v for k, v in result.items() if k not in results.FILES}}
    attributes = provenance_attributes(ReconTask.command, about, input_name)
    nodes["frames"] = add_frames(factors, files["factors"], place, name, attributes)
    yield dict(nodes)
    titles = {
        "t1": _("{name} T1 map").format(name=name),
        "t1_quality": _("{name} T1 fit quality").format(name=name),
    }
    for role, title in titles.items():
        if role not in files:
            continue
        volume = yield from receive(files[role])
        about = {**attributes, MAP_ROLE: role}
        nodes[role] = add_volume(volume, place, title, about, same_look=False)
        (style_t1 if role == "t1" else style_quality)(nodes[role])
        yield dict(nodes)
    return nodes
