"""Counts tokens of pieces, as the model does."""

from collections.abc import Callable
from dataclasses import dataclass

from onegen_model.events import Passage

# A text with more characters per token is too long without counting its tokens.
CHARS_PER_TOKEN = 64
# A part of a document with more characters per token is cut first: its parts are counted anyway.
_LIKELY_CHARS_PER_TOKEN = 12


@dataclass(frozen=True, slots=True)
class Measure:
    """`passage_text` is what the model reads of a passage, of at most `max_tokens` tokens."""

    count_tokens: Callable[[str], int]
    max_tokens: int
    passage_text: Callable[[Passage], str]

    def count(self, text: str) -> int:
        """Tokens of a text; more than `max_tokens` for one that is much too long."""
        if len(text) > self.max_tokens * CHARS_PER_TOKEN:
            return self.max_tokens + 1
        return self.count_tokens(text)

    def estimate(self, text: str) -> int:
        """As `count`, but a text that is probably too long is not counted."""
        if len(text) > self.max_tokens * _LIKELY_CHARS_PER_TOKEN:
            return self.max_tokens + 1
        return self.count_tokens(text)

    def whole(self, title: str, text: str) -> int:
        """Tokens of a passage with its title."""
        return self.count(self.passage_text(Passage("", text, title)))

    def room(self, title: str) -> int:
        """Tokens that a title leaves for a text; tokens of both do not always add up."""
        return self.max_tokens - self.whole(title, "")
