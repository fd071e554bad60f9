"""How a scanner loses resolution, learned from its own images: the downsampling GAN."""
