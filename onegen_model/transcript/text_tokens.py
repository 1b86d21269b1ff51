"""The tokens of a text with the characters that each stands for."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import regex

from onegen_model.transcript.text_guard import Span, TextGuard

# A range of tokens, or of characters: start and end, the end excluded.
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TextTokens:
    """A text in tokens; token `i` stands for the characters `spans[i]`.

    Tokens are numbered from 0. A border is a place in front of a token (or behind the last one)
    where the text can be cut without cutting a grapheme. `lead` was tokenised in front of the text;
    tokens stand for no character of it.
    """

    text: str
    ids: tuple[int, ...]
    spans: tuple[Range, ...]
    lead: str = ""
    _is_border: tuple[bool, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        inside = _inside_graphemes(self.text)
        edges = [0, *(end for _, end in self.spans)]
        borders = [
            start >= before and start not in inside
            for (start, _), before in zip(self.spans, edges, strict=False)
        ]
        object.__setattr__(self, "_is_border", (*borders, True))

    @classmethod
    def of(cls, text: str, guard: TextGuard, lead: str = "") -> "TextTokens":
        """The tokens of a whole text; raises InvalidInputError for one that cannot be written."""
        return cls._made(text, guard.spans(lead + text), lead)

    @classmethod
    def _made(cls, text: str, found: Iterable[Span], lead: str) -> "TextTokens":
        """`found` are the spans of the text with `lead` in front of it."""
        spans, skip = list(found), len(lead)
        ids = tuple(at for at, _, _ in spans)
        places = tuple((max(0, start - skip), max(0, end - skip)) for _, start, end in spans)
        return cls(text, ids, places, lead)

    def __len__(self) -> int:
        return len(self.ids)

    def is_border(self, at: int) -> bool:
        """Whether the text can be cut in front of token `at`."""
        return self._is_border[at]

    def is_blank(self, at: int) -> bool:
        """Whether token `at` stands for white space alone, or for nothing."""
        start, end = self.spans[at]
        return not self.text[start:end].strip()

    def written(self, at: int) -> str:
        """The characters of token `at`, those of the lead included."""
        start, end = self.spans[at]
        return (self.lead if at == 0 else "") + self.text[start:end]

    def surface(self, tokens: Range) -> Range:
        """The characters of a range of tokens, without the white space around them."""
        start, end = self.spans[tokens[0]][0], self.spans[tokens[1] - 1][1]
        found = self.text[start:end]
        return start + len(found) - len(found.lstrip()), end - len(found) + len(found.rstrip())

    def find(self, characters: Range) -> Range | None:
        """The range of tokens whose `surface` is `characters`; None where tokens cross its ends."""
        start, end = characters
        inside = [at for at, (begin, stop) in enumerate(self.spans) if begin < end and stop > start]
        if not inside:
            return None
        found = inside[0], inside[-1] + 1
        fits = self.is_border(found[0]) and self.is_border(found[1])
        return found if fits and self.surface(found) == characters else None

    def cut(self, places: Iterable[int], guard: TextGuard) -> "TextTokens":
        """The same text in which no token crosses any of `places`, which are characters.

        Tokens that do are replaced by those of their two parts.
        """
        found: list[Span] = []
        wanted, skip = sorted(set(places)), len(self.lead)
        for first, last in self._groups():
            start, end = self.spans[first][0], max(stop for _, stop in self.spans[first:last])
            inside = [
                place
                for place in wanted
                if start < place < end
                and self.text[start:place].strip()
                and self.text[place:end].strip()
            ]
            if inside:
                for begin, stop in pairwise((start, *inside, end)):
                    is_first = first == begin == 0
                    lead = self.lead if is_first else ""
                    piece = guard.spans(lead + self.text[begin:stop], continues=not is_first)
                    shift = begin + skip - len(lead)
                    found += [(at, left + shift, right + shift) for at, left, right in piece]
            else:
                spans = zip(self.ids[first:last], self.spans[first:last], strict=True)
                found += [(at, left + skip, right + skip) for at, (left, right) in spans]
        return TextTokens._made(self.text, found, self.lead)

    def _groups(self) -> Iterable[Range]:
        """Ranges of tokens between neighbouring borders."""
        borders = [at for at in range(len(self) + 1) if self._is_border[at] or at == 0]
        return pairwise(borders)


def _inside_graphemes(text: str) -> frozenset[int]:
    """Characters that continue the grapheme of the one before."""
    if text.isascii():
        return frozenset()
    starts = {found.start() for found in regex.finditer(r"\X", text)}
    return frozenset(range(len(text))) - starts
