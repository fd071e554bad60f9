"""MR images made from tissue maps: random contrast, texture, scanner and anatomy (after SynthSeg)."""
