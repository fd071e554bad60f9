"""Everything that reads a file, with small valid files to spoil and what a success must be.

``run`` is the one rule: a reader succeeds with something sane, or raises an error of
``mriforge.errors`` that says what is wrong. Anything else is a :class:`Violation`.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from mriforge import errors
from mriforge.jobs.failures import is_out_of_memory

sys.path.insert(0, str(Path(__file__).parent))
import fuzz_seeds as seeds
from fuzz_mutations import Files, mutated

MEMORY_BYTES = 768 << 20
"""How much more than before reading a file of some kilobytes may ask for."""
KINDS = (errors.BadInput, errors.MissingModel)


class Violation(AssertionError):
    """A reader did what no input may make it do."""


@dataclass(frozen=True)
class Reader:
    """One way into the program.

    Attributes:
        seeds: gives valid inputs: what to hand to ``read``, and the files.
        read: takes a path.
        check: raises AssertionError where a result is not sane.
    """

    name: str
    seeds: Callable[[], list[tuple[str, Files]]]
    read: Callable[[Path], Any]
    check: Callable[[Any], None] = lambda result: None

    @cache  # noqa: B019
    def valid(self) -> list[tuple[str, Files]]:
        """The seeds, made once."""
        return self.seeds()

    @cache  # noqa: B019
    def warm(self) -> None:
        """Has imported what reading needs: libraries take address space, too."""
        for entry, files in self.valid():
            with tempfile.TemporaryDirectory(prefix="fuzz-") as name, suppress(*KINDS):
                put(Path(name), files)
                self.read(Path(name) / entry)

    def draw(self, random: Random) -> tuple[str, Files]:
        """A spoiled input."""
        entry, files = random.choice(self.valid())
        return entry, mutated(files, random)


def put(folder: Path, files: Files) -> None:
    """Writes the files of an input; names that no system takes are left out."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def run(reader: Reader, path: Path) -> str:
    """Reads; how it went: ``read``, or the kind of the error.

    Raises:
        Violation: see the top of this module.
    """
    reader.warm()
    try:
        with limited_memory(MEMORY_BYTES):
            result = reader.read(path)
    except KINDS as error:
        _check_error(error)
        return error.kind
    except Exception as error:
        where = "".join(traceback.format_exception(error))
        raise Violation(f"{reader.name}: {type(error).__name__}\n{where}") from None
    try:
        reader.check(result)
    except AssertionError as error:
        raise Violation(f"{reader.name}: read, but {error}") from None
    return "read"


def _check_error(error: errors.MRIForgeError) -> None:
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, errors.MRIForgeError) and is_out_of_memory(cause):
            raise Violation(f"asked for more memory than its file can hold: {error}")
        cause = cause.__cause__
    text = error.one_line()
    assert text.isprintable() or "\n" not in text
    if not error.message.strip() or len(text) > 2500:
        raise Violation(f"an error without words, or a page of them: {text[:300]}")


def spoiled(reader: Reader, random: Random) -> str:
    """Draws a spoiled input, reads it, checks that nothing was left beside it."""
    entry, files = reader.draw(random)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        put(folder, files)
        return run(reader, folder / entry)


