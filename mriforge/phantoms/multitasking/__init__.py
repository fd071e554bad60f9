"""The five-dimensional phantom of cardiac MR Multitasking: a chest that beats, breathes, recovers.

``subject(seed)`` draws an anatomy (seed 0 is the standard one), ``scan(subject)`` measures it::

    raw, truth = scan(subject(0), matrix=64, coils=4, inversions=4)
    truth.frame(cardiac=10, respiratory=0, inversion=-1)     # (z, y, x) complex64
    truth.project(temporal)                                  # (L, z, y, x), never 41,280 frames
"""

from mriforge.phantoms.multitasking.acquisition import scan
from mriforge.phantoms.multitasking.anatomy import Subject, subject
from mriforge.phantoms.multitasking.truth import Truth

__all__ = ["Subject", "Truth", "scan", "subject"]
