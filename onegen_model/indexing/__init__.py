"""Whole jobs: documents into an index that is kept in step with them."""
