"""MRIForge: sharper, outlined and reconstructed MR images, on the machine the scan is on.

This package is the core: pure Python on torch. It imports neither ``slicer`` nor ``qt``.
"""

__version__ = "0.1.0"
