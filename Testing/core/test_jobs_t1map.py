"""The t1map command: where times come from, what is written, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mriforge.errors import BadInput
from mriforge.factors import Factors
from mriforge.io import read, write
from mriforge.jobs import Request, run_request
from mriforge.relaxometry.signals import inversion_recovery, ir_flash, spoiled_gradient_echo
from mriforge.volume import Grid, Series, Volume

TIMES_MS = np.array([80.0, 200, 500, 900, 1500, 2500, 4000])
ANGLES = np.array([2.0, 5, 10, 15, 20])
SHAPE = (2, 5, 6)
GRID = Grid(SHAPE, (1.5, 1.25, 8.0), (10.0, -20.0, 30.0), (0, 1, 0, -1, 0, 0, 0, 0, 1))
T1_S = np.random.default_rng(0).uniform(0.4, 1.8, SHAPE)


def recovery(dtype=np.float32):
    signal = np.moveaxis(inversion_recovery(T1_S, TIMES_MS / 1000, -0.95), -1, 0)
    return (1000 * np.abs(signal)).astype(dtype)


def stored(path, array, times=None, name="frame", unit=""):
    times = np.arange(len(array), dtype=float) if times is None else times
    write(Series(array, GRID, times, name, unit), path)
    return str(path)


def t1map(source, output, **options):
    return run_request(Request("t1map", {"input": str(source), "output": str(output), **options}))


def truth(path, rel=2e-3):
    image = read(path)
    assert isinstance(image, Volume) and image.grid.matches(GRID)
    assert image.array == pytest.approx(1000 * T1_S, rel=rel)
    return image


def test_times_of_the_option_and_everything_written(tmp_path):
    source = stored(tmp_path / "in.nii.gz", recovery())
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 1:4] = 1
    write(Volume(mask, GRID), tmp_path / "mask.nii.gz")
    result = t1map(
        source,
        tmp_path / "t1.nii.gz",
        model="ir",
        times=TIMES_MS.tolist(),
        mask=str(tmp_path / "mask.nii.gz"),
        quality=str(tmp_path / "quality.nii.gz"),
        error=str(tmp_path / "error.nii.gz"),
        json=str(tmp_path / "figures.json"),
    )
    image, inside = read(tmp_path / "t1.nii.gz"), mask > 0
    assert image.array[inside] == pytest.approx(1000 * T1_S[inside], rel=1e-4)
    assert not image.array[~inside].any()
    assert image.metadata["unit"] == "ms" and image.metadata["quantity"] == "T1"
    assert image.metadata["provenance"]["job"] == "t1map"
    assert image.metadata["provenance"]["times_ms"] == TIMES_MS.tolist()
    quality = read(tmp_path / "quality.nii.gz").array
    assert (quality[inside] > 0.999).all() and (quality[~inside] == -1).all()
    assert np.isfinite(read(tmp_path / "error.nii.gz").array).all()
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["voxels"]["fitted"] == result["voxels"]["fitted"] == 36
    assert figures["t1_median_ms"] == pytest.approx(1000 * np.median(T1_S[inside]), abs=1)


@pytest.mark.parametrize("key", ["TI_ms", "InversionTime"])
def test_times_of_the_file_beside(tmp_path, key):
    stored(tmp_path / "in.nii.gz", recovery())
    factor = 1 if key.endswith("ms") else 1e-3
    (tmp_path / "in.json").write_text(json.dumps({key: (factor * TIMES_MS).tolist()}))
    t1map(tmp_path / "in.nii.gz", tmp_path / "t1.nrrd", model="ir")
    truth(tmp_path / "t1.nrrd")


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [("inversion time", "ms", 1), ("inversion time", "s", 1e-3), ("trigger time", "ms", 1)],
)
def test_times_of_a_sequence(tmp_path, name, unit, factor):
    source = stored(tmp_path / "in.seq.nrrd", recovery(), factor * TIMES_MS, name, unit)
    t1map(source, tmp_path / "t1.nii.gz", model="ir")
    truth(tmp_path / "t1.nii.gz")


def test_dicom_there_and_back(tmp_path):
    array = recovery(np.int16)
    write(Series(array, GRID, TIMES_MS, "inversion time", "ms"), tmp_path / "in")
    t1map(tmp_path / "in", tmp_path / "out/", model="ir")
    image = read(tmp_path / "out")
    image = image[0] if isinstance(image, Series) else image
    assert image.grid.matches(GRID, 1e-2)
    assert image.array == pytest.approx(1000 * T1_S, rel=0.02)


def test_molli_and_signed_images(tmp_path):
    t, ratio = TIMES_MS[:, None, None, None] / 1000, 1.9
    signed = (1000 * (1 - ratio * np.exp(-t * (ratio - 1) / T1_S))).astype(np.float32)
    for model, signal, array in (
        ("molli", "magnitude", abs(signed)),
        ("looklocker", "real", signed),
    ):
        source = stored(tmp_path / f"{model}.nii.gz", array)
        result = t1map(
            source,
            tmp_path / f"{model}_t1.nii.gz",
            model=model,
            signal=signal,
            times=TIMES_MS.tolist(),
        )
        truth(tmp_path / f"{model}_t1.nii.gz")
        assert result["model"] == model


def test_a_train_of_pulses_in_images(tmp_path):
    pulses = TIMES_MS / 1000 / 0.004
    array = np.moveaxis(ir_flash(T1_S, pulses, 0.004, 5.0, -0.95), -1, 0)
    source = stored(tmp_path / "in.nii.gz", (1e5 * abs(array)).astype(np.float32))
    options = {"model": "irflash", "times": TIMES_MS.tolist(), "tr": 4.0}
    t1map(source, tmp_path / "t1.nii.gz", flip_angles=[5.0], **options)
    truth(tmp_path / "t1.nii.gz")
    with pytest.raises(BadInput, match="one flip angle"):
        t1map(source, tmp_path / "t1.nii.gz", flip_angles=[5.0, 6.0], **options)


def test_flip_angles_with_a_b1_map(tmp_path):
    b1 = np.random.default_rng(1).uniform(0.8, 1.2, SHAPE).astype(np.float32)
    flips = ANGLES[:, None, None, None]
    array = 1e4 * spoiled_gradient_echo(T1_S, flips * b1, 0.008)
    source = stored(tmp_path / "in.nii.gz", array.astype(np.float32))
    write(Volume(b1, GRID), tmp_path / "b1.nii.gz")
    result = t1map(
        source,
        tmp_path / "t1.nii.gz",
        flip_angles=ANGLES.tolist(),
        tr=8.0,
        b1=str(tmp_path / "b1.nii.gz"),
    )
    truth(tmp_path / "t1.nii.gz")
    assert result["model"] == "vfa" and result["b1"] is True


def test_factors_of_a_reconstruction(tmp_path):
    pulses = np.arange(100) * 6 + 1
    series = ir_flash(T1_S.ravel(), pulses, 0.0036, 5.0, -0.95).T
    left, values, right = np.linalg.svd(series, full_matrices=False)
    temporal = np.zeros((8, 2, 1, 100), np.float32)
    temporal[:, 1, 0] = left[:, :8].T
    spatial = (values[:8, None] * right[:8]).reshape(8, *SHAPE).astype(np.complex64)
    info = {"repetition_s": 0.0036, "flip_deg": 5.0}
    Factors(spatial, temporal, GRID, pulses * 0.0036, info).save(tmp_path / "f.npz")
    result = t1map(tmp_path / "f.npz", tmp_path / "t1.nii.gz", cardiac=1)
    truth(tmp_path / "t1.nii.gz")
    assert (result["model"], result["cardiac"]) == ("irflash", 1)
    Factors(spatial, temporal, GRID, pulses * 0.0036).save(tmp_path / "bare.npz")
    with pytest.raises(BadInput, match="TR and flip angle"):
        t1map(tmp_path / "bare.npz", tmp_path / "t1.nii.gz")
    t1map(tmp_path / "bare.npz", tmp_path / "t1.nii.gz", cardiac=1, tr=3.6, flip_angles=[5.0])
    truth(tmp_path / "t1.nii.gz")
    with pytest.raises(BadInput, match="no cardiac phase 7"):
        t1map(tmp_path / "f.npz", tmp_path / "t1.nii.gz", cardiac=7)


def test_registration_is_done_and_noted(tmp_path):
    y, x = np.mgrid[:40, :40]
    t1 = np.where(np.hypot(y - 20, x - 20) < 9, 1.4, 0.5)
    frames = np.abs(np.moveaxis(inversion_recovery(t1, TIMES_MS / 1000, -0.95), -1, 0))
    frames = 1000 * frames[:, None] * (np.hypot(y - 20, x - 20) < 17)
    frames[3] = np.roll(frames[3], 3, axis=1)
    grid = Grid((1, 40, 40), (1.5, 1.5, 8.0), (0, 0, 0), tuple(np.eye(3).ravel()))
    write(Series(frames.astype(np.float32), grid, TIMES_MS), tmp_path / "in.nii.gz")
    options = {"model": "ir", "times": TIMES_MS.tolist()}
    still = t1map(tmp_path / "in.nii.gz", tmp_path / "a.nii.gz", **options)
    moved = t1map(
        tmp_path / "in.nii.gz", tmp_path / "b.nii.gz", register=True, transform="rigid", **options
    )
    assert moved["registration"]["transform"] == "rigid"
    assert np.argmax(moved["registration"]["displacement_mm"]) == 3
    assert "registration" not in still
    wrong = [
        np.abs(read(tmp_path / name).array[0] / 1000 - t1)[10:31, 10:31].mean()
        for name in ("a.nii.gz", "b.nii.gz")
    ]
    assert wrong[1] < 0.7 * wrong[0]


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda a: a, {"times": [100.0, 200.0]}, "7 images and 2 inversion times"),
        (lambda a: a, {}, "does not say the inversion times"),
        (lambda a: a, {"model": None}, "--model is missing"),
        (lambda a: a[:2], {"times": [1.0, 2.0]}, "at least 3 images"),
        (lambda a: a[0], {"times": TIMES_MS.tolist()}, "at least 3 images"),
        (lambda a: 0 * a, {"times": TIMES_MS.tolist()}, "same value"),
        (lambda a: np.where(a == a.max(), np.nan, a), {"times": TIMES_MS.tolist()}, "NaN"),
        (lambda a: a, {"times": [5.0] * 7}, "different inversion times"),
        (lambda a: a, {"times": [-5.0] * 7}, "at least 0"),
        (lambda a: a, {"times": TIMES_MS.tolist(), "range": [900.0, 100.0]}, "--range"),
        (lambda a: a, {"times": TIMES_MS.tolist(), "inversion": 1.0}, "--inversion"),
        (lambda a: a, {"model": "molli", "inversion": -1.0}, "no meaning"),
        (lambda a: a, {"model": "vfa", "flip_angles": [2.0, 5.0]}, "7 images and 2 flip"),
        (lambda a: a, {"model": "vfa"}, "does not say the flip angles"),
        (lambda a: a, {"model": "vfa", "flip_angles": [1.0, 2, 3, 4, 5, 6, 7]}, "--tr MS"),
        (lambda a: a, {"times": TIMES_MS.tolist(), "register": True}, "too small"),
    ],
)
def test_bad_input_is_said_and_nothing_is_written(tmp_path, change, options, said):
    array = np.asarray(change(recovery()), np.float32)
    image = Series(array, GRID, np.arange(len(array))) if array.ndim == 4 else Volume(array, GRID)
    write(image, tmp_path / "in.nii.gz")
    with pytest.raises(BadInput, match=said):
        t1map(tmp_path / "in.nii.gz", tmp_path / "t1.nii.gz", **{"model": "ir", **options})
    assert not (tmp_path / "t1.nii.gz").exists()


def test_masks_and_maps_of_another_grid_are_refused(tmp_path):
    source = stored(tmp_path / "in.nii.gz", recovery())
    other = Grid((2, 5, 7), GRID.spacing, GRID.origin, GRID.direction)
    array = np.arange(70, dtype=np.float32).reshape(2, 5, 7)
    write(Volume(array, other), tmp_path / "m.nii.gz")
    with pytest.raises(BadInput, match="not on the grid"):
        t1map(
            source,
            tmp_path / "t1.nii.gz",
            model="ir",
            times=TIMES_MS.tolist(),
            mask=str(tmp_path / "m.nii.gz"),
        )
    with pytest.raises(BadInput, match="--b1 is about flip angles"):
        t1map(source, tmp_path / "o.nii.gz", model="ir", b1=str(tmp_path / "m.nii.gz"))


def test_a_damaged_file_beside_is_named(tmp_path):
    source = stored(tmp_path / "in.nii.gz", recovery())
    (tmp_path / "in.json").write_text("{")
    with pytest.raises(BadInput, match=r"in\.json"):
        t1map(source, tmp_path / "t1.nii.gz", model="ir")


def test_the_kidney_series(shared_data, tmp_path):
    """Magnitudes beyond 32767 were stored with a sign: they are flagged, not fitted."""
    result = t1map(
        shared_data / "dynamic/mdreg_kidney_MOLLI_2sl_8TI.nii.gz",
        tmp_path / "t1.nii.gz",
        model="molli",
    )
    assert result["images"] == 8 and result["voxels"]["bad_input"] == 334
    t1 = read(tmp_path / "t1.nii.gz").array
    assert t1.shape == (2, 256, 256)
    # Psoas muscle beside the spine, by eye.
    muscle = t1[0, 150:175, 102:108]
    assert 900 < np.median(muscle) < 1300
