"""Fusion: one isotropic volume from two or three stacks of thick slices of one subject."""
