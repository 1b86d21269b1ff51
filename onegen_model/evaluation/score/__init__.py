"""Scores what was kept; no model and no retriever."""
