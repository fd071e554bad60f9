"""Organ segmentation: what the ALAMOSegment panel knows and decides, without widgets."""
