"""Figures, statistics, Table 2 of the paper, evaluation and comparison of series."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Events
from mriforge.metrics import resolution, similarity
from mriforge.metrics.compare import compare, to_csv
from mriforge.metrics.evaluate import FIGURES, evaluate
from mriforge.metrics.statistics import confidence_interval, paired_tests
from mriforge.volume import Grid, Series, Volume

GRID = Grid((6, 20, 22), (0.96, 0.96, 16.8), (10, -20, 30))


def series(frames=4, seed=0, grid=GRID, noise=0.0, dtype=np.float32):
    """A series of its own contrast in 0 ... 1000; with ``noise`` added, another estimate of it."""
    truth = np.random.default_rng(seed).random((frames, *grid.shape)) * 1000
    extra = np.random.default_rng(99).standard_normal(truth.shape) * noise
    return Series((truth + extra).astype(dtype), grid, np.arange(frames) * 1.5)


def test_figures_by_hand():
    x, y = np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]])
    assert similarity.mse(x, y) == 2
    assert similarity.rmse(x, y) == pytest.approx(math.sqrt(2))
    assert similarity.mae(x, y) == 1
    assert similarity.diff_sd(x, y) == 1
    assert similarity.nrmse(x, y) == pytest.approx(2 / math.sqrt(2))
    assert similarity.psnr(x, y, data_range=10) == pytest.approx(10 * math.log10(100 / 2))
    assert similarity.psnr(y, y) == math.inf
    assert math.isnan(similarity.nrmse(x, 0 * y))
    assert similarity.mae(x, y, mask=np.array([[1, 0]])) == 0


def test_figures_agree_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    x, y = series(1, noise=50).array, series(1).array
    assert similarity.nrmse(x, y) == pytest.approx(metrics.normalized_root_mse(y, x), rel=1e-6)
    expected = metrics.peak_signal_noise_ratio(y, x, data_range=1000.0)
    assert similarity.psnr(x, y, data_range=1000.0) == pytest.approx(expected, rel=1e-6)


def test_unsigned_integers_do_not_wrap_around():
    x, y = np.array([[1, 2]], np.uint8), np.array([[3, 2]], np.uint8)
    assert similarity.mae(x, y) == 1


def test_confidence_interval_and_tests_against_scipy():
    from scipy import stats

    a = np.random.default_rng(0).random(30)
    b = a - 0.05 + 0.1 * np.random.default_rng(1).random(30)
    test = paired_tests(a, b)
    assert test.t_p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert test.wilcoxon_p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert test.interval == pytest.approx((interval.low, interval.high))
    assert confidence_interval(a - b) == pytest.approx(test.interval)
    assert "n = 30" in test.statement


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_few_samples_are_said_to_be_few(count):
    values = np.arange(count) * 0.1
    test = paired_tests(values + 0.1 + 0.01 * values**2, values)
    assert test.n == count
    json.dumps(test.to_json(), allow_nan=False)
    if count < 2:
        assert test.statement.startswith("No test") and math.isnan(test.t_p)
    else:
        assert f"cannot give less than p = {2.0 ** (1 - count):.4g}" in test.statement


def test_equal_figures_and_equal_differences():
    assert paired_tests([1, 2, 3], [1, 2, 3]).statement.startswith("No difference")
    test = paired_tests([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    assert test.t == math.inf and test.t_p == 0
    assert paired_tests([math.inf, 1, 2, 4], [1, 1.5, 2, 3]).n == 3
    with pytest.raises(ValueError, match="equal lists"):
        paired_tests([1, 2], [1])


TABLE_2 = (
    ((1.09, 4.81), (2.19, 1.22), (3.50, 0.47), (4.38, 0.28)),
    ((1.09, 9.61), (2.19, 2.43), (3.50, 0.94), (4.38, 0.56)),
    ((1.36, 6.62), (2.73, 1.65), (4.38, 0.66), (5.47, 0.42)),
)


def test_table_2_of_the_paper():
    exceptions = []
    for subject, (protocol, printed) in enumerate(
        zip(resolution.SARASAEN2021, TABLE_2, strict=True), 1
    ):
        for row, (voxel, seconds) in zip(resolution.table(protocol), printed, strict=True):
            # Printed with two digits; half a unit of the last one, and float's rounding.
            if abs(row.seconds - seconds) > 0.0051:
                exceptions.append((subject, row.keep))
                assert row.seconds == pytest.approx(seconds, rel=0.007)
            assert row.voxel[0] == pytest.approx(voxel, abs=0.0075)
            assert row.voxel[1] == pytest.approx(voxel, abs=0.0135)
            assert row.voxel[2] == pytest.approx(4.0)
            assert row.seconds_phase_only >= row.seconds
    assert exceptions == [(2, 1.0)]


def test_resolution_refuses_nonsense():
    with pytest.raises(BadInput):
        resolution.effective(resolution.Protocol((1, 1, 1), (8, 8, 8), 0.0), 0.5)
    with pytest.raises(BadInput):
        resolution.effective(resolution.SARASAEN2021[0], 1.5)


def test_one_scale_for_the_whole_series():
    truth, image = series(), series(noise=30)
    found = evaluate(image, truth)
    assert found.scale == truth.array.max()
    x, y = image.array / found.scale, truth.array / found.scale
    for frame, scores in enumerate(found.frames):
        assert scores.psnr == pytest.approx(similarity.psnr(x[frame], y[frame]), rel=1e-4)
        assert scores.mae == pytest.approx(similarity.mae(x[frame], y[frame]), rel=1e-4)
        assert scores.diff_sd == pytest.approx(similarity.diff_sd(x[frame], y[frame]), rel=1e-4)
        assert scores.nrmse == pytest.approx(similarity.nrmse(x[frame], y[frame]), rel=1e-4)
        assert scores.time == truth.times[frame]
        assert scores.psnr_interval[0] < scores.psnr < scores.psnr_interval[1]
        assert scores.ssim_interval[0] < scores.ssim < scores.ssim_interval[1]
    assert found.psnr == pytest.approx(np.mean([f.psnr for f in found.frames]))
    tenfold = evaluate(
        Series(image.array * 10, GRID, image.times), Series(truth.array * 10, GRID, truth.times)
    )
    assert [getattr(tenfold, f) for f in FIGURES] == pytest.approx(
        [getattr(found, f) for f in FIGURES], rel=1e-5
    )


def test_json_is_strict_and_complete():
    found = evaluate(series(), series())
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(FIGURES) | {"frames"} <= set(data)
    assert data["psnr"] is None and data["ssim"] == 1 and "equal" in data["note"]
    assert len(data["frames"]) == 4 and set(FIGURES) <= set(data["frames"][0])


def test_maps_have_the_geometry_of_the_reference():
    truth, image = series(), series(noise=30)
    found = evaluate(image, truth, maps=True)
    assert found.ssim_map.grid == GRID and np.array_equal(found.ssim_map.times, truth.times)
    assert np.allclose(found.difference_map.array, image.array - truth.array, atol=1e-3)
    single = evaluate(image[0], truth[0], maps=True)
    assert isinstance(single.ssim_map, Volume) and single.ssim_map.array.dtype == np.float32


def test_mask_limits_every_figure():
    truth, image = series(), series(noise=30)
    mask = np.zeros(GRID.shape, np.uint8)
    mask[2:4, 5:15, 5:15] = 1
    spoiled = image.array.copy()
    spoiled[:, 5] = 0
    one = evaluate(image, truth, mask=Volume(mask, GRID))
    other = evaluate(Series(spoiled, GRID, image.times), truth, mask=mask)
    for figure in set(FIGURES) - {"ssim"}:
        assert getattr(one, figure) == pytest.approx(getattr(other, figure))


@pytest.mark.parametrize("shape", [(1, 24, 24), (6, 5, 4), (1, 1, 9), (2, 3, 1)])
@pytest.mark.parametrize("frames", [1, 20])
def test_single_slices_and_single_frames(shape, frames):
    grid = Grid(shape, (1.4, 1.4, 8))
    found = evaluate(series(frames, grid=grid, noise=20), series(frames, grid=grid))
    assert len(found.frames) == frames
    assert all(math.isfinite(getattr(found, figure)) for figure in FIGURES)
    json.dumps(found.to_json(), allow_nan=False)


def with_grid(**changes):
    values = {"shape": GRID.shape, "spacing": GRID.spacing, "origin": GRID.origin} | changes
    return series(grid=Grid(**values))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (lambda: with_grid(shape=(6, 20, 23)), "size differs"),
        (lambda: with_grid(spacing=(1, 0.96, 16.8)), "voxel size differs"),
        (lambda: with_grid(origin=(11, -20, 30)), "position differs"),
        (lambda: with_grid(direction=(0, -1, 0, 1, 0, 0, 0, 0, 1)), "orientation differs"),
        (lambda: series(3), "3 frames"),
        (lambda: Series(np.full((4, *GRID.shape), np.nan), GRID, np.arange(4)), "not numbers"),
        (lambda: Series(np.ones((4, *GRID.shape), complex), GRID, np.arange(4)), "real"),
    ],
)
def test_refusals_name_what_differs(image, words):
    with pytest.raises(BadInput, match=words) as refused:
        evaluate(image(), series())
    assert refused.value.hint


def test_rounding_of_headers_is_not_a_different_grid():
    evaluate(with_grid(origin=(10.003, -20, 30)), series())


def test_other_grids_are_resampled_only_when_asked():
    found = evaluate(with_grid(origin=(10.48, -20, 30)), series(), resample=True)
    assert found.ssim < 1


@pytest.mark.parametrize("mask", [np.zeros(GRID.shape), np.ones((2, 2, 2)), series(2)])
def test_bad_masks(mask):
    with pytest.raises(BadInput, match="mask"):
        evaluate(series(), series(), mask=mask)


def test_bad_scales():
    negative = Series(-series().array, GRID, np.arange(4))
    with pytest.raises(BadInput, match="no positive voxel"):
        evaluate(negative, negative)
    for scale in ("median", 0.0, math.nan):
        with pytest.raises(BadInput):
            evaluate(series(), series(), scale=scale)


def test_cancelling():
    events = Events()
    events.control.cancel()
    with pytest.raises(Cancelled):
        evaluate(series(), series(), events=events)


def test_comparison_of_methods():
    truth = series(8)
    images = {
        "rough": series(8, noise=80),
        "fine": series(8, noise=20),
        "middle": series(8, noise=40),
    }
    found = compare(images, truth, baseline="middle")
    assert found.best("psnr") == found.best("nrmse") == "fine"
    assert found.tests["fine"]["ssim"].mean_difference > 0 > found.tests["rough"]["ssim"].t
    assert found.tests["fine"]["ssim"].wilcoxon_p == pytest.approx(2 / 2**8)
    rows = found.table()
    assert [row["method"] for row in rows] == list(images)
    assert [row["psnr"]["best"] for row in rows] == [False, True, False]
    json.dumps(found.to_json(), allow_nan=False)
    lines = to_csv(found.evaluations).splitlines()
    assert lines[0] == "method,frame,time,psnr,ssim,nrmse,mae,diff_sd" and len(lines) == 25
    with pytest.raises(BadInput, match="baseline"):
        compare(images, truth, baseline="best")
    with pytest.raises(BadInput, match=r"short: .*frames"):
        compare({"short": series(2)}, truth)
    with pytest.raises(BadInput):
        compare({}, truth)
