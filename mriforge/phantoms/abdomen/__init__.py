"""A parametric abdomen: random torsos with all ten organs, their contents, and breathing."""
