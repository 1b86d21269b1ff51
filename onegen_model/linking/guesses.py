"""Guesses where a model begins and ends mentions: cheap ones, which need not be right."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import regex

from onegen_model.transcript.text_tokens import Range, TextTokens

# Words that begin with a capital letter, and such words between them as names have.
_NAME = regex.compile(
    r"(?<!\w)(?P<word>\p{Lu}\w*+(?:[-.\u2019'&](?!s\b)\w++|\.(?= \p{Lu}))*+)"
    r"(?: (?:(?:of|of the|de|de la|du|la|von|van|der) )?(?&word))*+"
)
_WORD = regex.compile(r"\w+(?:[-\u2019']\w+)*")
_SENTENCE_START = regex.compile(r"(?:^|[.!?…:\n][\"\u201d\u2019')\]]*)\s*[\"\u201c\u2018'(\[]*$")
# So many characters in front of a word say whether a sentence begins with it.
_LOOK_BACK = 8
# A mention that begins fewer tokens before a name ends with the name.
_NEAR = 3


@dataclass(slots=True)
class Guesses:
    """Guesses for one window.

    What the model preferred at a place behind a draft that was wrong is the best guess for that
    place. Elsewhere a mention is a name of the text, or what was marked before.
    """

    tokens: TextTokens
    _preferred: dict[tuple[int | None, int], bool] = field(init=False, default_factory=dict)
    _verdicts: dict[str, bool] = field(init=False, default_factory=dict)
    _names: dict[int, int] = field(init=False)
    _word_ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        text = self.tokens.text
        self._names = dict(filter(None, map(self.tokens.find, _names(text))))
        words = (self.tokens.find(found.span()) for found in _WORD.finditer(text))
        self._word_ends = [word[1] for word in words if word is not None]

    def is_tag(self, begun: int | None, at: int) -> bool:
        """Whether a mention begins with token `at` or, where one has `begun`, ends before it."""
        if (found := self._preferred.get((begun, at))) is not None:
            return found
        if begun is not None:
            return at == self._end(begun)
        return at in self._names and self._verdicts.get(self._surface(at), True)

    def _end(self, begun: int) -> int | None:
        for at in range(begun, begun + _NEAR):
            if at in self._names:
                return self._names[at]
        after = bisect_right(self._word_ends, begun)
        return self._word_ends[after] if after < len(self._word_ends) else None

    def _surface(self, name: int) -> str:
        start, end = self.tokens.surface((name, self._names[name]))
        return self.tokens.text[start:end]

    def learn(self, begun: int | None, at: int, is_tag: bool) -> None:
        """Take what the model preferred there, whatever stood before it."""
        self._preferred[begun, at] = is_tag
        if begun is None and at in self._names:
            self._verdicts[self._surface(at)] = is_tag

    def mark(self, mention: Range) -> None:
        """Take a mention: where its surface stands again will be another."""
        start, end = self.tokens.surface(mention)
        surface = self.tokens.text[start:end]
        again = regex.compile(rf"(?<!\w){regex.escape(surface)}(?!\w)")
        for found in again.finditer(self.tokens.text, end):
            if (tokens := self.tokens.find(found.span())) is not None:
                self._names[tokens[0]] = tokens[1]
        self._verdicts[surface] = True


def _names(text: str) -> Iterator[Range]:
    """Names by their capital letters, without dates. The first word of a sentence has one, too:
    alone it is a name if it stands elsewhere inside of a sentence; before another name it is part
    of that unless the text has the word without a capital."""
    words = {found.group() for found in _WORD.finditer(text)}
    spans = [found.span() for found in _NAME.finditer(text) if not _is_dated(text, found.span())]
    firsts = [_begins_sentence(text, start) for start, _ in spans]
    known = {text[a:b] for (a, b), first in zip(spans, firsts, strict=True) if not first}
    for (start, end), first in zip(spans, firsts, strict=True):
        word = text[start:end].split(" ", 1)[0]
        if not first or text[start:end] in known:
            yield start, end
        elif len(word) < end - start:
            yield (start + len(word) + 1 if word.lower() in words else start), end


def _is_dated(text: str, span: Range) -> bool:
    """Whether a number stands beside it, as in "3 May" and "May 2017"."""
    start, end = span
    before, behind = text[max(0, start - 2) : start], text[end : end + 2]
    return (before[:1].isdigit() and before[1:] == " ") or (
        behind[:1] == " " and behind[1:].isdigit()
    )


def _begins_sentence(text: str, start: int) -> bool:
    return bool(_SENTENCE_START.search(text, max(0, start - _LOOK_BACK), start))
