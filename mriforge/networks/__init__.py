"""Published networks, one file for one network, nothing but ``nn.Module``s. Imports only torch."""
