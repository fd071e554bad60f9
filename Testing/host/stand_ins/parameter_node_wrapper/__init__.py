"""Stand-in for `slicer.parameterNodeWrapper`: a parameter node with typed, checked members.

It stores values in the node under the same names and spellings as Slicer, so that scenes are
exchangeable. Left out: `typing.Any`, QColor, own serializers and connectors, and making widgets
from types (`createGui`).
"""

from ._gui import GuiConnector, createGuiConnector
from ._packs import FloatRange, isParameterPack, parameterPack
from ._types import Decimals, Default, SingleStep
from ._wrapper import findChildWidgetForParameter, isParameterNodeWrapper, parameterNodeWrapper
from .validators import (
    Choice,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    Validator,
    WithinRange,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "FloatRange",
    "GuiConnector",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "RangeBounds",
    "SingleStep",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "isParameterPack",
    "parameterNodeWrapper",
    "parameterPack",
]
