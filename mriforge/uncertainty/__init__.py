"""How far a sharpened image can be trusted: what was not measured, spread, intervals, checks."""
