"""Loads checkpoints: configuration, weights, published formats, the default base."""
