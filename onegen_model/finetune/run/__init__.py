"""A training run: recipe, start, trainer, checkpoints, model card."""
