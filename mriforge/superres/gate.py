"""The never-worse gate: how far to trust a network, decided on data it was not tuned on.

The result moves from zero-filling ``z`` towards the network's proposal ``p`` by a step length
``a`` in [0, 1]; on held-out parts of the prior the best one has a closed form, the projection
``a = <p - z, x - z> / <p - z, p - z>`` on the truth ``x``. A network that is of no use there gets
``a = 0``: the result is zero-filling, and the report says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

_USELESS = 0.05
"""Step lengths below this are noise: zero-filling is returned as it is."""


@dataclass(frozen=True)
class Gate:
    """What held-out data said.

    Attributes:
        step: step length in [0, 1].
        gain_db: PSNR gain over zero-filling on the held-out data at that step.
        full_gain_db: the same at step 1, the network's output as it is.
    """

    step: float
    gain_db: float
    full_gain_db: float

    def sentence(self) -> str:
        """The decision in words, for the log and the report."""
        if self.step == 0.0:
            return (
                "On held-out parts of the prior the network was no better than zero-filling "
                f"({self.full_gain_db:+.2f} dB): the result is zero-filling."
            )
        return (
            f"On held-out parts of the prior the network gained {self.full_gain_db:+.2f} dB over "
            f"zero-filling; step {self.step:.2f} of it is used ({self.gain_db:+.2f} dB)."
        )


def decibel_gain(before: Tensor, after: Tensor) -> float:
    """PSNR gain in dB of one error image over another; 0 when both vanish."""
    old, new = float(before.double().square().sum()), float(after.double().square().sum())
    if old == new:
        return 0.0
    return 10.0 * math.log10(max(old, 1e-30) / max(new, 1e-30))


def decide(zero_filled: Tensor, proposal: Tensor, truth: Tensor) -> Gate:
    """The gate for held-out tensors of one shape."""
    direction = (proposal - zero_filled).double()
    wanted = (truth - zero_filled).double()
    energy = float(direction.square().sum())
    step = float((direction * wanted).sum()) / energy if energy > 0 else 0.0
    step = min(1.0, max(0.0, step))
    if step < _USELESS:
        step = 0.0
    return Gate(
        step,
        decibel_gain(wanted, wanted - step * direction),
        decibel_gain(wanted, wanted - direction),
    )
