"""Quality of images without a reference: statistics of natural scenes, on MR slices.

Everything here looks at two-dimensional slices, in floating point, after the whole volume was
divided by one number so that bright tissue is 255 (:func:`mriforge.metrics.no_reference.slices.
scale_of`): the constants of the published measures are made for that range. All scores are the
lower, the better. They say how an image looks, not whether it is right: report them beside a
figure of fidelity.
"""

from mriforge.metrics.no_reference.gaussians import fit_aggd, fit_ggd
from mriforge.metrics.no_reference.mscn import mscn, mscn_distance
from mriforge.metrics.no_reference.niqe import NiqeModel, fit_niqe, niqe
from mriforge.metrics.no_reference.piqe import piqe
from mriforge.metrics.no_reference.pristine import load_niqe, save_niqe
from mriforge.metrics.no_reference.slices import SliceScores, score_slices

__all__ = [
    "NiqeModel",
    "SliceScores",
    "fit_aggd",
    "fit_ggd",
    "fit_niqe",
    "load_niqe",
    "mscn",
    "mscn_distance",
    "niqe",
    "piqe",
    "save_niqe",
    "score_slices",
]
