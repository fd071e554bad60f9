"""The methods for thick slices, by the names that the command line and the panels use.

Without torch, so that a panel can list them at once; what learns is imported when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from mriforge.errors import BadInput

if TYPE_CHECKING:
    from mriforge.interslice.learned import Learn

DEFAULT_METHOD = "smore_small"


@dataclass(frozen=True)
class SliceMethod:
    """One entry of :data:`METHODS`.

    Attributes:
        title: a few words.
        sentence: what it does and what it costs.
        module: where ``learn`` is, see :data:`mriforge.interslice.learned.Learn`; empty for an
            interpolation.
        recipe: name of its recipe.
        pretrained: whether it begins from a trained model when there is one.
    """

    title: str
    sentence: str
    module: str = ""
    recipe: str = ""
    pretrained: bool = False

    def learn(self) -> Learn:
        """The function that learns."""
        return import_module(self.module).learn


METHODS: dict[str, SliceMethod] = {
    "smore_small": SliceMethod(
        "Thick slices, learned from the scan",
        "A network of about 100,000 parameters learns from the scan's own pixels what thick "
        "slices lose; minutes on a CPU. Needs no training data.",
        "mriforge.interslice.rowwise",
        "smore_small",
    ),
    "smore": SliceMethod(
        "Thick slices: SMORE (EDSR)",
        "The published network of SMORE, trained on the scan itself; slow without a graphics card.",
        "mriforge.interslice.rowwise",
        "smore",
    ),
    "smore_rcan": SliceMethod(
        "Thick slices: SMORE (RCAN)",
        "The network of the authors' newer code, trained on the scan itself; slow without a "
        "graphics card.",
        "mriforge.interslice.rowwise",
        "smore_rcan",
    ),
    "sa_inr": SliceMethod(
        "Thick slices: SA-INR",
        "Implicit network with local attention, trained on video and thin slices where such a "
        "model is installed, then fine-tuned on the scan itself; needs a graphics card.",
        "mriforge.interslice.sa_inr",
        "sa_inr",
        pretrained=True,
    ),
    "sa_inr_small": SliceMethod(
        "Thick slices: SA-INR (small)",
        "The same with a network of 150,000 parameters, for a CPU.",
        "mriforge.interslice.sa_inr",
        "sa_inr_small",
        pretrained=True,
    ),
    "tscnet": SliceMethod(
        "Thick slices: TSCNet",
        "Two-stage cycle-consistent interpolation between slices, at its published size; for "
        "comparison, on a graphics card.",
        "mriforge.interslice.tscnet",
        "tscnet",
    ),
    "tscnet_small": SliceMethod(
        "Thick slices: TSCNet (small)",
        "The same with a network of 350,000 parameters, for a CPU; for comparison.",
        "mriforge.interslice.tscnet",
        "tscnet_small",
    ),
    "xuan": SliceMethod(
        "Thick slices: synthesis (Xuan)",
        "Learns from slices that a variational auto-encoder synthesises; for comparison.",
        "mriforge.interslice.xuan",
        "xuan",
    ),
    "cubic_restored": SliceMethod(
        "Thick slices: cubic, slices restored",
        "Cubic B-spline, corrected until the result explains the acquired slices; seconds, and as "
        "good as the slice profile is known.",
    ),
    "cubic": SliceMethod("Thick slices: cubic", "Cubic B-spline at the true slice positions."),
    "linear": SliceMethod("Thick slices: linear", "Linear interpolation between the slices."),
}


def method_named(name: str | None) -> SliceMethod:
    """The entry of that name; the default one for None.

    Raises:
        BadInput: there is none.
    """
    name = name or DEFAULT_METHOD
    if name not in METHODS:
        raise BadInput(
            f"There is no method '{name}' for thick slices.", f"Methods: {', '.join(METHODS)}."
        )
    return METHODS[name]
