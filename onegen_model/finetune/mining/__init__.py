"""Hard negatives: search a corpus with training queries and keep what is wrong."""
