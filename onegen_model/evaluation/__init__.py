"""Judging answers and retrievals: ask, keep every event, and score what was kept."""
