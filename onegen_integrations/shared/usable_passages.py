"""Passages of foreign stores, made such that the model can read them.

A store holds what users have put into it: chunks of another size, and empty ones.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from onegen_model import OneGenModel, Passage, ScoredPassage
from onegen_model.errors import RetrievalError

logger = logging.getLogger(__name__)

# A title takes at most this part of a passage; the rest is left for its text.
_TITLE_SHARE = 2
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_WORD_END = re.compile(r"\s+")


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

    Titles are cut between words, texts at the end of a sentence where one fits. A warning names
    the document.
    """

    def count(one: Passage) -> int:
        return model.count_tokens(model.template.passage_text(one))

    longest = model.max_passage_tokens
    if count(passage) <= longest:
        return passage
    kept = replace(passage, title=shorten_title(passage.title, passage.id, model))
    if count(kept) > longest:
        kept = replace(
            kept,
            text=_longest_prefix(
                kept.text, lambda text: count(replace(kept, text=text)) <= longest, _SENTENCE_END
            ),
        )
        logger.warning(
            "Document %r is longer than the %d tokens of a passage; its end is cut",
            passage.id,
            longest,
        )
    return kept


def shorten_title(title: str, document_id: str, model: OneGenModel) -> str:
    """`title`, cut between words to half of `max_passage_tokens`; a warning names the document."""
    longest = model.max_passage_tokens // _TITLE_SHARE
    if model.count_tokens(title) <= longest:
        return title
    logger.warning(
        "The title of document %r is longer than %d tokens; it is shortened", document_id, longest
    )
    return _longest_prefix(title, lambda text: model.count_tokens(text) <= longest, _WORD_END)


def _longest_prefix(text: str, fits: Callable[[str], bool], ends: "re.Pattern[str]") -> str:
    """The longest prefix that fits: to one of `ends`, else to a word's end, else to a character."""
    for pattern in (ends, _WORD_END):
        places = [match.start() for match in pattern.finditer(text) if match.start()]
        if places and fits(text[: places[0]]):
            return text[: places[_last(places, lambda place: fits(text[:place]))]]
    characters = range(1, len(text) + 1)
    return text[: characters[_last(characters, lambda place: fits(text[:place]))]]


def _last(places: Sequence[int], fits: Callable[[int], bool]) -> int:
    """Position of the last place that fits; 0 where none does."""
    low, high = 0, len(places) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if fits(places[middle]):
            low = middle
        else:
            high = middle - 1
    return low
