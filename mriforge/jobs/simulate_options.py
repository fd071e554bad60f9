"""What ``simulate`` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from mriforge.jobs.options import option

SUFFIXES = (".h5", ".hdf5", ".mrd")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``simulate``."""

    what: str = option(
        "text",
        "what is simulated",
        positional="KIND",
        choices=("multitasking", "factors", "abdomen", "anatomies"),
    )
    output: str = option("text", "raw data (ISMRMRD .h5), image, or folder", positional="OUT")
    truth: str | None = option("folder", "folder for the truth", default=None)
    seed: int = option("integer", "subject; 0 is the standard one", default=0, at_least=0)
    matrix: int = option("integer", "pixels of the image", default=160, at_least=16, at_most=512)
    coils: int = option("integer", "receiver channels", default=8, at_least=1, at_most=128)
    inversions: int = option("integer", "inversion pulses", default=24, at_least=1, at_most=400)
    noise: float = option(
        "number", "noise, as a fraction of the central samples", default=0.0125, at_least=0
    )
    noise_correlation: float = option(
        "number", "between neighbouring coils", default=0.0, at_least=0, at_most=0.95
    )
    lesion: bool = option("flag", "a lesion in the wall of the heart", default=False)
    continuous: bool = option("flag", "motion finer than the bins", default=False)
    arrhythmia: bool = option("flag", "irregular heartbeat", default=False)
    irregular_breathing: bool = option("flag", "irregular, drifting breathing", default=False)
    ecg: bool = option("flag", "store the ECG triggers", default=False)
    gradient_delay: tuple[float, ...] = option(
        "numbers",
        "delay of x, y and across, in samples",
        default=(0, 0, 0),
        count=3,
        metavar="X,Y,XY",
    )
    partitions: int = option("integer", "partitions of a stack of stars", default=1, at_least=1)
    partition_mm: float = option(
        "number", "thickness of a partition", default=8.0, above=0, metavar="MM"
    )
    rank: int = option(
        "integer", "components of the true factors", default=32, at_least=1, at_most=64
    )
    count: int = option(
        "integer", "factors: pairs for training; anatomies: torsos", default=512, at_least=1
    )
    variants: int = option("integer", "factors: pairs of each scan", default=16, at_least=1)
    iterative: bool = option("flag", "factors: iterative labels too (slow)", default=False)
    labels: str | None = option("output", "abdomen: write the organ labels here", default=None)
    tissues: str | None = option("output", "abdomen: write the tissues here", default=None)
    spacing: float = option(
        "number", "abdomen, anatomies: voxel size", default=3.0, at_least=0.8, at_most=6.0,
        metavar="MM",
    )  # fmt: skip
    breath: float | None = option(
        "number", "abdomen, anatomies: 0 expiration to 1 deep inspiration (default: drawn)",
        default=None, at_least=0, at_most=1,
    )  # fmt: skip
    contrast: int | None = option(
        "integer", "abdomen: which random contrast and scanner (default: the seed)",
        default=None, at_least=0,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """Where a simulated scan goes."""

    output: str = option("output", "raw data", positional="OUT", suffixes=SUFFIXES)
    truth: str | None = option("folder", "folder for the truth", default=None)


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Where a simulated abdomen goes."""

    output: str = option("output", "MR image", positional="OUT")
    labels: str | None = option("output", "organ labels", default=None)
    tissues: str | None = option("output", "tissues", default=None)


@dataclass(frozen=True, kw_only=True)
class PairFolder:
    """Where many go."""

    output: str = option("folder", "folder of pairs", positional="OUT")
