"""Evaluation on one's own documents: questions with answers, asked over an existing index."""
