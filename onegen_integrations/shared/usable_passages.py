"""Passages of foreign stores, made such that the model can read them.

A store holds what users have put into it: chunks of another size, and empty ones.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from semantic_text_splitter import TextSplitter

from onegen_model import OneGenModel, Passage, ScoredPassage
from onegen_model.errors import RetrievalError

logger = logging.getLogger(__name__)

# A title takes at most half of a passage; the rest is left for its text.
_TITLE_SHARE = 2


def usable_passages(hits: Sequence[ScoredPassage], model: OneGenModel) -> list[ScoredPassage]:
    """`hits` without empty ones, and with long ones shortened.

    Raises RetrievalError where there were hits and every one of them is empty.
    """
    usable = [replace(hit, passage=fit_passage(hit.passage, model)) for hit in _filled(hits)]
    if hits and not usable:
        ids = ", ".join(repr(hit.passage.id) for hit in hits[:5])
        raise RetrievalError(
            f"Every document found is empty ({ids}); expected text in at least one; remove them "
            "from the store"
        )
    return usable


def _filled(hits: Sequence[ScoredPassage]) -> list[ScoredPassage]:
    filled = []
    for hit in hits:
        if hit.passage.text.strip():
            filled.append(hit)
        else:
            logger.warning("Document %r is empty; it is skipped", hit.passage.id)
    return filled


def fit_passage(passage: Passage, model: OneGenModel) -> Passage:
    """`passage` itself, or one with its title and text shortened to `max_passage_tokens`.

    Texts are cut at the end of a sentence or a word where possible. A warning names the document.
    """

    def count(one: Passage) -> int:
        return model.count_tokens(model.template.passage_text(one))

    longest = model.max_passage_tokens
    if count(passage) <= longest:
        return passage
    kept = replace(passage, title=shorten_title(passage.title, passage.id, model))
    if count(kept) <= longest:
        return kept
    logger.warning(
        "Document %r is longer than the %d tokens of a passage; its end is cut", passage.id, longest
    )
    text = _beginning(kept.text, longest, lambda text: count(replace(kept, text=text)))
    return replace(kept, text=text)


def shorten_title(
    title: str, document_id: str, model: OneGenModel, longest: int | None = None
) -> str:
    """`title`, cut to `longest` tokens; a warning names the document.

    Without `longest`: to half of `max_passage_tokens`.
    """
    longest = longest or model.max_passage_tokens // _TITLE_SHARE
    if model.count_tokens(title) <= longest:
        return title
    logger.warning(
        "The title of document %r is longer than %d tokens; it is shortened", document_id, longest
    )
    return _beginning(title, longest, model.count_tokens)


def _beginning(text: str, longest: int, count: Callable[[str], int]) -> str:
    return TextSplitter.from_callback(count, longest).chunks(text)[0]
