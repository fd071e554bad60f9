"""Numerical phantoms: random subjects, what a scanner would measure of them, and the truth."""
