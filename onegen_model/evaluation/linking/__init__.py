"""Evaluation of entity linking: mentions and their entities against those that people marked."""
