"""Trained models, each a folder of weights and a card: find, verify, load, save."""
