"""Label maps of others: what their numbers mean, and the torsos that are made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mriforge.anatomy import NUMBER, ORGAN_OF_TISSUE, TISSUES
from mriforge.errors import BadInput
from mriforge.io import read
from mriforge.synthesis import render
from mriforge.synthesis.label_maps import SCHEMES, organ_labels, tissue_map, tissues_of
from mriforge.synthesis.vertebrae import posterior_elements
from mriforge.volume import Grid, Volume

TORSO = ("TS_example_ct_seg62_3mm.nii.gz", "TS_example_ct_3mm.nii.gz")
BTCV = "niivue_torsoLabel_BTCV11.nii.gz"


# --- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("tissues", range(len(TISSUES))),
        ("organs", range(11)),
        ("totalsegmentator", range(118)),
        ("btcv", range(12)),
        ("btcv13", range(14)),
        ("amos", range(16)),
    ],
)
def test_every_label_has_a_meaning(name: str, labels: range) -> None:
    assert sorted(SCHEMES[name].tissues) == list(labels)


@pytest.mark.parametrize("name", list(SCHEMES))
def test_a_scheme_outlines_the_organs_that_its_labels_reach(name: str) -> None:
    scheme = SCHEMES[name]
    reached = {int(ORGAN_OF_TISSUE[tissue]) for tissue in scheme.tissues.values()} - {0}
    assert tuple(sorted(reached)) == scheme.organs
    assert scheme.tissues[0] == 0
    assert scheme.title


@pytest.mark.parametrize(
    ("scheme", "label", "key"),
    [
        ("totalsegmentator", 2, "right_kidney"),
        ("totalsegmentator", 3, "left_kidney"),
        ("totalsegmentator", 5, "liver"),
        ("totalsegmentator", 18, "small_intestine"),
        ("totalsegmentator", 19, "duodenum"),
        ("totalsegmentator", 25, "other_bone"),
        ("totalsegmentator", 52, "aorta"),
        ("totalsegmentator", 63, "inferior_vena_cava"),
        ("totalsegmentator", 64, "portal_and_other_veins"),
        ("totalsegmentator", 79, "spinal_cord"),
        ("totalsegmentator", 86, "muscle"),
        ("totalsegmentator", 92, "other_bone"),
        ("btcv", 1, "spleen"),
        ("btcv", 10, "pancreas"),
        ("btcv", 11, "urine"),
        ("btcv13", 11, "pancreas"),
        ("amos", 3, "left_kidney"),
        ("amos", 13, "duodenum"),
        ("amos", 14, "urine"),
        ("chaos_mr", 63, "liver"),
        ("chaos_mr", 126, "right_kidney"),
        ("chaos_mr", 189, "left_kidney"),
        ("chaos_mr", 252, "spleen"),
    ],
)
def test_labels_mean_what_their_authors_say(scheme: str, label: int, key: str) -> None:
    assert SCHEMES[scheme].tissues[label] == NUMBER[key]
    mapped = tissues_of(np.array([[[0, label]]]), scheme)
    assert mapped.tolist() == [[[0, NUMBER[key]]]]


def test_organ_labels_are_ours_and_of_any_input_type() -> None:
    array = np.array([[[0, 6, 2], [3, 13, 4]]])
    for kind in (np.uint8, np.int32, np.float64):
        found = organ_labels(array.astype(kind), "amos")
        assert found.dtype == np.uint8
        assert found.tolist() == [[[0, 1, 4], [5, 7, 0]]]


def test_grey_values_of_chaos_may_be_a_little_off() -> None:
    found = organ_labels(np.array([[[0, 55, 70, 110, 135, 175, 200, 240, 255]]]), "chaos_mr")
    assert found.ravel().tolist() == [0, 1, 1, 4, 4, 5, 5, 2, 2]


@pytest.mark.parametrize(
    ("values", "scheme", "said"),
    [
        ([0, 1], "nonsense", "no scheme of labels called 'nonsense'.*btcv"),
        ([0, 15], "btcv", "the labels 15, which BTCV.*would fit.*amos"),
        ([0, 999], "btcv", "the labels 999.*renumber"),
        ([0.0, 0.5], "btcv", "between whole numbers"),
        ([0, -3], "btcv", "-3"),
        ([0.0, np.nan], "btcv", "between whole numbers"),
    ],
)
def test_wrong_labels_are_refused_with_a_sentence(values: list, scheme: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        organ_labels(np.array([[values]]), scheme)


# --- vertebrae -------------------------------------------------------------------------------


def vertebra(voxel: float, cord: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels, cord and truth of bodies: an elliptic body, an arch about a canal, processes."""
    size = round(90 / voxel)
    z, y, x = np.ogrid[:size, :size, :size]
    z, y, x = z * voxel, (y - size / 3) * voxel, (x - size / 2) * voxel
    body = (y / 16) ** 2 + (x / 22) ** 2 < 1
    ring = ((y - 25) ** 2 + x**2 < 14**2) & ((y - 25) ** 2 + x**2 > 9**2) & ~body
    spinous = (np.abs(x) < 3) & (y > 37) & (y < 55)
    transverse = (np.abs(y - 22) < 4) & (np.abs(x) > 10) & (np.abs(x) < 38)
    arch = ring | ((spinous | transverse) & ((z + 0 * y) % 30 > 12))
    levels = np.zeros((size,) * 3, dtype=np.int32)
    number = (z // 30 + 27 + 0 * y + 0 * x).astype(np.int32)
    inside = (z % 30 < 24) & (body | arch)
    levels[inside] = number[inside]
    canal = ((y - 25) ** 2 + x**2 < 6**2) & (z >= 0)
    return levels, canal if cord else np.zeros_like(canal), inside & body


@pytest.mark.parametrize("voxel", [1.5, 3.0])
@pytest.mark.parametrize("cord", [True, False])
def test_bodies_are_told_from_arches(voxel: float, cord: bool) -> None:
    levels, canal, truth = vertebra(voxel, cord)
    behind = posterior_elements(levels, canal)
    assert not behind[levels == 0].any()
    body = (levels > 0) & ~behind
    dice = 2 * (body & truth).sum() / (body.sum() + truth.sum())
    assert dice > (0.95 if cord else 0.85)


def test_organ_labels_leave_arches_out() -> None:
    levels, canal, truth = vertebra(3.0, True)
    array = np.where(canal, 79, levels)
    found = organ_labels(array, "totalsegmentator")
    assert (found[canal] == 9).all()
    assert (found == 10).sum() == pytest.approx(truth.sum(), rel=0.08)
    assert (found == 10)[truth].mean() > 0.92


# --- torsos ----------------------------------------------------------------------------------


def simple_map(spacing: tuple[float, float, float] = (4.0, 4.0, 5.0)) -> Volume:
    """BTCV labels: liver and right kidney on the right, spleen and left kidney on the left."""
    shape = (44, 60, 80)
    z, y, x = (n * s for n, s in zip(np.ogrid[:44, :60, :80], spacing[::-1], strict=True))
    array = np.zeros(shape, dtype=np.uint8)
    for label, (c, b, a), radius in (
        (6, (140, 110, 110), 42),
        (1, (150, 130, 215), 25),
        (2, (80, 145, 115), 24),
        (3, (80, 145, 205), 24),
        (8, (0, 130, 165), 9),
    ):
        away = (y - b) ** 2 + (x - a) ** 2 + (0 if label == 8 else (z - c) ** 2)
        array[np.broadcast_to(away < radius**2, shape)] = label
    return Volume(array, Grid(shape, spacing, (-160.0, -120.0, 0.0)))


def flipped(volume: Volume, stored_axes: tuple[int, ...]) -> Volume:
    """The same body stored the other way round along some axes."""
    array, direction = volume.array, volume.grid.direction_matrix.copy()
    first = np.zeros(3)
    for axis in stored_axes:
        array = np.flip(array, 2 - axis)
        direction[:, axis] *= -1
        first[axis] = volume.grid.stored_shape[axis] - 1
    origin = volume.grid.index_to_world(first)
    grid = Grid(array.shape, volume.grid.spacing, tuple(origin), tuple(direction.ravel()))
    return Volume(np.ascontiguousarray(array), grid)


def place(tissues, key: str) -> np.ndarray:
    index = np.argwhere(tissues.array == NUMBER[key]).mean(axis=0)
    return tissues.grid.index_to_world(index[::-1])


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_storage_order_does_not_matter(axes: tuple[int, ...]) -> None:
    straight = tissue_map(simple_map(), "btcv", spacing=5.0)
    turned = tissue_map(flipped(simple_map(), axes), "btcv", spacing=5.0)
    assert np.array_equal(straight.labels(), turned.labels())
    assert np.allclose(turned.grid.direction_matrix, np.eye(3))
    assert place(turned, "liver")[0] < place(turned, "spleen")[0], "x grows to the left"


def test_organs_keep_place_and_volume_on_the_canonical_grid() -> None:
    labels = simple_map()
    tissues = tissue_map(labels, "btcv", spacing=3.0, subject="someone", source={"licence": "CC0"})
    assert tissues.grid.spacing == (3.0, 3.0, 3.0)
    assert tissues.subject == "someone"
    assert tissues.source == {"licence": "CC0"}
    assert tissues.organs == (1, 2, 3, 4, 5, 6)
    for label, organ in ((6, 1), (1, 2), (2, 4), (3, 5)):
        before = (labels.array == label).sum() * np.prod(labels.grid.spacing)
        after = (tissues.labels() == organ).sum() * 27.0
        assert after == pytest.approx(before, rel=0.03)
        world = labels.grid.index_to_world(np.argwhere(labels.array == label).mean(axis=0)[::-1])
        found = np.argwhere(tissues.labels() == organ).mean(axis=0)[::-1]
        assert tissues.grid.index_to_world(found) == pytest.approx(world, abs=0.5)


def test_an_invented_body_surrounds_the_organs_and_has_no_label() -> None:
    tissues = tissue_map(simple_map(), "btcv", spacing=5.0)
    array = tissues.array
    again = tissue_map(simple_map(), "btcv", spacing=5.0)
    assert np.array_equal(array, again.array), "the same labels give the same body"
    assert set(np.unique(tissues.labels())) == {0, 1, 2, 4, 5}
    for key in ("skin", "subcutaneous_fat", "muscle", "visceral_fat", "colon", "other_bone"):
        assert (array == NUMBER[key]).any(), key
    air = array == 0
    assert air[:, 0].all() or air[:, :, 0].all()
    near = np.zeros_like(air)
    for axis in (1, 2):
        for step in (1, -1):
            near |= np.roll(air, step, axis)
    inside = near & ~air
    inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
    assert (array[inside] == NUMBER["skin"]).mean() > 0.95
    # Lung lies above the liver, nowhere below its middle.
    lung = np.argwhere(array == NUMBER["lung"])[:, 0]
    liver = np.argwhere(tissues.labels() == 1)[:, 0]
    assert lung.min() > liver.min()


def ct_of(labels: Volume) -> Volume:
    """Subcutaneous fat, muscle wall, fat, organs, a pocket of gas and a table below."""
    ny, nx = labels.array.shape[1:]
    y, x = np.ogrid[:ny, :nx]
    away = np.hypot((y - 31) / 26, (x - 40) / 36)[None] * 36 * 4.0  # mm along x
    image = np.full(labels.array.shape, -1000.0)
    image[np.broadcast_to(away < 140, image.shape)] = -100
    image[np.broadcast_to((away < 120) & (away > 100), image.shape)] = 50
    image[labels.array > 0] = 60
    image[8:12, 16:20, 38:44] = -900
    image[:, ny - 1] = 200
    return Volume(image.astype(np.float32), labels.grid)


def test_fat_muscle_and_gas_are_found_in_the_ct() -> None:
    labels = simple_map()
    tissues = tissue_map(labels, "btcv", image=ct_of(labels), spacing=4.0)
    array = tissues.array
    # Along x from the right through the middle, below the organs.
    line = array[5, round(31 * 4 / 4)]
    order = [TISSUES[n].key for n in line[np.insert(np.diff(line) != 0, 0, True)]]
    assert order[:5] == ["air", "skin", "subcutaneous_fat", "muscle", "visceral_fat"]
    assert order[-5:] == ["visceral_fat", "muscle", "subcutaneous_fat", "skin", "air"]
    assert (array == NUMBER["bowel_gas"]).any()
    assert (array[:, -2:] == 0).all(), "the table is not a part of the body"
    wanted = (labels.array == 6).sum() * np.prod(labels.grid.spacing)
    assert (tissues.labels() == 1).sum() * 64.0 == pytest.approx(wanted, rel=0.03)


def test_images_that_are_no_ct_and_ct_elsewhere_are_refused() -> None:
    labels = simple_map()
    magnetic = Volume(np.abs(ct_of(labels).array), labels.grid)
    with pytest.raises(BadInput, match="not a CT in Hounsfield units"):
        tissue_map(labels, "btcv", image=magnetic)
    far = Grid(labels.grid.shape, labels.grid.spacing, (5000.0, 0.0, 0.0))
    with pytest.raises(BadInput, match="does not cover"):
        tissue_map(labels, "btcv", image=Volume(ct_of(labels).array, far))
    with pytest.raises(BadInput, match="Nothing is labelled in Peter"):
        tissue_map(labels.with_array(0 * labels.array), "btcv", subject="Peter")


def test_our_own_tissue_maps_pass_unchanged() -> None:
    random = np.random.default_rng(0)
    array = random.integers(0, len(TISSUES), (6, 7, 8)).astype(np.uint8)
    volume = Volume(array, Grid(array.shape, (3.0,) * 3))
    assert np.array_equal(tissue_map(volume, "tissues", spacing=3.0).array, array)


# --- real maps -------------------------------------------------------------------------------


def test_a_real_torso_is_whole(shared_data: Path) -> None:
    labels, image = (read(shared_data / "abdomen" / name) for name in TORSO)
    tissues = tissue_map(labels, "totalsegmentator", image=image, spacing=3.0)
    array = tissues.array
    ml = np.bincount(tissues.labels().ravel(), minlength=11) * 0.027
    original = np.bincount(labels.array.ravel(), minlength=118) * 0.027
    for organ, label in {1: 5, 2: 1, 3: 7, 4: 2, 5: 3, 6: 6, 7: 19, 8: 18, 9: 79}.items():
        assert ml[organ] == pytest.approx(original[label], rel=0.02)
    bodies, vertebrae = ml[10], original[27:51].sum()
    assert 0.55 < bodies / vertebrae < 0.8
    assert place(tissues, "right_kidney")[0] < place(tissues, "left_kidney")[0]
    # In the middle of the body nothing is air: gas is gas of a bowel, or lung.
    middle = array[:, array.shape[1] // 2 - 10 : array.shape[1] // 2 + 10, 50:70]
    assert (middle != 0).all()
    fat = np.isin(array, [NUMBER["visceral_fat"], NUMBER["subcutaneous_fat"]])
    assert 0.2 < fat.sum() / (array > 0).sum() < 0.6
    picture = render(tissues, np.random.default_rng(1)).array
    assert picture[array > 0].mean() > 3 * picture[array == 0].mean()


def test_a_real_map_without_ct_gets_a_body(shared_data: Path) -> None:
    labels = read(shared_data / "abdomen" / BTCV)
    tissues = tissue_map(labels, "btcv", spacing=4.0)
    ml = np.bincount(tissues.labels().ravel(), minlength=11) * 0.064
    voxel = np.prod(labels.grid.spacing) / 1000
    for organ, label in {1: 6, 2: 1, 3: 10, 4: 2, 5: 3, 6: 7}.items():
        assert ml[organ] == pytest.approx((labels.array == label).sum() * voxel, rel=0.05)
    assert ml[7:].sum() == 0
