"""What the SuperResMRI module knows and decides, without widgets."""
