"""MR images made from tissue maps: random anatomy, contrast and scanner (after SynthSeg)."""
