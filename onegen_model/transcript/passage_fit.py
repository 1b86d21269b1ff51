"""Shortens passages that are longer than the checkpoint reads them."""

import logging
from collections.abc import Callable
from dataclasses import replace

from semantic_text_splitter import TextSplitter

from onegen_model.events import Passage
from onegen_model.transcript.renderer import Renderer

logger = logging.getLogger(__name__)

# A title takes at most half of a passage; the rest is left for its text.
_TITLE_SHARE = 2
# Longer texts, in characters per token, are cut first, because splitting a book takes long.
_CHARACTERS = 32


def fit_passage(passage: Passage, renderer: Renderer) -> Passage:
    """The passage itself, or its beginning within `max_passage_tokens`.

    A text ends after a sentence or a word where possible. A title of more than half of the tokens
    is cut first. A warning names a passage that was cut.
    """

    def count(one: Passage) -> int:
        return len(renderer.text_ids(renderer.template.passage_text(one)))

    longest = renderer.max_passage_tokens
    if count(passage) <= longest:
        return passage
    logger.warning(
        "Passage %r is longer than %d tokens and was cut; split the document into shorter passages",
        passage.id,
        longest,
    )
    title = _beginning(
        passage.title, longest // _TITLE_SHARE, lambda title: len(renderer.text_ids(title))
    )
    short = replace(passage, title=title)
    text = _beginning(short.text, longest, lambda text: count(replace(short, text=text)))
    return replace(short, text=text)


def _beginning(text: str, longest: int, count: Callable[[str], int]) -> str:
    if count(text) <= longest:
        return text
    # The splitter leaves out white space around a chunk, and has none for white space alone.
    text = text.strip()
    if count(text) <= longest:
        return text
    within = text[: _CHARACTERS * longest]
    return TextSplitter.from_callback(count, longest).chunks(within)[0]
