"""Training data: formats, examples, collation to tensors, a survey of what is usable."""
