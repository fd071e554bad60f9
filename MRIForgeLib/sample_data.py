"""Images to try the modules on, offered in Slicer's Sample Data module.

Nothing is downloaded before the user asks for it there, and each file's checksum is verified.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.volume import Grid, Series
from MRIForgeLib.display import show_volume
from MRIForgeLib.nodes import grid_matrix
from MRIForgeLib.placing import Place, add_series_steps
from MRIForgeLib.tasks import run_to_end

CATEGORY = "MRIForge"

# Echo-planar time series of a cervical spine: 30 frames of 68 x 68 x 6 voxels, 0.96 x 0.96 x
# 16.8 mm, one frame in 1.13 s. MIT licence, testing data of the Spinal Cord Toolbox.
SPINE_SHA256 = "b5f43b60e3be7c7cee290da0c85d6de938ab833ab4e8420bd99b3e88a1db5ab9"
SPINE_URL = (
    "https://raw.githubusercontent.com/spinalcordtoolbox/sct_testing_data/"
    "af4c7e8783c9dcf8bcfc6c53b190af46260bb875/fmri/fmri.nii.gz"
)
SPINE_FILE = "MRIForge-spine-fmri.nii.gz"
PRIOR_NAME = "SpinePrior"
SERIES_NAME = "SpineSeries"


def register(icons: str) -> None:
    """Adds the images to the Sample Data module.

    Args:
        icons: folder of the thumbnails.
    """
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # Slicer 5.12 and newer
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("MRI super-resolution"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SERIES_NAME,
        thumbnailFileName=str(Path(icons) / f"SuperResMRI-{SERIES_NAME}.png"),
        uris=SPINE_URL,
        fileNames=SPINE_FILE,
        nodeNames=SERIES_NAME,
        checksums=f"SHA256:{SPINE_SHA256}",
        customDownloader=download_spine,
    )


def download_spine(source: Any) -> list[Any]:
    """Downloads the series; its first frame becomes a volume of its own, to serve as the prior.

    Args:
        source: SampleData's description of the file.
    """
    import SampleData

    # The logic of the open panel shows its messages there.
    widget = getattr(slicer.modules, "SampleDataWidget", None)
    logic = widget.logic if widget is not None else SampleData.SampleDataLogic()
    # Slicer calls this from a button and would show no error.
    message = _("The sample data could not be downloaded.")
    with slicer.util.tryWithErrorDisplay(message, waitCursor=True):
        path = logic.downloadFileIntoCache(source.uris[0], source.fileNames[0], source.checksums[0])
        return add_spine(Path(path))


def add_spine(path: Path) -> list[Any]:
    """The series of a file as nodes: the proxy volume of the sequence, and the prior.

    Slicer's own reader takes one frame of a NIfTI file, and nibabel may not be installed yet:
    SimpleITK comes with Slicer.
    """
    import numpy as np
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    array = sitk.GetArrayFromImage(image)
    direction = np.reshape(image.GetDirection(), (4, 4))[:3, :3]
    grid = Grid(array.shape[1:], image.GetSpacing()[:3], image.GetOrigin()[:3], direction.ravel())
    times = image.GetSpacing()[3] * np.arange(len(array))
    series = Series(array, grid, times)
    prior = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", PRIOR_NAME)
    slicer.util.updateVolumeFromArray(prior, series.array[0])
    prior.SetIJKToRASMatrix(grid_matrix(grid))
    prior.CreateDefaultDisplayNodes()
    rest = Series(array[1:], grid, times[1:])
    _sequence, proxy = run_to_end(add_series_steps(rest, Place.of(prior), SERIES_NAME, {}))
    show_volume(proxy, fit=True)
    return [proxy, prior]
