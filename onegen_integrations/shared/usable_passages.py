"""Passages of foreign stores, which hold what users have put into them, empty texts included."""

import logging
from collections.abc import Sequence

from semantic_text_splitter import TextSplitter

from onegen_model import OneGenModel, ScoredPassage
from onegen_model.errors import RetrievalError

logger = logging.getLogger(__name__)


def usable_passages(hits: Sequence[ScoredPassage]) -> list[ScoredPassage]:
    """`hits` without empty ones, each of which is named by a warning.

    Raises RetrievalError where there were hits and every one of them is empty.
    """
    usable = [hit for hit in hits if hit.passage.text.strip()]
    if hits and not usable:
        ids = ", ".join(repr(hit.passage.id) for hit in hits[:5])
        raise RetrievalError(
            f"Every document found is empty ({ids}); expected text in at least one; remove them "
            "from the store"
        )
    for hit in hits:
        if not hit.passage.text.strip():
            logger.warning("Document %r is empty; it is skipped", hit.passage.id)
    return usable


def shorten_title(title: str, document_id: str, model: OneGenModel) -> str:
    """`title`, cut to a third of `max_passage_tokens`; a warning names the document."""
    longest = model.max_passage_tokens // 3
    if model.count_tokens(title) <= longest:
        return title
    logger.warning(
        "The title of document %r is longer than %d tokens; it is shortened", document_id, longest
    )
    return TextSplitter.from_callback(model.count_tokens, longest).chunks(title)[0]
