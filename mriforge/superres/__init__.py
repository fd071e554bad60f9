"""Super-resolution: a low-resolution volume or series in, a sharper one out."""