@contextmanager
def limited_memory(extra: int) -> Iterator[None]:
    """Lets this process grow by so many bytes of address space, where the system can do it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# What a success must be


def sane_image(image: Any) -> None:
    """Real voxels on a grid somewhere in a room, everything finite."""
    array, grid = image.array, image.grid
    assert array.dtype.kind in "biuf" and array.dtype.isnative, array.dtype
    assert array.shape[-3:] == grid.shape and array.size > 0, array.shape
    assert array.nbytes < MEMORY_BYTES
    sane_grid(grid)
    if array.ndim == 4:
        assert np.isfinite(image.times).all() and len(image.times) == len(array), "times"
        assert isinstance(image.time_name, str) and isinstance(image.time_unit, str)
    from mriforge.events import to_json

    assert isinstance(image.metadata, dict)
    to_json(image.metadata)


def sane_grid(grid: Any) -> None:
    """Voxels between a nanometre and a kilometre, axes of length one at right angles."""
    assert all(1e-6 <= s <= 1e6 for s in grid.spacing), grid.spacing
    assert all(abs(o) <= 1e9 for o in grid.origin), grid.origin
    matrix = grid.direction_matrix
    assert np.allclose(matrix.T @ matrix, np.eye(3), atol=2e-3), matrix
    assert math.isclose(abs(np.linalg.det(matrix)), 1.0, abs_tol=5e-3)
    assert np.isfinite(grid.affine("RAS")).all()


def sane_raw(raw: Any) -> None:
    sane_grid(raw.grid)
    assert raw.kspace.dtype == np.complex64
    assert np.isfinite(raw.time_s).all() and np.isfinite(raw.repetition_s), "times"
    assert 0 < raw.repetition_s < 1e4 and math.isfinite(raw.flip_deg), "TR, flip angle"
    assert raw.partition.min() >= 0 and raw.partition.max() < raw.grid.shape[0]
    assert raw.since_inversion.min() >= 0, "inversions"
    assert math.prod(raw.grid.shape) < 2**31, raw.grid.shape


def sane_factors(factors: Any) -> None:
    sane_grid(factors.grid)
    assert factors.spatial.dtype.kind == "c" and factors.temporal.dtype.kind == "f"
    assert np.isfinite(factors.inversion_times_s).all()
    assert min(factors.bins) > 0 and factors.rank > 0
    assert isinstance(factors.info, dict)
    factors.frame(0, 0, 0)


def sane_network(loaded: Any) -> None:
    network, card = loaded
    assert not network.training and isinstance(card.name, str)
    assert all(bool(p.isfinite().all()) for p in network.parameters()), "weights"


def sane_kernel(kernel: Any) -> None:
    assert np.isfinite(kernel.taps).all() and all(isinstance(r, int) for r in kernel.ratio)
    assert kernel.taps.size < 10**6


def sane_profile(profile: Any) -> None:
    assert np.isfinite(profile.below(np.linspace(-50, 50, 99))).all()


# Readers


def _image(path: Path) -> Any:
    from mriforge import io

    return io.read(path)


def _dicom(path: Path) -> Any:
    from mriforge import io

    infos = io.list_series(path)
    assert all(json.dumps(info.to_json()) and info.one_line() for info in infos)
    return io.read(path, series=infos[0].key)


def _drawn(path: Path) -> Any:
    from mriforge.io.drawn import read_drawn

    return read_drawn(path / "Ground", path / "DICOM_anon")


def _segmentation_source(path: Path) -> Any:
    from mriforge.io.dicom.seg import check_source

    return check_source(path)


def _ismrmrd(path: Path) -> Any:
    from mriforge.io.ismrmrd import read_ismrmrd

    return read_ismrmrd(path)


def _radial(path: Path) -> Any:
    from mriforge.io.bart import read_radial

    return read_radial(path)


def _cartesian(path: Path) -> Any:
    from mriforge.recon.cartesian_job import read_kspace

    return read_kspace(str(path))


def _factors(path: Path) -> Any:
    from mriforge.factors import Factors

    return Factors.load(path)


def _pair(path: Path) -> Any:
    from mriforge.training.factor_pairs import read_pair

    return read_pair(path, ("input", "label"))


def _model(path: Path) -> Any:
    from mriforge.models.store import load_model

    return load_model(path)


def _unsealed(path: Path) -> Any:
    """A model whose card has the checksum of its spoiled weights: somebody made it so."""
    from mriforge.models.store import file_sha256, load_model

    card, weights = path / "card.json", path / "model.safetensors"
    try:
        tree = json.loads(card.read_bytes())
        card.write_text(json.dumps({**tree, "sha256": file_sha256(weights)}))
    except (OSError, ValueError, TypeError, RecursionError):
        pass
    return load_model(path)


def _checkpoint(path: Path) -> Any:
    from mriforge.training.checkpoint import load_checkpoint

    return load_checkpoint(path)


def _recipe(path: Path) -> Any:
    from mriforge.recipes import load_recipe, recipe_from

    recipe = load_recipe(path)
    return recipe_from(recipe.as_dict(), "again")


def _manifest(path: Path) -> Any:
    from mriforge.training.data import read_manifest

    return read_manifest(path)


def _cases(path: Path) -> Any:
    from mriforge.training.cases import load_pair, load_tissues, read_cases

    cases = read_cases(path)
    for case in cases[:2]:
        if case.image is not None:
            load_pair(case, 8.0)
        else:
            load_tissues(case, 8.0)
    return cases


def _request(path: Path) -> Any:
    from mriforge.jobs import Request, check_request

    request = Request.read(path)
    request.control()
    request.to_json()
    return check_request(request)


def _kernel(path: Path) -> Any:
    from mriforge.physics.downsampling import read_kernel

    return read_kernel(path)


def _profile(path: Path) -> Any:
    from mriforge.physics.profiles import read_profile

    return read_profile(path, 1.0)


def _niqe(path: Path) -> Any:
    from mriforge.metrics.no_reference.pristine import load_niqe

    return load_niqe(path)


def _table(path: Path) -> Any:
    from mriforge.cohort.manifest import read_settings, rows_of_table
    from mriforge.cohort.rows import Common

    values = read_settings(path / "settings.toml")
    common = Common({}, values, path, path)
    name = "cohort.csv" if (path / "cohort.csv").exists() else "cohort.tsv"
    return rows_of_table(path / name, "degrade", common)


def _state(path: Path) -> Any:
    from mriforge.cohort.state import BatchFolder
    from mriforge.jobs.degrade import Options

    folder = BatchFolder(path)
    state = folder.read("a")
    folder.is_over("x")
    options = Options(input="x", output="y", keep=0.5)
    return None if state is None else state.why_again(options, ["x"])


def _cache(path: Path) -> Any:
    from mriforge.training.data import load_dataset

    return load_dataset(path / "data.csv", path / "cache")


def _beside(path: Path) -> Any:
    from mriforge.jobs.t1map import Options, _beside, _times_ms
    from mriforge.volume import as_series

    options = Options(input=str(path), output=str(path.with_name("map.nii")))
    # The job takes nothing but series, and says so before it looks beside them.
    return _times_ms(options, as_series(_image(path)), _beside(str(path)))


def _job(path: Path) -> Any:
    """A whole job on a spoiled image: its output is whole or not there."""
    from mriforge.jobs import Request, run_request

    out = path.parent / "results" / "out.nii"
    options = {"input": str(path), "output": str(out), "keep": 0.5}
    try:
        run_request(Request("degrade", options))
    except errors.MRIForgeError:
        left = [p.name for p in path.parent.rglob("*") if "partial" in p.name]
        assert not out.parent.exists() and not left, f"left {left}"
        raise
    return _image(out)


READERS = {
    reader.name: reader
    for reader in (
        Reader("nifti", seeds.nifti, _image, sane_image),
        Reader("mgh", seeds.mgh, _image, sane_image),
        Reader("nrrd", seeds.nrrd, _image, sane_image),
        Reader("meta", seeds.meta, _image, sane_image),
        Reader("npy", seeds.npy, _image, sane_image),
        Reader("dicom", seeds.dicom, _dicom, sane_image),
        Reader("drawn", seeds.drawn, _drawn, sane_image),
        Reader("segmentation-source", seeds.dicom, _segmentation_source),
        Reader("ismrmrd", seeds.ismrmrd, _ismrmrd, sane_raw),
        Reader("bart", seeds.bart, _radial, sane_raw),
        Reader("kspace", seeds.kspace, _cartesian),
        Reader("factors", seeds.factors, _factors, sane_factors),
        Reader("pair", seeds.pair, _pair),
        Reader("model", seeds.model, _model, sane_network),
        Reader("unsealed-model", seeds.model, _unsealed, sane_network),
        Reader("checkpoint", seeds.checkpoint, _checkpoint),
        Reader("recipe", seeds.recipe, _recipe),
        Reader("manifest", seeds.manifest, _manifest),
        Reader("cases", seeds.cases, _cases),
        Reader("request", seeds.request, _request),
        Reader("kernel", seeds.kernel, _kernel, sane_kernel),
        Reader("profile", seeds.profile, _profile, sane_profile),
        Reader("niqe", seeds.niqe, _niqe),
        Reader("table", seeds.table, _table),
        Reader("state", seeds.state, _state),
        Reader("cache", seeds.cache_folder, _cache),
        Reader("beside", seeds.beside, _beside),
        Reader("job", seeds.nifti, _job, sane_image),
    )
}
