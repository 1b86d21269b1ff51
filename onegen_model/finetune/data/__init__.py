"""Training data: formats, examples, collation to tensors, a survey of the usable ones."""
