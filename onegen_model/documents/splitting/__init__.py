"""Documents to passages: structure is kept where the syntax of a document shows it."""

from onegen_model.documents.splitting.splitter import PassageSplitter, splitting_digest

__all__ = ["PassageSplitter", "splitting_digest"]
