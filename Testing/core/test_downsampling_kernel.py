"""A learned kernel: its file, its operator, and what can be done with it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mriforge.degrade import DegradeOptions, degrade
from mriforge.errors import BadInput
from mriforge.networks.downsampling import Downsampler
from mriforge.physics.downsampling import (
    DownsamplingKernel,
    KernelDownsampling,
    gaussian_kernel,
    read_kernel,
)
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.profiles import read_profile
from mriforge.volume import Grid, Volume


def lopsided(shape: tuple[int, ...] = (13, 13), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) ** 3


def test_file_round_trip(tmp_path) -> None:
    kernel = DownsamplingKernel(lopsided(), (2, 2), (1.25, 1.5), {"scanner": "ours"})
    path = tmp_path / "k.json"
    path.write_text(kernel.to_json(), encoding="utf-8")
    found = read_kernel(path)
    assert np.allclose(found.taps, kernel.taps, atol=1e-8)
    assert found.taps.sum() == pytest.approx(1.0)
    assert (found.ratio, found.spacing) == ((2, 2), (1.25, 1.5))
    assert found.provenance == {"scanner": "ours"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "not a downsampling kernel"),
        ({"taps": [[1, 2], [3, 4]]}, "no middle"),
        ({"taps": [[0.0]]}, "positive"),
        ({"taps": [[-1.0]]}, "positive"),
        ({"taps": [["a"]]}, "not numbers"),
        ({"taps": None}, "no middle|not numbers"),
        ({"ratio": [2]}, "does not fit"),
        ({"ratio": [2, 0.5]}, "does not fit"),
        ({"ratio": 2}, "not numbers"),
        ({"spacing_mm": [1.0, -1.0]}, "pixel size"),
    ],
)
def test_files_that_are_no_kernels(tmp_path, change: dict, words: str) -> None:
    tree = {**json.loads(gaussian_kernel(1.0).to_json()), **change}
    path = tmp_path / "k.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(BadInput, match=words) as caught:
        read_kernel(path)
    assert "k.json" in caught.value.message


def test_missing_and_broken_files(tmp_path) -> None:
    with pytest.raises(BadInput, match="There is no downsampling kernel"):
        read_kernel(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match="not a downsampling kernel"):
        read_kernel(tmp_path / "bad.json")


def test_an_impulse_becomes_the_kernel() -> None:
    kernel = DownsamplingKernel(lopsided(), (1, 1))
    op = KernelDownsampling(Grid((2, 30, 33)), kernel)
    image = torch.zeros(2, 30, 33, dtype=torch.double)
    image[1, 14, 16] = 1
    found = op.A(image)
    assert torch.allclose(found[1, 8:21, 10:23], torch.from_numpy(kernel.taps), atol=1e-12)
    assert float(found[0].abs().max()) < 1e-15


def test_operator_is_what_the_generator_does() -> None:
    """Inside of the image, where the one sees all that it needs and the other does not wrap."""
    torch.manual_seed(0)
    net = Downsampler(width=3).double()
    with torch.no_grad():
        net.layers[0].weight.abs_()
        net.layers[1].weight.abs_()
        for layer in net.layers[2:]:
            layer.weight.abs_()
        total = net.kernel().sum()
        net.layers[-1].weight /= total
    image = torch.rand(1, 40, 44, dtype=torch.double)
    made = net(image[None])[0].detach()
    op = KernelDownsampling(Grid((1, 40, 44)), DownsamplingKernel(net.kernel().detach().numpy()))
    # The first sample of the generator is about pixel 6, the operator's fourth one as well.
    assert torch.allclose(op.A(image)[:, 3:17, 3:19], made, atol=1e-12)


@pytest.mark.parametrize("size", [(20, 24), (22, 26), (21, 23)])
def test_samples_lie_where_truncated_kspace_has_them(size: tuple[int, int]) -> None:
    grid = Grid((3, *size), (0.7, 0.9, 4.0), (1.0, -2.0, 3.0))
    op = KernelDownsampling(grid, gaussian_kernel(1.0))
    n = tuple(s // 2 for s in size)
    assert op.low.shape == (3, *n)
    if size[0] % 2 == 0:
        crop = KspaceCrop(grid, (n[1], n[0], 3))
        assert op.low.matches(crop.low, 1e-9)
        # And the grid that super-resolution makes of the low-resolution one is the original.
        assert op.low.kspace_refined(grid.stored_shape).matches(grid, 1e-9)


def test_what_is_weakly_measured_is_left_alone() -> None:
    op = KernelDownsampling(Grid((1, 32, 32)), gaussian_kernel(2.5), condition=0.1)
    noise = torch.randn(1, 16, 16, dtype=torch.double, generator=torch.manual_seed(0))
    assert float(op.A_dagger(noise).norm()) < 10.1 * float(noise.norm()) * 2


def test_refusals() -> None:
    with pytest.raises(BadInput, match="cannot be downsampled"):
        KernelDownsampling(Grid((4, 1, 9)), gaussian_kernel(1.0))
    for axes in ((0,), (0, 0), (0, 3), (0, 1, 2)):
        with pytest.raises(BadInput, match="two of the axes"):
            KernelDownsampling(Grid((4, 9, 9)), gaussian_kernel(1.0), axes)


def test_a_kernel_across_slices_is_a_slice_profile(tmp_path) -> None:
    path = tmp_path / "k.json"
    taps = np.outer([0.1, 0.2, 0.4, 0.3, 0.0], [0.5, 0.3, 0.2])
    path.write_text(DownsamplingKernel(taps, (4, 1), (0.5, 0.8)).to_json(), encoding="utf-8")
    profile = read_profile(path, 99.0)
    assert profile.position.tolist() == pytest.approx([-1.25, -0.75, -0.25, 0.25, 0.75, 1.25])
    # Read along the axis: the response mirrored.
    assert np.diff(profile.cumulative).tolist() == pytest.approx([0.0, 0.3, 0.4, 0.2, 0.1])
    path.write_text(gaussian_kernel(1.0).to_json(), encoding="utf-8")
    with pytest.raises(BadInput, match="nothing about slices"):
        read_profile(path, 1.0)
    path.write_text(gaussian_kernel(1.0, (3, 1)).to_json(), encoding="utf-8")
    with pytest.raises(BadInput, match="how large its pixels"):
        read_profile(path, 1.0)


def test_degrade_by_a_kernel(tmp_path) -> None:
    path = tmp_path / "k.json"
    kernel = DownsamplingKernel(lopsided(), (2, 2))
    path.write_text(kernel.to_json(), encoding="utf-8")
    image = Volume(np.random.default_rng(1).random((3, 20, 24), np.float32), Grid((3, 20, 24)))
    found = degrade(image, DegradeOptions(kernel=str(path)))
    op = KernelDownsampling(image.grid, kernel)
    wanted = op.A(torch.from_numpy(image.array)).numpy()
    assert np.allclose(found.array, wanted, atol=1e-6)
    assert found.grid == op.low
    note = found.metadata["provenance"]
    assert note["operator"] == "kernel" and note["kernel_ratio"] == [2, 2]
    thick = degrade(image, DegradeOptions(kernel=str(path), slice_thickness=1.5, noise=0.01))
    assert thick.grid.shape == (2, 10, 12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0.5}, "both say"),
        ({"slice_thickness": 2.0, "axis": 0}, "cannot be both"),
        ({"mode": "zerofill"}, "needs truncated k-space"),
    ],
)
def test_contradictions(options: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        DegradeOptions(kernel="k.json", **options)


def test_a_kernel_in_3d_does_not_go_with_slices(tmp_path) -> None:
    path = tmp_path / "k.json"
    path.write_text(gaussian_kernel(1.0, (2, 2, 2), 5).to_json(), encoding="utf-8")
    image = Volume(np.ones((8, 8, 8), np.float32), Grid((8, 8, 8)))
    assert degrade(image, DegradeOptions(kernel=str(path))).grid.shape == (4, 4, 4)
    with pytest.raises(BadInput, match="across the slices"):
        degrade(image, DegradeOptions(kernel=str(path), slice_thickness=2.0))
