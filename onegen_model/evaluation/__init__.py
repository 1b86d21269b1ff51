"""Judging answers and retrievals."""
