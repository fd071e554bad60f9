"""The names of the interpolations, with a sentence each; without torch, for lists and panels."""

from __future__ import annotations

TITLES: dict[str, tuple[str, str]] = {
    "sinc": (
        "Zero-filled k-space",
        "What the scanner's own interpolation gives: no new detail, nothing invented.",
    ),
    "cubic_bspline": ("Cubic B-spline", "Smooth interpolation at the true sample positions."),
    "linear_aligned": ("Linear", "Trilinear interpolation at the true sample positions."),
    "nearest": ("Nearest neighbor", "Repeats voxels."),
    "linear_halfpixel": (
        "Linear, half-pixel",
        "Trilinear interpolation as in the publications: shifted by a fraction of a voxel.",
    ),
    "area": ("Area", "Each voxel becomes the mean of those it covers; half-pixel convention."),
}
"""Name to (title, sentence), from what usually is best to what usually is worst."""
