"""Through-plane super-resolution of stacks of thick slices."""
