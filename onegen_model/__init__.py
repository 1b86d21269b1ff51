"""Retrieval-augmented generation in one model and one forward pass."""
