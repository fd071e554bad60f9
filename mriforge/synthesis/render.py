"""Images from tissue maps: contrast, texture, coils, resolution, ghosts, noise.

After the intensity part of SynthSeg (Billot et al. 2023, Medical Image Analysis 86:102789), with
the physics of an MR scanner in the place of plain blurring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mriforge.anatomy import NUMBER, TISSUES, TissueMap
from mriforge.errors import BadInput
from mriforge.physics.interpolation import linear_matrix
from mriforge.physics.noise import complex_noise
from mriforge.physics.profiles import FWHM_PER_SIGMA, box, gaussian, profile_matrix
from mriforge.physics.truncation import KspaceZeroFill
from mriforge.synthesis.contrast import random_means, sequence_means
from mriforge.volume import Grid, Volume

_MIXED = [tissue.number for tissue in TISSUES if tissue.key.endswith("contents")]
"""Tissues that are less alike within themselves: what loops of bowel hold differs."""


@dataclass(frozen=True)
class RenderSpec:
    """What an image may look like.

    Attributes:
        random_contrast: how often every tissue is as bright as chance wants; otherwise an MR
            sequence is simulated.
        sequence: name of the only sequence; "": any.
        texture: largest relative standard deviation of a tissue's texture.
        vessels: probability of thin vessels in the liver; of fat between fibres of muscle too.
        border: sigma of the partial volume at borders, voxels.
        bias: largest standard deviation of the logarithm of the bias field.
        bands: probability of dark bands in a balanced sequence.
        slice_probability: of slices thicker than the voxels.
        thickness: of those slices, mm.
        planes: how often slices are axial, coronal, sagittal, relative to each other.
        kept: part of k-space that is measured along each axis within the slices.
        ghost_probability: of ghosts of breathing along the phase encoding axis.
        ghost: largest brightness of a ghost, relative to what moves.
        snr: mean of the body over the noise of each channel, smallest and largest.
        gamma: exponent of the intensities.
        gain: scale of the intensities.
    """

    random_contrast: float = 0.4
    sequence: str = ""
    texture: float = 0.12
    vessels: float = 0.7
    border: tuple[float, float] = (0.25, 0.7)
    bias: float = 0.3
    bands: float = 0.5
    slice_probability: float = 0.6
    thickness: tuple[float, float] = (3.0, 8.0)
    planes: tuple[float, float, float] = (3.0, 1.0, 0.5)
    kept: tuple[float, float] = (0.65, 1.0)
    ghost_probability: float = 0.3
    ghost: float = 0.2
    snr: tuple[float, float] = (8.0, 120.0)
    gamma: tuple[float, float] = (0.75, 1.3)
    gain: tuple[float, float] = (50.0, 2000.0)

    @classmethod
    def of_quality(cls, quality: str, **changes) -> RenderSpec:
        """``any``: thick slices, ghosts and noise too; ``breath_hold``: see there."""
        return {"any": cls, "breath_hold": cls.breath_hold}[quality](**changes)

    @classmethod
    def breath_hold(cls, **changes) -> RenderSpec:
        """A good 3-D acquisition in a breath-hold, as VIBE is: thin slices, little noise."""
        good = {
            "slice_probability": 0.0, "kept": (0.75, 1.0), "ghost_probability": 0.15,
            "ghost": 0.1, "snr": (20.0, 80.0),
        }  # fmt: skip
        return cls(**{**good, **changes})

    @classmethod
    def plain(cls, **changes) -> RenderSpec:
        """Every tissue of one brightness and nothing else, but for ``changes``."""
        nothing = {
            "texture": 0.0, "vessels": 0.0, "border": (0.0, 0.0), "bias": 0.0, "bands": 0.0,
            "slice_probability": 0.0, "kept": (1.0, 1.0), "ghost_probability": 0.0, "ghost": 0.0,
            "snr": (math.inf, math.inf), "gamma": (1.0, 1.0), "gain": (1.0, 1.0),
        }  # fmt: skip
        return cls(**{**nothing, **changes})


def render(
    tissues: TissueMap,
    rng: np.random.Generator,
    spec: RenderSpec | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Volume:
    """A magnitude image of a tissue map, float32 on the same grid.

    Air has no signal: what is seen there are noise, ghosts and ringing. The metadata say what was
    simulated.

    Args:
        tissues: the map.
        rng: random numbers; the same on every device.
        spec: what the image may look like.
        device: where to compute.

    Raises:
        BadInput: the map has nothing but air.
    """
    spec = RenderSpec() if spec is None else spec
    if not tissues.array.any():
        raise BadInput(
            f"The tissue map of {tissues.subject} has nothing but air.",
            "Take a map with a body in it.",
        )
    means, about = draw_means(rng, spec)
    numbers = torch.from_numpy(np.ascontiguousarray(tissues.array)).to(device)
    image = painted(numbers, means, tissues.grid, rng, spec)
    level = float(image.abs().sum() / numbers.count_nonzero())
    image = image * bias_field(image.shape, rng, spec, device)
    image = banded(image, rng, spec, about)
    plane = int(rng.choice(3, p=np.array(spec.planes) / sum(spec.planes)))
    matrices, acquired = scanner(tissues.grid, plane, rng, spec)
    matrices = [m.to(device) for m in matrices]
    image = along_axes(image, matrices)
    image, imaginary = ghosted(image, plane, rng, spec, about)
    image = noisy(image, imaginary, matrices, level, rng, spec)
    top = image.max().clamp_min(1e-12)
    image = (image / top) ** rng.uniform(*spec.gamma)
    image = image * (top * math.exp(rng.uniform(*np.log(spec.gain))))
    metadata = {"simulated": {**about, **acquired}, "subject": tissues.subject}
    return Volume(image.cpu().numpy(), tissues.grid, metadata)


def draw_means(rng: np.random.Generator, spec: RenderSpec) -> tuple[np.ndarray, dict]:
    """Brightness of each tissue, and what was scanned."""
    if rng.random() < spec.random_contrast:
        return random_means(rng), {"sequence": "random"}
    return sequence_means(rng, spec.sequence or None)


def smooth_noise(
    shape: tuple[int, ...], scale: float, rng: np.random.Generator, device: torch.device | str
) -> Tensor:
    """Noise of unit variance that is alike over about ``scale`` voxels, ``(z, y, x)``."""
    scale = max(1.0, scale)
    coarse = [max(2, math.ceil(n / scale) + 1) for n in shape]
    noise = torch.from_numpy(rng.standard_normal(coarse, dtype=np.float32)).to(device)
    if scale > 1:
        noise = functional.interpolate(
            noise[None, None], size=tuple(shape), mode="trilinear", align_corners=True
        )[0, 0]
    else:
        noise = noise[: shape[0], : shape[1], : shape[2]]
    # Linear interpolation has taken away a part of the variance.
    return noise / noise.std().clamp_min(1e-6)


def painted(
    numbers: Tensor, means: np.ndarray, grid: Grid, rng: np.random.Generator, spec: RenderSpec
) -> Tensor:
    """Tissues with their signal, texture and partial volume; negative where ``means`` are."""
    device = numbers.device
    numbers = numbers.int()
    mean = torch.from_numpy(means).to(device)
    image = mean[numbers]
    voxel = float(np.mean(grid.spacing))
    if spec.texture:
        factor = torch.ones((), device=device)
        for scale in (rng.uniform(3, 6), rng.uniform(8, 30)):
            strength = rng.uniform(0, spec.texture, len(TISSUES)) * rng.uniform(0.3, 1)
            strength[_MIXED] *= 3
            strength = torch.from_numpy(strength.astype(np.float32)).to(device)
            noise = smooth_noise(numbers.shape, scale / voxel, rng, device)
            factor = factor + strength[numbers] * noise
        image = image * factor.clamp_min(0)
    if rng.random() < spec.vessels:
        image = threaded(image, numbers, means, voxel, rng)
    sigma = rng.uniform(*spec.border)
    if sigma > 0.05:
        blur = [gaussian_matrix(n, sigma) for n in image.shape]
        image = along_axes(image, [m.to(device) for m in blur])
    return image


def threaded(
    image: Tensor, numbers: Tensor, means: np.ndarray, voxel: float, rng: np.random.Generator
) -> Tensor:
    """Vessels in the liver and fat between fibres of muscle.

    Where two smooth random fields are both near zero there are thin curved lines.
    """
    scale = rng.uniform(20, 35) / voxel
    first = smooth_noise(image.shape, scale, rng, image.device)
    second = smooth_noise(image.shape, scale, rng, image.device)
    width = rng.uniform(0.12, 0.25)
    line = torch.exp(-(first**2 + second**2) / (2 * width**2))
    for inside, outside, most in (
        ("liver", "hepatic_vessels", 1.0),
        ("muscle", "visceral_fat", 0.6),
        ("pancreas", "visceral_fat", 0.6),
    ):
        part = line * (numbers == NUMBER[inside]) * rng.uniform(0.3 * most, most)
        image = image + part * (float(means[NUMBER[outside]]) - image)
    return image


def bias_field(
    shape: tuple[int, ...], rng: np.random.Generator, spec: RenderSpec, device: torch.device | str
) -> Tensor:
    """Positive smooth factor of median about one: what coils receive."""
    strength = spec.bias * rng.random()
    return torch.exp(strength * smooth_field(shape, rng, device))


def smooth_field(
    shape: tuple[int, ...], rng: np.random.Generator, device: torch.device | str
) -> Tensor:
    """Sum of cosines of low order, ``(z, y, x)``: mean zero, variance one."""
    order = 4
    weight = rng.standard_normal((order, order, order))
    weight *= np.exp(-0.5 * sum(n**2 for n in np.ogrid[:order, :order, :order]) / 1.5**2)
    weight[0, 0, 0] = 0
    weight /= math.sqrt((weight**2).sum())
    wave = [
        np.cos(np.pi * np.outer(np.arange(order), (np.arange(n) + 0.5) / n)) * math.sqrt(2)
        for n in shape
    ]
    for one in wave:
        one[0] = 1
    small = [torch.from_numpy(a.astype(np.float32)).to(device) for a in (weight, *wave)]
    return torch.einsum("abc,az,by,cx->zyx", *small)


def banded(image: Tensor, rng: np.random.Generator, spec: RenderSpec, about: dict) -> Tensor:
    """Dark bands of balanced sequences, where the field is off by half a turn in one TR."""
    if about["sequence"] != "bssfp" or rng.random() >= spec.bands:
        return image
    turns = smooth_field(image.shape, rng, image.device) * rng.uniform(0.1, 0.4)
    off = (turns + rng.uniform(-0.1, 0.1) + 0.5).remainder(1) - 0.5
    about["bands"] = True
    width = rng.uniform(0.05, 0.12)
    return image * (1 - 0.85 * torch.exp(-(((off.abs() - 0.5) / width) ** 2)))


def scanner(
    grid: Grid, plane: int, rng: np.random.Generator, spec: RenderSpec
) -> tuple[list[Tensor], dict]:
    """What the acquisition does along each axis, as ``(n, n)`` matrices, and in words.

    Across the slices: thick slices, linearly interpolated to the voxels again. Within them:
    truncated k-space, zero-filled.
    """
    matrices, about = [], {"slices": ("axial", "coronal", "sagittal")[plane]}
    for axis, (n, voxel) in enumerate(zip(grid.shape, grid.spacing[::-1], strict=True)):
        if axis == plane:
            thickness = rng.uniform(*spec.thickness)
            thick = rng.random() < spec.slice_probability and thickness > voxel and n > 2
            first, gap = rng.random(), rng.uniform(0, 0.25)
            square = bool(rng.random() < 0.5)
            if thick:
                about["thickness_mm"] = round(thickness, 2)
                matrices.append(thick_slices(n, voxel, thickness, gap, first, square))
            else:
                matrices.append(torch.eye(n))
        else:
            kept = rng.uniform(*spec.kept)
            matrices.append(truncated(n, max(1, round(n * kept))))
            about.setdefault("kept", []).append(round(kept, 3))
    return matrices, about


def thick_slices(
    n: int, voxel: float, thickness: float, gap: float, first: float, square: bool
) -> Tensor:
    """Slices with a profile at any place, and back by linear interpolation, ``(n, n)``.

    Args:
        n: voxels along the axis, of ``voxel`` mm.
        thickness: mm, full width at half maximum.
        gap: between slices, relative to the thickness.
        first: where the first slice is, 0 to 1 of a slice's distance.
        square: a rectangular profile instead of a Gaussian one.
    """
    step = thickness * (1 + gap) / voxel
    count = max(2, math.ceil((n - 1) / step) + 1)
    centres = (n - 1) / 2 + (np.arange(count) - (count - 1) / 2 + (first - 0.5)) * step
    centres = np.clip(centres, 0, n - 1)
    centres = centres[np.concatenate([[True], np.diff(centres) > 1e-6])]
    profile = box(thickness) if square else gaussian(thickness / FWHM_PER_SIGMA)
    down = profile_matrix(profile, centres, n, voxel)
    if len(centres) == 1:
        return down.expand(n, n).float()
    # centres need not be evenly spaced at the ends
    position = np.interp(np.arange(n), centres, np.arange(len(centres)))
    return (linear_matrix(position, len(centres)).to(down) @ down).float()


def truncated(n: int, kept: int) -> Tensor:
    """Zero-filled k-space of ``kept`` of ``n`` samples, ``(n, n)``."""
    if kept >= n:
        return torch.eye(n)
    operator = KspaceZeroFill(Grid((n, 1, 1)), (1, 1, kept))
    return operator.A(torch.eye(n)[:, :, None, None])[:, :, 0, 0].T.contiguous()


def gaussian_matrix(n: int, sigma: float) -> Tensor:
    """Blur by ``sigma`` voxels, ``(n, n)``; constants stay constant."""
    return profile_matrix(gaussian(sigma), np.arange(n), n, 1.0).float()


def along_axes(image: Tensor, matrices: list[Tensor]) -> Tensor:
    """Each axis times its matrix."""
    nz, ny, nx = image.shape
    image = image @ matrices[2].T
    image = matrices[1] @ image
    return (matrices[0] @ image.reshape(nz, ny * nx)).reshape(-1, ny, nx)


def ghosted(
    image: Tensor, plane: int, rng: np.random.Generator, spec: RenderSpec, about: dict
) -> tuple[Tensor, Tensor | float]:
    """Copies of what breathing moves, shifted along the phase encoding axis.

    A modulation of k-space lines of period ``p`` lines puts copies at plus and minus ``n / p``
    voxels; they add with any phase. The anterior wall moves most. Returns real and imaginary part.
    """
    shown = rng.random() < spec.ghost_probability
    axis = int(rng.choice([a for a in range(3) if a != plane]))
    strength, phase = rng.uniform(0.2, 1) * spec.ghost, rng.uniform(0, 2 * math.pi)
    shift = max(1, round(image.shape[axis] / rng.uniform(2, 8)))
    if not shown or not strength:
        return image, 0.0
    ny = image.shape[1]
    ramp = torch.linspace(1, 0.15, ny, device=image.device)[None, :, None]
    moving = image * ramp * (strength / 2)
    copies = moving.roll(shift, axis) + moving.roll(-shift, axis)
    about.update(ghost_axis="zyx"[axis], ghost_shift=shift, ghost=round(strength, 3))
    return image + math.cos(phase) * copies, math.sin(phase) * copies


def noisy(
    image: Tensor,
    imaginary: Tensor | float,
    matrices: list[Tensor],
    level: float,
    rng: np.random.Generator,
    spec: RenderSpec,
) -> Tensor:
    """Magnitude with Rician noise, as fine as the image is."""
    snr = math.exp(rng.uniform(*np.log(spec.snr))) if math.isfinite(spec.snr[1]) else math.inf
    if math.isinf(snr):
        return torch.sqrt(image**2 + imaginary**2)
    noise = torch.view_as_real(complex_noise(tuple(image.shape), 1.0, rng)).to(image.device)
    power = 1.0
    for matrix in matrices:
        power *= float((matrix**2).sum(dim=1).mean())
    scale = level / snr / math.sqrt(power)
    first, second = (along_axes(noise[..., part], matrices) * scale for part in (0, 1))
    return torch.sqrt((image + first) ** 2 + (imaginary + second) ** 2)
