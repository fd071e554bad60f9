"""Manifests, the cache of volumes, and the pairs of patches that are made from them."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from mriforge.errors import BadInput
from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes import load_recipe
from mriforge.recipes.schema import AugmentationSpec, DegradationSpec, InputSpec, PatchSpec
from mriforge.training.augment import intensity, reflect, slice_indices, spatial, tone_curve
from mriforge.training.data import load_dataset, read_manifest, slices_first
from mriforge.training.labels import (
    LabelSampler,
    label_slab,
    otsu_thresholds,
    symmetric_eigenvalues,
    tubeness,
)
from mriforge.training.patches import (
    SlabSampler,
    degrade_slices,
    grid_starts,
    low_matrix,
    make_sampler,
)
from mriforge.training.validation import HeldOut
from mriforge.volume import Grid

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import phantom, training_volume

PLAIN = DegradationSpec(keep=(0.25,))
SINC = InputSpec()


def write_image(path: Path, shape: tuple[int, ...] = (20, 18, 10)) -> Path:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 500, size=shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


@pytest.fixture
def entries(tmp_path: Path) -> list[dict]:
    """Two subjects, one for each split."""
    write_image(tmp_path / "a.nii.gz")
    write_image(tmp_path / "b.nii.gz", (20, 18, 6, 3))
    common = {"licence": "CC0", "contrast": "T1w"}
    return [
        {"path": "a.nii.gz", "subject": "s1", "split": "train", "axes": [[0, 1], [1, 2]], **common},
        {"path": "b.nii.gz", "subject": "s2", "split": "validation", **common},
    ]


def dump(tmp_path: Path, entries: object, name: str = "m.json") -> Path:
    path = tmp_path / name
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def test_json_and_csv_say_the_same(tmp_path: Path, entries: list[dict]) -> None:
    text = "path,subject,split,licence,contrast,axes\n"
    text += 'a.nii.gz,s1,train,CC0,T1w,"0,1;1,2"\nb.nii.gz,s2,validation,CC0,T1w,\n'
    from_json = read_manifest(dump(tmp_path, {"volumes": entries}))
    assert from_json == read_manifest(dump(tmp_path, text, "m.csv"))
    assert from_json[0].axes == ((0, 1), (1, 2)) and from_json[1].axes == ((0, 1),)


def test_variables_in_paths(tmp_path: Path, entries: list[dict], monkeypatch) -> None:
    monkeypatch.setenv("SCANS", str(tmp_path))
    entries[0]["path"] = "${SCANS}/a.nii.gz"
    (tmp_path / "elsewhere").mkdir()
    entries[1]["path"] = "../b.nii.gz"
    assert len(read_manifest(dump(tmp_path / "elsewhere", entries))) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subject": "s2"}, "two splits"),
        ({"split": "test"}, "split 'test'"),
        ({"split": "validation"}, "no image with split 'train'"),
        ({"licence": ""}, "no 'licence'"),
        ({"path": "absent.nii.gz"}, "absent.nii.gz is not there"),
        ({"axes": [0, 3]}, "in-plane axes"),
        ({"axes": "x"}, "in-plane axes"),
        ({"axes": [[0, 0]]}, "in-plane axes"),
        ({"colour": "red"}, "unknown column 'colour'"),
    ],
)
def test_bad_entries(tmp_path: Path, entries: list[dict], change: dict, words: str) -> None:
    entries[0].update(change)
    with pytest.raises(BadInput, match=words):
        read_manifest(dump(tmp_path, entries))


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", "[1]", "not json"])
def test_bad_manifests(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput):
        read_manifest(dump(tmp_path, text))
    with pytest.raises(BadInput, match="cannot be read"):
        read_manifest(tmp_path / "absent.json")


def test_dataset_is_cached_and_memory_mapped(tmp_path: Path, entries: list[dict]) -> None:
    manifest = dump(tmp_path, entries)
    data = load_dataset(manifest, tmp_path / "cache")
    assert [len(data.train), len(data.validation)] == [1, 1]
    volume, series = data.train[0], data.validation[0]
    assert isinstance(volume.array, np.memmap) and volume.array.dtype == np.float16
    assert volume.array.shape == (1, 10, 18, 20) and series.array.shape == (3, 6, 18, 20)
    original = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj).transpose(2, 1, 0)
    assert np.allclose(volume.array[0] * volume.scale, original, atol=0.3)
    assert data.provenance() == [
        {
            "file": "a.nii.gz",
            "subject": "s1",
            "licence": "CC0",
            "contrast": "T1w",
            "matrix": [20, 18, 10],
            "spacing_mm": [1.0, 1.0, 3.0],
        }
    ]
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    again = load_dataset(manifest, tmp_path / "cache")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == files
    assert np.array_equal(again.train[0].array, volume.array)


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_views_put_slices_first(axes: tuple[int, int]) -> None:
    volume = training_volume((5, 7, 9), axes=[axes])
    view = volume.view(0, axes)
    assert view.shape[1:] == tuple((5, 7, 9)[a] for a in slices_first(axes)[1:])
    tissue = (view > 0.1).mean(axis=(1, 2))
    assert np.allclose(tissue, volume.slice_tissue(axes))


def test_slices_are_degraded_as_the_operator_does() -> None:
    sharp = torch.from_numpy(phantom((3, 32, 24)))
    shape = low_matrix((32, 24), 0.25)
    assert shape == (16, 12)
    crop = KspaceCrop(Grid((3, 32, 24)), (12, 16, 3))
    low = degrade_slices(sharp, shape, PLAIN, "sinc")
    assert torch.allclose(low, crop.zero_fill(crop.A_complex(sharp).abs()))
    # One slice does not depend on its neighbours.
    assert torch.allclose(low[1], degrade_slices(sharp[1:2], shape, PLAIN, "sinc")[0], atol=1e-6)


@pytest.mark.parametrize("shape", [(12, 40, 48), (1, 40, 48), (2, 33, 37), (7, 9, 11)])
def test_slab_sampler_on_any_size(shape: tuple[int, int, int]) -> None:
    recipe = load_recipe("unet3d_small")
    patches = PatchSpec(size=(8, 24, 24), batch=5, per_slab=2)
    sampler = SlabSampler(
        [training_volume(shape)], patches, recipe.degradation, recipe.input, recipe.augmentation
    )
    for step in range(6):
        batch = sampler.batch(step)
        assert batch.input.shape == batch.target.shape == (5, 1, 8, 24, 24)
        assert torch.isfinite(batch.input).all() and torch.isfinite(batch.target).all()


def test_batches_are_functions_of_their_number() -> None:
    volumes = [training_volume(seed=s) for s in range(2)]
    recipe = load_recipe("unet3d_small")
    patches = PatchSpec(size=(8, 16, 16), batch=4, per_slab=2)

    def sampler(**options: int) -> SlabSampler:
        return SlabSampler(
            volumes, patches, recipe.degradation, recipe.input, recipe.augmentation, **options
        )

    one, two = sampler(seed=5), sampler(seed=5)
    later = two.batch(7)
    for step in range(3):
        one.batch(step)
    assert torch.equal(one.batch(7).input, later.input)
    assert torch.equal(one.batch(7).target, later.target)
    assert not torch.equal(sampler(seed=6).batch(7).target, later.target)
    assert not torch.equal(sampler(seed=5, rank=1).batch(7).target, later.target)


def test_grid_visits_every_patch_once_per_epoch() -> None:
    volume = training_volume((6, 20, 22))
    patches = PatchSpec(mode="grid", size=(4, 8, 8), stride=(2, 6, 7), batch=5)
    sampler = make_sampler([volume], patches, DegradationSpec(keep=(0.25, 0.1)), SINC)
    starts = grid_starts((6, 20, 22), patches.size, patches.stride)
    assert [list(s) for s in starts] == [[0, 2], [0, 6, 12], [0, 7, 14]]
    total = 2 * 2 * 3 * 3
    assert sampler.epoch_steps == -(-total // 5)
    low, _ = sampler.pairs[0].images()
    expected = degrade_slices(
        torch.from_numpy(volume.array[0]), low_matrix((20, 22), 0.25), PLAIN, "sinc"
    )
    assert torch.equal(low, expected)
    seen = [sampler.batch(step) for step in range(sampler.epoch_steps)]
    inputs = torch.cat([b.input for b in seen])[:total].flatten(1)
    assert len({tuple(row.tolist()) for row in inputs}) == total
    second = sampler.batch(sampler.epoch_steps)
    assert not torch.equal(second.input, seen[0].input)


def test_grid_is_shared_between_processes() -> None:
    volume = training_volume((6, 20, 22))
    patches = PatchSpec(mode="grid", size=(4, 8, 8), stride=(2, 6, 7), batch=3)
    parts = [make_sampler([volume], patches, PLAIN, SINC, rank=r, world=2) for r in (0, 1)]
    assert parts[0].epoch_steps == 3
    rows = [p.batch(s).input.flatten(1) for s in range(3) for p in parts]
    assert len({tuple(row.tolist()) for row in torch.cat(rows)}) == 18


def test_published_scale_is_the_inputs_maximum() -> None:
    patches = PatchSpec(mode="grid", size=(12, 40, 48), stride=(1, 1, 1), batch=1)
    spec = dataclasses.replace(SINC, scale="maximum")
    batch = make_sampler([training_volume()], patches, PLAIN, spec).batch(0)
    assert float(batch.input.max()) == pytest.approx(1.0)
    plain = make_sampler([training_volume()], patches, PLAIN, SINC).batch(0)
    ratio = batch.target / plain.target.clamp_min(1e-6)
    assert torch.allclose(ratio[plain.target > 0.1], 1 / plain.input.max())


def test_slab_indices_stay_inside() -> None:
    rng = np.random.default_rng(0)
    spec = AugmentationSpec(
        slice_step=6, slice_average_probability=0.5, single_slice_probability=0.2
    )
    for count in (1, 2, 3, 9, 40):
        for _ in range(50):
            chosen = slice_indices(rng, np.ones(count), 8, spec, 0.5)
            assert chosen.shape[0] == 8 and chosen.min() >= 0 and chosen.max() < count
    assert list(reflect(np.arange(-3, 7), 4)) == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]


def test_augmentation_keeps_what_it_should() -> None:
    rng = np.random.default_rng(0)
    slab = torch.from_numpy(phantom((4, 24, 20)))
    off = AugmentationSpec()
    assert torch.equal(spatial(rng, slab, off), slab)
    assert torch.equal(intensity(rng, slab, off), slab)
    flips = AugmentationSpec(flip=True, transpose=True)
    assert torch.allclose(spatial(rng, slab, flips).sum(), slab.sum())
    large = torch.from_numpy(phantom((4, 96, 80)))
    halves = AugmentationSpec(rescale=(0.5, 0.5), rescale_probability=1.0)
    assert spatial(rng, large, halves).shape == (4, 48, 40)
    assert float(spatial(rng, large, halves).mean()) == pytest.approx(float(large.mean()), rel=0.1)
    assert spatial(rng, slab, halves).shape == slab.shape  # too small to be made smaller
    curve = tone_curve(torch.tensor([0.0, 0.125, 0.25, 1.0, 1.25]), np.array([0.4, 0.2, 0.6, 0.8]))
    assert curve.tolist() == pytest.approx([0.0, 0.2, 0.4, 0.8, 1.0])


def test_held_out_gain_of_the_identity_is_zero() -> None:
    held = HeldOut([training_volume()], DegradationSpec(), SINC, count=2, depth=8)
    figures = held(torch.nn.Identity())
    assert figures["gain_db"] == pytest.approx(0.0, abs=1e-4)
    assert figures["psnr_25"] > figures["psnr_10"] > figures["psnr_6.25"]

    class Known(torch.nn.Module):
        """Knows the answer."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            for low, sharp in (pair for slabs in held.slabs.values() for pair in slabs):
                if torch.equal(low, image[0, 0]):
                    return sharp[None, None]
            raise AssertionError

    # What is left is the error that the magnitude made inside the measured k-space.
    assert held(Known())["gain_db"] > 5


