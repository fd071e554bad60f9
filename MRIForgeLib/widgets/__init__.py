"""Parts of panels that several modules share. They connect widgets of a .ui file, by name."""
