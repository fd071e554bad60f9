"""The color nodes that Slicer reads from its resource files.

The packages carry none of those files, so the tables are computed here from the maps of the same
names in matplotlib. They stand under the IDs that Slicer gives them, which is what code that
asks for a color node relies on. The colors agree with Slicer's closely, not to the last bit.
"""

from __future__ import annotations

import numpy as np
import slicer

#: The name in Slicer and the map of matplotlib it is computed from.
_TABLES = {
    "Viridis": "viridis",
    "Inferno": "inferno",
    "Magma": "magma",
    "Plasma": "plasma",
    "Cividis": "cividis",
    "DivergingBlueRed": "coolwarm",
    "ColdToHotRainbow": "jet",
}
_COUNT = 256


def add_file_color_tables(scene: slicer.vtkMRMLScene) -> None:
    """Add the color tables `vtkMRMLColorTableNodeFile<name>.txt` to the scene.

    They are singletons hidden from editors, as in Slicer, so closing the scene keeps them.

    Args:
        scene: The scene that gets the nodes.
    """
    from matplotlib import colormaps

    for name, source in _TABLES.items():
        node = slicer.vtkMRMLColorTableNode()
        node.SetTypeToFile()
        node.SetName(name)
        node.SetSingletonTag(f"File{name}.txt")
        node.SetHideFromEditors(True)
        node.SaveWithSceneOff()
        node.SetAttribute("Category", "Continuous")
        node.SetNumberOfColors(_COUNT)
        node.GetLookupTable().SetTableRange(0, _COUNT - 1)
        for index, rgba in enumerate(colormaps[source](np.linspace(0.0, 1.0, _COUNT))):
            node.SetColor(index, str(index), *(float(channel) for channel in rgba))
        scene.AddNode(node)