def test_labels_follow_intensity_and_tubes() -> None:
    image = np.repeat([0.0, 0.3, 0.6, 1.0], 500).astype(np.float32)
    thresholds = otsu_thresholds(image, 4)
    assert [int(np.searchsorted(thresholds, v)) for v in (0.0, 0.3, 0.6, 1.0)] == [0, 1, 2, 3]
    z, y, x = np.mgrid[:16, :24, :24].astype(np.float32)
    tube = torch.from_numpy(np.exp(-((y - 12) ** 2 + (x - 9) ** 2) / 2))
    ball = torch.from_numpy(np.exp(-((z - 8) ** 2 + (y - 12) ** 2 + (x - 9) ** 2) / 2))
    assert float(tubeness(tube, 1.0)[8, 12, 9]) > 0.15
    assert float(tubeness(ball, 1.0)[8, 12, 9]) < 0.05
    assert float(tubeness(torch.ones(8, 8, 8), 1.0).abs().max()) < 1e-4
    labels = label_slab(tube, load_recipe("pln_small").labels)
    assert labels[8, 12, 9] == 4 and labels[8, 2, 20] == 0


def test_eigenvalues_agree_with_lapack() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(50, 3, 3, dtype=torch.float64)
    matrix = matrix + matrix.transpose(1, 2)
    m = matrix.permute(1, 2, 0)
    found = symmetric_eigenvalues(m[0, 0], m[1, 1], m[2, 2], m[0, 1], m[0, 2], m[1, 2])
    assert torch.allclose(torch.stack(found, 1), torch.linalg.eigvalsh(matrix), atol=1e-7)


def test_label_sampler() -> None:
    recipe = load_recipe("pln_small")
    recipe = dataclasses.replace(recipe, patches=PatchSpec(size=(8, 16, 16), batch=3, per_slab=2))
    batch = LabelSampler([training_volume()], recipe).batch(0)
    assert batch.input.shape == batch.target.shape == (3, 1, 8, 16, 16)
    assert batch.target.dtype == torch.int64
    assert int(batch.target.min()) >= 0 and int(batch.target.max()) <= 4
