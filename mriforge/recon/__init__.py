"""Reconstruction of raw data: gridding, iterations, and a network that replaces them."""
