"""What a user wants reconstructed and how: the panel's choices as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.jobs.recon import Options
from MRIForgeLib.devices import Device


class Source(Enum):
    """Where the data come from."""

    RAW = "raw"
    SIMULATED = "simulated"
    FACTORS = "factors"

    @staticmethod
    def label(source: Source) -> str:
        """Text of the entry in a list."""
        return {
            Source.RAW: _("Raw data file"),
            Source.SIMULATED: _("Simulated subject"),
            Source.FACTORS: _("Earlier reconstruction"),
        }[source]


class Method(Enum):
    """How to reconstruct; the names are those of the command line."""

    GRIDDING = "gridding"
    ADMM = "admm"
    FISTA = "fista"
    MALIBU = "malibu"

    @staticmethod
    def label(method: Method) -> str:
        """Text of the entry in a list."""
        return {
            Method.GRIDDING: _("Gridding (a first look)"),
            Method.ADMM: _("Iterations: ADMM"),
            Method.FISTA: _("Iterations: FISTA"),
            Method.MALIBU: _("Network: MALIBU"),
        }[method]

    @property
    def iterates(self) -> bool:
        """Whether it has iterations, and so a strength of regularisation and a residual."""
        return self in (Method.ADMM, Method.FISTA)


class Basis(Enum):
    """How the temporal basis is found."""

    LRT = "lrt"
    COMPLETION = "completion"
    NAVIGATOR = "navigator"

    @staticmethod
    def label(basis: Basis) -> str:
        """Text of the entry in a list."""
        return {
            Basis.LRT: _("Low-rank tensor and spokes"),
            Basis.COMPLETION: _("Completed navigator tensor"),
            Basis.NAVIGATOR: _("Navigator alone"),
        }[basis]


class Sparsity(Enum):
    """What is taken to be sparse."""

    WAVELET_LLR = "wavelet+llr"
    WAVELET = "wavelet"
    TV = "tv"
    LLR = "llr"
    NONE = "none"

    @staticmethod
    def label(sparsity: Sparsity) -> str:
        """Text of the entry in a list."""
        return {
            Sparsity.WAVELET_LLR: _("Wavelets and locally low rank"),
            Sparsity.WAVELET: _("Wavelets"),
            Sparsity.TV: _("Edges (total variation)"),
            Sparsity.LLR: _("Locally low rank"),
            Sparsity.NONE: _("Nothing"),
        }[sparsity]


class CoilMaps(Enum):
    """How coil sensitivities are found."""

    ESPIRIT = "espirit"
    WALSH = "walsh"

    @staticmethod
    def label(maps: CoilMaps) -> str:
        """Text of the entry in a list."""
        return {CoilMaps.ESPIRIT: "ESPIRiT", CoilMaps.WALSH: "Walsh"}[maps]


@dataclass(frozen=True)
class ReconWishes:
    """One reconstruction, from a file or of a simulated subject; defaults are the command's.

    Attributes:
        source: which of the next three counts.
        raw_file: ISMRMRD ``.h5`` or BART ``.cfl``.
        seed: of the simulated subject.
        factors_file: ``factors.npz`` of an earlier reconstruction, to open.
        folder: in which a folder is made for the results; empty: beside the raw data, of a
            simulated subject beside the user's scenes.
        model: name of a trained model, for MALIBU.
        rank: components of the subspace.
        cardiac, respiratory, inversion: numbers of bins; ``inversion`` 0: all there are.
        regularisation: relative to the data. outer, inner: iterations.
        consistency: data-consistency steps after the network.
        coils: virtual coils to compress to; 0: all.
        delays: estimate and correct gradient delays.
        t1_cardiac, t1_respiratory: phases of the T1 map, from 0.
        memory_gib: at most; 0: what is free.
        simulation: further options of the command ``simulate``, for scripts.
    """

    source: Source = Source.RAW
    raw_file: str = ""
    seed: int = 1
    factors_file: str = ""
    folder: str = ""
    method: Method = Method.ADMM
    model: str = Options.model
    rank: int = Options.rank
    cardiac: int = Options.cardiac
    respiratory: int = Options.respiratory
    inversion: int = 0
    basis: Basis = Basis.LRT
    sparsity: Sparsity = Sparsity.WAVELET_LLR
    regularisation: float = Options.regularisation
    outer: int = Options.outer
    inner: int = Options.inner
    consistency: int = Options.consistency
    coil_maps: CoilMaps = CoilMaps.ESPIRIT
    coils: int = 0
    delays: bool = False
    t1: bool = True
    t1_cardiac: int = 0
    t1_respiratory: int = 0
    memory_gib: float = 0.0
    device: Device = Device.AUTO
    simulation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """What the results are called after."""
        if self.source is Source.SIMULATED:
            return _("Subject {seed}").format(seed=self.seed)
        if self.source is Source.FACTORS:
            path = Path(self.factors_file)
            return path.parent.name or path.stem
        return Path(self.raw_file).stem

    @property
    def results_folder(self) -> Path:
        """Folder in which a folder for the results will be made."""
        if self.folder:
            return Path(self.folder)
        if self.source is Source.SIMULATED:
            return Path(slicer.app.defaultScenePath or Path.home()) / "MRIForge"
        return Path(self.raw_file).parent

    @property
    def needs_raw_reader(self) -> bool:
        """Whether HDF5 files are read or written."""
        reads = self.source is Source.RAW and Path(self.raw_file).suffix.lower() != ".cfl"
        return reads or self.source is Source.SIMULATED

    def options(self) -> dict[str, Any]:
        """Options of the command ``recon``, without its files."""
        found: dict[str, Any] = {
            "method": self.method.value,
            "rank": self.rank,
            "cardiac": self.cardiac,
            "respiratory": self.respiratory,
            "basis": self.basis.value,
            "coil_maps": self.coil_maps.value,
            "delays": self.delays,
            "t1": self.t1,
            "t1_cardiac": self.t1_cardiac,
            "t1_respiratory": self.t1_respiratory,
            "device": self.device.value,
        }
        if self.inversion:
            found["inversion"] = self.inversion
        if self.method.iterates:
            found.update(
                sparsity=self.sparsity.value,
                regularisation=self.regularisation,
                outer=self.outer,
                inner=self.inner,
            )
        if self.method is Method.MALIBU:
            found.update(model=self.model, consistency=self.consistency)
        if self.coils:
            found["coils"] = self.coils
        if self.memory_gib > 0:
            found["memory"] = self.memory_gib
        return found


def recon_wishes_of(node: Any) -> ReconWishes:
    """The choices of a panel as plain values.

    Args:
        node: the panel's parameter node.
    """
    return ReconWishes(
        source=node.source,
        raw_file=node.rawFile.strip(),
        seed=node.seed,
        factors_file=node.factorsFile.strip(),
        folder=node.folder.strip(),
        method=node.method,
        model=node.model,
        rank=node.rank,
        cardiac=node.cardiac,
        respiratory=node.respiratory,
        inversion=node.inversion,
        basis=node.basis,
        sparsity=node.sparsity,
        regularisation=node.regularisation,
        outer=node.outer,
        inner=node.inner,
        consistency=node.consistency,
        coil_maps=node.coilMaps,
        coils=node.coils,
        delays=node.delays,
        t1=node.t1,
        memory_gib=node.memory,
        device=node.device,
    )
