"""Mean 0 and deviation 1 over what was acquired: one way for training and for outlining."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mriforge.errors import BadInput
from mriforge.io import write
from mriforge.physics.canonical import canonical_grid, inside, on_grid
from mriforge.physics.zscore import standardised, zscore
from mriforge.training.cases import load_pair, read_cases
from mriforge.volume import Grid, Volume

OBLIQUE = Rotation.from_euler("xyz", [0.4, 0.3, 0.7]).as_matrix()


def picture(shape=(20, 30, 40), turn=OBLIQUE, spacing=3.0) -> Volume:
    array = np.random.default_rng(0).normal(50, 5, shape).astype(np.float32)
    array = ndimage.gaussian_filter(array, 2) + 20
    return Volume(array, Grid(shape, (spacing,) * 3, (3.0, -7.0, 11.0), tuple(turn.ravel())))


def test_without_empty_corners_it_is_the_plain_formula_bit_for_bit() -> None:
    volume = picture(turn=np.eye(3), spacing=2.0)
    image = on_grid(volume, canonical_grid(volume.grid, 3.0)).array
    plain = (image - image.mean()) / max(float(image.std()), 1e-12)
    found = standardised(volume, 3.0)
    assert found.array.dtype == np.float32 and found.grid == canonical_grid(volume.grid, 3.0)
    assert np.array_equal(found.array, plain)
    assert np.array_equal(zscore(image), plain)
    assert np.array_equal(zscore(image, np.ones(image.shape, bool)), plain)
    assert abs(plain.mean()) < 1e-4 and plain.std() == pytest.approx(1, abs=1e-4)


def test_what_an_oblique_volume_leaves_empty_does_not_count() -> None:
    volume = picture()
    found = standardised(volume, 3.0)
    seen = inside(volume.grid, found.grid)
    assert 0.2 < seen.mean() < 0.8
    assert abs(found.array[seen].mean()) < 1e-4
    assert found.array[seen].std() == pytest.approx(1, abs=1e-3)
    assert np.unique(found.array[~seen]) == found.array[seen].min()


def test_what_is_learned_from_is_what_will_be_outlined(tmp_path: Path) -> None:
    volume = picture()
    labels = volume.with_array((volume.array > 70).astype(np.uint8))
    write(volume, tmp_path / "image.nii.gz")
    write(labels, tmp_path / "labels.nii.gz")
    row = {"image": "image.nii.gz", "labels": "labels.nii.gz", "subject": "a"}
    (tmp_path / "cases.json").write_text(json.dumps({"cases": [row]}))
    learned, _ = load_pair(read_cases(tmp_path / "cases.json")[0], 3.0)
    outlined = standardised(volume, 3.0)
    assert learned.grid.matches(outlined.grid)
    assert np.allclose(learned.array, outlined.array, atol=1e-3)


def test_one_value_large_values_and_not_a_number() -> None:
    flat = np.full((4, 5, 6), 7.1, np.float32)
    assert not zscore(flat).any() and zscore(flat).shape == flat.shape
    large = picture(turn=np.eye(3)).array
    assert np.allclose(zscore(large * np.float32(1e25)), zscore(large), atol=1e-4)
    flat[0, 0, 0] = np.inf
    with pytest.raises(BadInput, match="not numbers"):
        zscore(flat)
    seen = np.ones(flat.shape, bool)
    seen[0, 0, 0] = False
    assert not zscore(flat, seen).any()
