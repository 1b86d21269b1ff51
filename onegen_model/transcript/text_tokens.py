"""The tokens of a text with the characters that each stands for."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import regex

from onegen_model.transcript.text_guard import Span, TextGuard

# A range of tokens, or of characters: start and end, the end excluded.
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TextTokens:
    """A text in tokens; token `i` stands for the characters `spans[i]`.

    Tokens are numbered from 0. A border is a place in front of a token (or behind the last one)
    where the text can be cut without cutting a grapheme. Where a mention may begin or end, its
    characters without the white space around them cut no grapheme either. `lead` was tokenised in
    front of the text; tokens stand for no character of it.
    """

    text: str
    ids: tuple[int, ...]
    spans: tuple[Range, ...]
    lead: str = ""
    _is_border: tuple[bool, ...] = field(init=False, repr=False, compare=False)
    _begins: tuple[bool, ...] = field(init=False, repr=False, compare=False)
    _ends: tuple[bool, ...] = field(init=False, repr=False, compare=False)
    # The end of the characters of all tokens up to each.
    _reach: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text, inside = self.text, _inside_graphemes(self.text)
        reach = tuple(accumulate((end for _, end in self.spans), max))
        starts = zip(self.spans, (0, *reach), strict=False)
        borders = [start >= done and start not in inside for (start, _), done in starts]
        borders.append(True)
        begins, ends = [False] * len(self), [False] * len(borders)
        bare_end = 0
        for first, last in pairwise(at for at, one in enumerate(borders) if one or not at):
            start, end = self.spans[first][0], reach[last - 1]
            bare = text[start:end].lstrip()
            begins[first] = bool(bare) and borders[first] and end - len(bare) not in inside
            if bare:
                bare_end = end - len(bare) + len(bare.rstrip())
            ends[last] = bare_end not in inside
        # A mention that begins must be able to end.
        last_end = max((at for at, one in enumerate(ends) if one), default=0)
        begins[last_end:] = [False] * (len(begins) - last_end)
        for name, found in (("_is_border", borders), ("_begins", begins), ("_ends", ends)):
            object.__setattr__(self, name, tuple(found))
        object.__setattr__(self, "_reach", reach)

    @classmethod
    def of(cls, text: str, guard: TextGuard, lead: str = "") -> "TextTokens":
        """The tokens of a whole text; raises InvalidInputError for one that cannot be written."""
        return cls._made(text, guard.spans(lead + text), lead)

    @classmethod
    def _made(cls, text: str, found: Iterable[Span], lead: str) -> "TextTokens":
        """`found` are the spans of the text with `lead` in front of it."""
        spans, skip = list(found), len(lead)
        ids = tuple(at for at, _, _ in spans)
        places = [(max(0, start - skip), max(0, end - skip)) for _, start, end in spans]
        return cls(text, ids, _without_gaps(places, len(text)), lead)

    def __len__(self) -> int:
        return len(self.ids)

    def is_border(self, at: int) -> bool:
        """Whether the text can be cut in front of token `at`."""
        return self._is_border[at]

    def next_border(self, at: int) -> int:
        """The first border behind token `at`."""
        return next(place for place in range(at + 1, len(self) + 1) if self._is_border[place])

    def may_begin(self, at: int) -> bool:
        """Whether a mention may begin with token `at`."""
        return self._begins[at]

    def may_end(self, at: int) -> bool:
        """Whether a mention may end in front of token `at`."""
        return self._ends[at]

    def written(self, first: int, last: int) -> str:
        """The characters of a range of tokens, those of the lead included."""
        start, end = self.spans[first][0], self._reach[last - 1]
        return (self.lead if first == 0 else "") + self.text[start:end]

    def surface(self, tokens: Range) -> Range:
        """The characters of a range of tokens, without the white space around them."""
        start, end = self.spans[tokens[0]][0], self._reach[tokens[1] - 1]
        found = self.text[start:end]
        return start + len(found) - len(found.lstrip()), end - len(found) + len(found.rstrip())

    def find(self, characters: Range) -> Range | None:
        """The range of tokens whose `surface` is `characters`; None where tokens cross its ends, or
        its ends cut a grapheme."""
        start, end = characters
        first = bisect_right(self._reach, start)
        last = bisect_left(self._reach, end) + 1
        if not first < last <= len(self):
            return None
        while first and not self._is_border[first]:
            first -= 1
        while not self._is_border[last]:
            last += 1
        fits = self._begins[first] and self._ends[last]
        return (first, last) if fits and self.surface((first, last)) == characters else None

    def cut(self, places: Iterable[int], guard: TextGuard) -> "TextTokens":
        """The same text in which no token crosses any of `places`, which are characters.

        Tokens that do are replaced by those of their two parts.
        """
        found: list[Span] = []
        wanted, skip = sorted(set(places)), len(self.lead)
        for first, last in self._groups():
            start, end = self.spans[first][0], self._reach[last - 1]
            inside = [
                place
                for place in wanted[bisect_right(wanted, start) : bisect_left(wanted, end)]
                if self.text[start:place].strip() and self.text[place:end].strip()
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


def _without_gaps(spans: Sequence[Range], length: int) -> tuple[Range, ...]:
    """The spans of tokens where each character of a text belongs to one.

    A tokenizer that composes characters, such as a letter with its accent, names the first of them
    alone: the others belong to the same token.
    """
    whole: list[Range] = []
    following = length
    for at, (start, end) in reversed([*enumerate(spans)]):
        whole.append((start if at else 0, max(end, following)))
        following = min(following, start)
    return tuple(reversed(whole))


def _inside_graphemes(text: str) -> frozenset[int]:
    """Characters that continue the grapheme of the one before."""
    if text.isascii() and "\r\n" not in text:
        return frozenset()
    starts = {found.start() for found in regex.finditer(r"\X", text)}
    return frozenset(range(len(text))) - starts
