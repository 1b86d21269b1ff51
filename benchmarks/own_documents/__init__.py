"""A folder of documents in all kinds that `onegen index` reads, and questions about them.

The documents are about an invented island town and its cooperative, so that no pretrained model
knows the facts.
"""
