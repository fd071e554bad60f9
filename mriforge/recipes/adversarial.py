"""What a recipe may say about networks that judge the one that is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class AdversarialSpec:
    """Networks that judge the trained one's images, and the turns that they take.

    Attributes:
        kind: of the game; ``none``: there is no judge. ``saturating``: see
            :func:`mriforge.losses.adversarial.maker_loss`.
        discriminator, options: the judge, a key of ``mriforge.networks.registry``, and arguments
            of its class; its ``patch`` must be the size of the patches.
        weight: of its answer in the generator's loss, beside the terms of ``loss``.
        penalty: weight of the gradient penalty (``wgan_gp``).
        lr, betas: of the judge; ``follows``: its rate has the generator's schedule.
        first: steps in the beginning that the judge alone takes.
        critic: steps of the judge before each step of the generator.
        every, extra: after so many steps of the generator, so many more of the judge; 0: none.
        domain: largest weight of the feature discriminator's confusion in the judge's loss,
            reached linearly in ``ramp`` steps; 0: no such branch. ``domain_watch``: it is trained
            all the same, to see what it could tell. ``domain_lr``: its rate.
        cycle, identity: weights of what an inverse generator gives back, and of what both leave
            alone; with either the game is played in both directions.
        sparsify: weight of the joint sparsifying transform loss; ``sparsify_share`` of it is the
            variation of the image, the rest that of the error.
    """

    kind: Literal["none", "wgan_gp", "vanilla", "least_squares", "absolute"] = "none"
    discriminator: str = "srgan_d3d"
    options: dict[str, Any] = field(default_factory=dict)
    weight: float = 1e-3
    saturating: bool = False
    penalty: float = 10.0
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    follows: bool = True
    first: int = 0
    critic: int = 1
    every: int = 0
    extra: int = 0
    domain: float = 0.0
    domain_watch: bool = False
    domain_lr: float = 1e-4
    ramp: int = 10000
    cycle: float = 0.0
    identity: float = 0.0
    sparsify: float = 0.0
    sparsify_share: float = 0.1
