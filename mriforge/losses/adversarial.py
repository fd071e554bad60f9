"""What generators and the networks that judge them minimise.

``scores`` are a judge's raw answers ``(b, 1)``, large for images that it takes for real ones.
Images are ``(b, 1, d, h, w)``. Results are scalars.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

KINDS = ("wgan_gp", "vanilla", "least_squares", "absolute")
"""Gulrajani 2017 (arXiv 1704.00028); Goodfellow 2014 (1406.2661); Mao 2017 (1611.04076); Huang 2021
(equation 2), whose judge answers between 0 and 1."""


def judge_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """What a judge minimises, without a gradient penalty.

    ``wgan_gp``: minus the estimate of the earth mover's distance. ``vanilla``: cross-entropy with
    1 for real and 0 for made images. ``least_squares``: half the squared distances to them;
    ``absolute``: half the distances.
    """
    if kind == "wgan_gp":
        return fake.mean() - real.mean()
    if kind == "vanilla":
        return functional.softplus(-real).mean() + functional.softplus(fake).mean()
    if kind == "absolute":
        return 0.5 * ((real - 1).abs().mean() + fake.abs().mean())
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def maker_loss(kind: str, fake: Tensor, saturating: bool = False) -> Tensor:
    """What the generator minimises of the judge's answers to its images.

    Args:
        saturating: of ``vanilla``: ``log(1 - D)`` as first proposed and as Chen 2021, equation
            5.10, prints it, in place of ``-log D``. Its gradient vanishes where the judge is sure.
    """
    if kind == "wgan_gp":
        return -fake.mean()
    if kind == "vanilla":
        return (
            -functional.softplus(fake).mean() if saturating else functional.softplus(-fake).mean()
        )
    if kind == "absolute":
        return (fake - 1).abs().mean()
    return 0.5 * (fake - 1).square().mean()


def gradient_penalty(
    judge: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor
) -> Tensor:
    """Mean of ``(|gradient of the judge| - 1)^2`` between real and made images (Gulrajani 2017).

    Single precision or better whatever is around: the norm of a gradient of half precision is of
    little use, and its derivative of less.

    Args:
        share: ``(b, 1, 1, 1, 1)`` in [0, 1], the part of ``real`` in each point.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = (part.detach() if part.dtype == torch.float64 else part.detach().float()
                      for part in (real, fake))  # fmt: skip
        between = (share * real + (1 - share) * fake).requires_grad_(True)
        (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def domain_loss(scores: Tensor, domain: Tensor) -> Tensor:
    """Cross-entropy of a feature discriminator: which of two domains an image is from.

    Args:
        domain: ``(b,)``, 0 or 1.
    """
    return functional.binary_cross_entropy_with_logits(scores[:, 0], domain.to(scores.dtype))


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, added over the axes along which there are any."""
    axes = [axis for axis in range(2, image.ndim) if image.shape[axis] > 1]
    return sum((image.diff(dim=axis).abs().mean() for axis in axes), image.new_zeros(()))


def joint_sparsifying(output: Tensor, target: Tensor, share: float) -> Tensor:
    """``share * TV(output) + (1 - share) * TV(target - output)`` (GAN-CIRCLE, ``L_JST``)."""
    return share * total_variation(output) + (1 - share) * total_variation(target - output)
