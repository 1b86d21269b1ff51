"""What `onegen serve` does under load, and whether its answers are those of the model."""
