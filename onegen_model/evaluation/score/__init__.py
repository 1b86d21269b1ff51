"""Scores kept traces and rankings, without a model or a retriever."""
