"""Relaxation times from images: what the signal is, and which time explains it."""
