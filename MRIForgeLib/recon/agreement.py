"""How two maps agree, voxel by voxel: the figures and the chart of Bland and Altman (1986)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from MRIForgeLib.charts import BLUE, GRAY, ORANGE, Charts
from MRIForgeLib.nodes import grid_of, volume_from_node
from MRIForgeLib.provenance import PREFIX
from MRIForgeLib.recon.t1 import masks_on

_MOST_DOTS = 3000
_FEWEST_VOXELS = 3
_LIMIT = 1.96


@dataclass(frozen=True)
class Agreement:
    """Two maps compared where both have a value; the first minus the second.

    Voxels of one map are not independent, so there is no test here of whether the bias is zero.

    Attributes:
        names: of both maps.
        mean, difference: of both maps, for each voxel; one axis.
        unit: of the values; empty if unknown.
        bias, sd: mean and standard deviation of the difference.
        limits: of agreement; 95 % of the differences are between them if they are normal.
        correlation: Pearson's; None for a flat map.
    """

    names: tuple[str, str]
    mean: np.ndarray
    difference: np.ndarray
    unit: str
    bias: float
    sd: float
    limits: tuple[float, float]
    correlation: float | None

    @classmethod
    def of(cls, names: tuple[str, str], first: np.ndarray, second: np.ndarray, unit: str) -> Any:
        """The figures of two sets of values, voxel by voxel."""
        first, second = first.astype(float), second.astype(float)
        difference = first - second
        bias, sd = float(difference.mean()), float(difference.std(ddof=1))
        flat = first.std() == 0 or second.std() == 0
        return cls(
            names,
            (first + second) / 2,
            difference,
            unit,
            bias,
            sd,
            (bias - _LIMIT * sd, bias + _LIMIT * sd),
            None if flat else float(np.corrcoef(first, second)[0, 1]),
        )

    def sentence(self) -> str:
        """Bias, limits of agreement and correlation, for the panel."""
        unit = f" {self.unit}" if self.unit else ""
        text = _(
            "{first} minus {second}: bias {bias}{unit}, limits of agreement {low} to {high}{unit}, "
            "{count} voxels"
        ).format(
            first=self.names[0],
            second=self.names[1],
            bias=f"{self.bias:+.4g}",
            low=f"{self.limits[0]:.4g}",
            high=f"{self.limits[1]:.4g}",
            count=f"{self.difference.size:,}",
            unit=unit,
        )
        if self.correlation is None:
            return f"{text}."
        return _("{text}, r = {r}.").format(text=text, r=f"{self.correlation:.3f}")


def agreement_of(first: Any, second: Any, regions: Any = None) -> Agreement:
    """Compares two volume nodes on the same grid.

    Args:
        first, second: scalar volumes.
        regions: segmentation or label map; default: wherever both have a positive value.

    Raises:
        BadInput: not on one grid, or too few voxels in common.
    """
    place, other = grid_of(first), grid_of(second, relative_to=first)
    if not place.matches(other, tolerance_mm=0.01 * min(place.spacing)):
        raise BadInput(
            _("'{first}' and '{second}' are not on the same grid.").format(
                first=first.GetName(), second=second.GetName()
            ),
            _("Resample one like the other (Resample Scalar/Vector/DWI Volume)."),
        )
    values = [volume_from_node(node).array for node in (first, second)]
    both = np.all([np.isfinite(each) & (each > 0) for each in values], axis=0)
    if regions is not None and regions.GetScene() is not None:
        both &= np.any([*masks_on(first, regions).values()], axis=0)
    if np.count_nonzero(both) < _FEWEST_VOXELS:
        raise BadInput(
            _("There is no place where both maps have a value."), _("Choose other regions.")
        )
    names = first.GetName(), second.GetName()
    return Agreement.of(names, *(each[both] for each in values), _unit(first, second))


class AgreementChart(Charts):
    """The chart of Bland and Altman: difference over mean, with bias and limits of agreement.

    Of many voxels some thousand are drawn; the figures are those of all.

    Attributes:
        figures: what is drawn.
        node: the chart.
    """

    def __init__(self, figures: Agreement) -> None:
        super().__init__()
        self.figures = figures
        unit = f" ({figures.unit})" if figures.unit else ""
        axes = (_("Mean{unit}").format(unit=unit), _("Difference{unit}").format(unit=unit))
        name = _("{first} and {second}").format(first=figures.names[0], second=figures.names[1])
        some = np.unique(np.linspace(0, figures.mean.size - 1, _MOST_DOTS).astype(int))
        dots = self._table(
            _("{name}: voxels").format(name=name),
            {axes[0]: figures.mean[some], axes[1]: figures.difference[some]},
        )
        # The names would not fit into a panel; they begin those of the tables.
        title = _("Difference over mean")
        self.node = self._chart(title, dots, axes, (_("Voxels"), BLUE), markers=True, joined=False)
        ends = [float(figures.mean.min()), float(figures.mean.max())]
        lines = self._lines()
        table = self._table(
            _("{name}: limits").format(name=name),
            {axes[0]: ends, **{title: [value] * 2 for title, value in lines.items()}},
        )
        for number, title in enumerate(lines):
            line = (title, ORANGE if number == 0 else GRAY)
            self._line(self.node, table, (axes[0], title), line, dashed=number > 0)

    def _lines(self) -> Mapping[str, float]:
        low, high = self.figures.limits
        return {
            _("Bias {value}").format(value=f"{self.figures.bias:+.4g}"): self.figures.bias,
            _("Lower limit {value}").format(value=f"{low:.4g}"): low,
            _("Upper limit {value}").format(value=f"{high:.4g}"): high,
        }


def _unit(first: Any, second: Any) -> str:
    """Milliseconds where both say that they are T1 maps, or are colored as such."""
    displays = (node.GetDisplayNode() for node in (first, second))
    colors = [display.GetColorNode() if display is not None else None for display in displays]
    t1 = [color is not None and color.GetSingletonTag() == "MRIForgeT1" for color in colors]
    maps = [node.GetAttribute(PREFIX + "map") == "t1" for node in (first, second)]
    known = (by_color or by_role for by_color, by_role in zip(t1, maps, strict=True))
    return "ms" if all(known) else ""
