"""Hard negatives: passages that training queries retrieve and that are not positives."""
