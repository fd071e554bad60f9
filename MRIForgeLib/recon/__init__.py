"""What the MTMRIRecon panel knows and decides, without widgets."""
