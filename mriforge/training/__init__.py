"""Learning: data, pairs of patches, the loop, checkpoints. Imports torch; use it lazily."""
