"""Small valid files of every kind that is read, made by the program or by its libraries."""

from __future__ import annotations

import dataclasses
import io as streams
import json
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.volume import Grid, Series, Volume

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_mutations import Files

Seeds = list[tuple[str, Files]]
GRID = Grid((4, 6, 5), (1.5, 2.0, 4.0), (-3.0, 10.0, 2.5), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
VOXELS = np.random.default_rng(5).integers(0, 900, GRID.shape).astype(np.int16)
VOLUME = Volume(VOXELS, GRID, {"provenance": "fuzz"})
SERIES = Series(np.stack([VOXELS, VOXELS + 1, VOXELS + 2]), GRID, np.array([0.0, 0.5, 1.2]))


def written(write: Any) -> Files:
    """The files that ``write(folder)`` makes."""
    with tempfile.TemporaryDirectory(prefix="seed-") as name:
        folder = Path(name)
        write(folder)
        found = sorted(p for p in folder.rglob("*") if p.is_file())
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def _saved(image: Any, *names: str) -> Seeds:
    from mriforge import io

    return [(n, written(lambda folder, n=n: io.write(image, folder / n))) for n in names]


@cache
def nifti() -> Seeds:
    import nibabel

    def pair(folder: Path) -> None:
        nibabel.save(nibabel.Nifti1Pair(VOXELS, np.diag([1, 2, 3, 1])), folder / "a.img")

    def scaled(folder: Path) -> None:
        image = nibabel.Nifti2Image(VOXELS, np.diag([1, 2, 3, 1]))
        image.header.set_slope_inter(0.5, 3.0)
        nibabel.save(image, folder / "a.nii")

    return [
        *_saved(VOLUME, "a.nii", "a.nii.gz"),
        *_saved(SERIES, "a.nii", "a.nii.gz"),
        ("a.hdr", written(pair)),
        ("a.nii", written(scaled)),
    ]


@cache
def mgh() -> Seeds:
    import nibabel

    def make(name: str, array: np.ndarray) -> tuple[str, Files]:
        image = nibabel.MGHImage(array.astype(np.float32), np.diag([1, 2, 3, 1]))
        return name, written(lambda folder: nibabel.save(image, folder / name))

    return [make("a.mgz", VOXELS), make("a.mgh", np.stack([VOXELS] * 2, -1))]


@cache
def nrrd() -> Seeds:
    import SimpleITK as sitk

    def make(name: str, array: np.ndarray, packed: bool = False) -> tuple[str, Files]:
        image = sitk.GetImageFromArray(array)
        return name, written(lambda f: sitk.WriteImage(image, str(f / name), useCompression=packed))

    head = b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 5 6 4\n"
    place = b"space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (0,0,0)\nendian: little\n"
    words = " ".join(str(v) for v in VOXELS.ravel()).encode()
    return [
        *_saved(VOLUME, "a.nrrd"),
        *_saved(SERIES, "a.seq.nrrd"),
        make("a.nrrd", VOXELS),
        make("a.nhdr", VOXELS, packed=True),
        ("a.nrrd", {"a.nrrd": head + place + b"encoding: ascii\n\n" + words}),
    ]


@cache
def meta() -> Seeds:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(VOXELS)
    return [
        *_saved(VOLUME, "a.mha"),
        *_saved(SERIES, "a.mha"),
        ("a.mha", written(lambda folder: sitk.WriteImage(image, str(folder / "a.mha")))),
        ("a.mhd", written(lambda folder: sitk.WriteImage(image, str(folder / "a.mhd")))),
    ]


@cache
def npy() -> Seeds:
    def bare(folder: Path) -> None:
        np.save(folder / "a.npy", VOXELS)
        (folder / "a.json").write_text('{"spacing": [1, 2, 3]}')

    def times(folder: Path) -> None:
        np.save(folder / "a.npy", SERIES.array)
        (folder / "a.json").write_text('{"spacing": [1, 2, 3], "times": [1, 2, 3]}')

    return [
        *_saved(VOLUME, "a.npy"),
        *_saved(SERIES, "a.npy"),
        ("a.npy", written(bare)),
        ("a.npy", written(times)),
    ]


def _files(headers: list[Any]) -> Files:
    """DICOM files with the same identifiers whenever they are made."""
    found = {}
    for number, header in enumerate(headers):
        header.SeriesInstanceUID = "1.2.3"
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        held = streams.BytesIO()
        header.save_as(held, enforce_file_format=True)
        found[f"scan/{number}.dcm"] = held.getvalue()
    return found


@cache
def dicom() -> Seeds:
    import test_dicom as made

    frames = [{"z": z, "time": t + 1, "slope": 2} for t in range(2) for z in range(3)]
    tiles = [made.picture(z) for z in range(4)]
    dynamic = made.dynamic(2, lambda t, z: {"TriggerTime": 100.0 * t, "InstanceNumber": t}, 2)
    return [
        ("scan", _files(made.slices(3))),
        ("scan", _files(dynamic)),
        ("scan", _files([made.enhanced(len(frames), frames)])),
        ("scan/0.dcm", _files([made.mosaic(tiles, made.NORMAL, series="1.2.3")])),
    ]


@cache
def drawn() -> Seeds:
    import SimpleITK as sitk
    import test_dicom as made

    def pictures(folder: Path) -> None:
        for z in range(3):
            image = sitk.GetImageFromArray((made.picture(z) % 3 * 63).astype(np.uint8))
            sitk.WriteImage(image, str(folder / f"{z}.png"))

    images = {f"a/DICOM_anon/{Path(n).name}": c for n, c in _files(made.slices(3)).items()}
    return [("a", {**images, **{f"a/Ground/{n}": c for n, c in written(pictures).items()}})]


@cache
def _raw() -> Any:
    from mriforge.phantoms.multitasking import scan, subject

    return scan(subject(0), matrix=16, coils=2, inversions=2, pulses=40, ecg=True)[0]


@cache
def ismrmrd() -> Seeds:
    from mriforge.io.ismrmrd import write_ismrmrd

    return [("a.h5", written(lambda folder: write_ismrmrd(folder / "a.h5", _raw())))]


@cache
def bart() -> Seeds:
    from mriforge.io.bart import write_radial

    def described(folder: Path) -> None:
        write_radial(folder / "a.cfl", _raw())
        about = json.loads((folder / "a.json").read_text())
        (folder / "a.json").unlink()
        lines = [f"{name} = {json.dumps(value)}" for name, value in about.items()]
        (folder / "a.toml").write_text("\n".join(lines) + "\n")

    # The headers get names that tell them from those of NIfTI.
    return [
        ("a.cfl", written(lambda folder: write_radial(folder / "a.cfl", _raw()))),
        ("a.cfl", written(described)),
    ]


@cache
def kspace() -> Seeds:
    from mriforge.io.bart import write_cfl

    array = np.ones((2, 6, 8), np.complex64)
    return [
        ("a.npy", written(lambda folder: np.save(folder / "a.npy", array))),
        ("a.cfl", written(lambda folder: write_cfl(folder / "a.cfl", array[:, None]))),
    ]


@cache
def factors() -> Seeds:
    from mriforge.factors import Factors

    temporal = np.linalg.qr(np.random.default_rng(1).random((12, 2)))[0].T.reshape(2, 2, 2, 3)
    held = Factors(
        np.ones((2, *GRID.shape), np.complex64),
        temporal.astype(np.float32),
        GRID,
        np.array([0.01, 0.5, 1.0]),
        {"rank": 2},
    )
    return [("a.npz", written(lambda folder: held.save(folder / "a.npz")))]


@cache
def pair() -> Seeds:
    from mriforge.training.factor_pairs import write_pair

    arrays = {name: np.ones((2, 4, 5), np.complex64) for name in ("input", "label")}
    return [
        ("a.npz", written(lambda folder: write_pair(folder / "a.npz", arrays))),
        ("a.npz", written(lambda folder: write_pair(folder / "a.npz", arrays, exact=True))),
    ]


@cache
def model() -> Seeds:
    import torch

    from mriforge.models.card import ModelCard
    from mriforge.models.store import save_model
    from mriforge.networks.registry import build

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        network = build("unet3d_small", width=2)
        card = ModelCard("tiny", "unet3d_small", "unet3d_small", network_options={"width": 2})
        save_model(folder / "tiny", network.state_dict(), card)

    return [("tiny", written(make))]


@cache
def checkpoint() -> Seeds:
    import torch

    from mriforge.training.checkpoint import save_checkpoint

    tensors = {"model.a": torch.ones(3, 4), "step": torch.zeros(1)}
    name = "a.safetensors"
    return [(name, written(lambda f: save_checkpoint(f / name, tensors, {"step": 3, "x": [1, 2]})))]


@cache
def recipe() -> Seeds:
    from mriforge.recipes import FOLDER

    found = [(p.name, {p.name: p.read_bytes()}) for p in sorted(FOLDER.glob("*.toml"))]
    return found[:: max(1, len(found) // 8)]


def _nii(image: Any) -> bytes:
    return _saved(image, "a.nii")[0][1]["a.nii"]


@cache
def manifest() -> Seeds:
    head = "path,subject,split,licence,contrast,axes,domain\n"
    rows = 'a.nii,s1,train,CC0,T1w,"0,1;0,2",brain\nb.nii,s2,validation,CC0,T2w,,\n'
    entries = [
        {"path": "a.nii", "subject": "s1", "split": "train", "licence": "x", "axes": [[0, 1]]},
        {"path": "b.nii", "subject": "s2", "split": "validation", "licence": "x"},
    ]
    images = {"a.nii": b"image", "b.nii": b"image"}
    return [
        ("a.csv", {"a.csv": (head + rows).encode(), **images}),
        ("a.json", {"a.json": json.dumps({"volumes": entries}).encode(), **images}),
        ("a.json", {"a.json": json.dumps(entries).encode(), **images}),
    ]


@cache
def cases() -> Seeds:
    """Manifests, and folders as nnU-Net, AMOS and CHAOS lay them out."""
    grid = Grid((12, 12, 12), (8.0, 8.0, 8.0))
    image = _nii(Volume(np.random.default_rng(2).random(grid.shape).astype(np.float32), grid))
    numbers = np.zeros(grid.shape, np.uint8)
    numbers[3:9, 3:9, 3:6], numbers[3:9, 3:9, 6:9] = 1, 2
    labels = _nii(Volume(numbers, grid))
    rows = [
        {"labels": "l.nii", "image": "i.nii", "subject": "a", "organs": ["liver", "spleen"]},
        {"labels": "l.nii", "subject": "b", "scheme": "btcv"},
    ]
    table = "labels,image,subject,split,scheme,organs\nl.nii,i.nii,a,train,organs,liver;spleen\n"
    both = {"i.nii": image, "l.nii": labels}
    about = {"name": "x", "labels": {"background": 0, "liver": 1, "Spleen": 2},
             "channel_names": {"0": "MR"}, "licence": "CC0"}  # fmt: skip
    ours = {"anatomies": [{"path": "l.nii", "subject": "a"}, {"path": "l.nii", "subject": "b"}]}
    chaos = {
        n.replace("a/", "d/MR/1/T2SPIR/").replace("x/", ""): c for n, c in drawn()[0][1].items()
    }
    return [
        ("d/cases.json", {"d/cases.json": json.dumps(rows).encode(),
                          **{f"d/{n}": c for n, c in both.items()}}),
        ("d", {"d/cases.csv": table.encode(), **{f"d/{n}": c for n, c in both.items()}}),
        ("d", {"d/dataset.json": json.dumps(about).encode(), "d/labelsTr/x_1.nii": labels,
               "d/imagesTr/x_1_0000.nii": image}),
        ("d", {"d/dataset.json": json.dumps({**about, "name": "AMOS"}).encode(),
               "d/labelsTr/amos_0507.nii": labels, "d/imagesTr/amos_0507.nii": image}),
        ("d", {"d/anatomies.json": json.dumps(ours).encode(), "d/l.nii": labels}),
        ("d", chaos),
    ]  # fmt: skip


@cache
def request() -> Seeds:
    def of(command: str, options: dict[str, Any]) -> tuple[str, Files]:
        tree = {"version": 1, "command": command, "options": options,
                "cancel_file": "stop", "time_limit_s": 3600}  # fmt: skip
        return "a.json", {"a.json": json.dumps(tree).encode()}

    here = str(Path(__file__))
    return [
        of("degrade", {"input": here, "output": "/nowhere-to-write/b.nii", "keep": 0.5,
                       "axes": [0, 1], "seed": 3, "fermi": True}),
        of("evaluate", {"input": here, "reference": here, "compare": {"a": here}}),
        of("superres", {"input": here, "output": "/nowhere-to-write/b", "spacing": [1, 1, 2]}),
        of("train", {"recipe": "unet3d_small", "data": here, "out": "/nowhere-to-write/c"}),
        of("models", {"action": "list"}),
    ]  # fmt: skip


@cache
def kernel() -> Seeds:
    from mriforge.physics.downsampling import gaussian_kernel

    kernels = (gaussian_kernel(1.5), gaussian_kernel(1.0, (2, 2, 2), 5))
    placed = [dataclasses.replace(kernel, spacing=(1.0,) * kernel.taps.ndim) for kernel in kernels]
    return [("a.json", {"a.json": kernel.to_json().encode()}) for kernel in (*kernels, *placed)]


@cache
def profile() -> Seeds:
    weights = "\n".join(
        f"{x} {v}" for x, v in zip(range(-3, 4), (0, 1, 2, 3, 2, 1, 0), strict=True)
    )
    return [
        ("a.txt", {"a.txt": f"# mm weight\n{weights}\n".encode()}),
        ("a.txt", {"a.txt": b"0.1;0.8;0.1\n".replace(b";", b"\n")}),
        ("a.npy", written(lambda folder: np.save(folder / "a.npy", np.array([0.2, 0.6, 0.2])))),
        *kernel(),
    ]


@cache
def niqe() -> Seeds:
    from mriforge.metrics.no_reference.pristine import SHIPPED

    return [("a.json", {"a.json": SHIPPED.read_bytes()})]


@cache
def table() -> Seeds:
    rows = b'id,input,output,keep,axes\ns1,a.nii,out/a.nii,0.5,"0,1"\ns2,b.nii,out/{id}.nii,0.2,\n'
    settings = b'noise = 0.1\nseed = 3\nmode = "crop"\n'
    tabs = rows.replace(b'"0,1"', b"0").replace(b",", b"\t")
    return [
        (".", {"cohort.csv": rows, "settings.toml": settings}),
        (".", {"cohort.tsv": tabs, "settings.toml": settings}),
    ]


@cache
def state() -> Seeds:
    from mriforge.cohort.state import BatchFolder, State

    def make(folder: Path) -> None:
        batch = BatchFolder(folder)
        batch.begin()
        seen = {"size": 3, "mtime_ns": 5, "sha256": "0"}
        batch.write("a", State("done", "r", {"keep": 0.5}, {"x": seen}, {"/y": seen}))

    return [(".", written(make))]


@cache
def cache_folder() -> Seeds:
    from mriforge.training.data import load_dataset

    rows = "path,subject,split,licence\na.nii,s1,train,CC0\n"

    def make(folder: Path) -> None:
        (folder / "a.nii").write_bytes(_nii(VOLUME))
        (folder / "data.csv").write_text(rows)
        load_dataset(folder / "data.csv", folder / "cache")

    return [(".", written(make))]


@cache
def beside() -> Seeds:
    sidecar = {"RepetitionTime": 2.5, "InversionTime": [0.1, 0.5, 1.0], "FlipAngle": 8}
    return [("a.nii", {"a.nii": _nii(SERIES), "a.json": json.dumps(sidecar).encode()})]
