"""Finds passages: the retriever protocol, the index, corpora with their vectors, documents."""
