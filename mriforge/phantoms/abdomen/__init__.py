"""A parametric abdomen: random torsos with all ten organs, their contents, and breathing."""

from mriforge.phantoms.abdomen.torso import draw

__all__ = ["draw"]
