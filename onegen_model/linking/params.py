"""What a caller may choose per call of `link`. Frozen; checked at birth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from onegen_model.errors import InvalidInputError

Span = tuple[int, int]
Mentions = Literal["detect"] | Sequence[Span]


@dataclass(frozen=True, slots=True)
class LinkingParams:
    """How mentions are found, and what they are linked to.

    `mentions` are found by the model ("detect"), or given as (start, end) in characters of the
    text; then they are only linked. A mention is found where the probability that it begins there
    and ends there (of a tag against the text) exceeds `mention_threshold`. What goes on for more
    than `max_mention_tokens` is none.

    The score of a candidate is its cosine plus `name_weight` times how alike the mention and the
    name of the entity are, from 0 to 1. A weight above 0 also makes candidates of all entities of a
    PassageIndex that have the very name. A mention whose best candidate has a score below
    `nil_threshold` has no entity (NIL); `num_candidates` are reported with each. Only entities that
    pass `filter` are candidates, or those with the ids `candidates`, but not both: one list for all
    mentions or, with given mentions, a list for each.

    A text of more than `window` tokens is read in windows that share `overlap` tokens.
    """

    mentions: Mentions = "detect"
    num_candidates: int = 5
    nil_threshold: float | None = None
    name_weight: float = 0.2
    mention_threshold: float = 0.5
    max_mention_tokens: int = 24
    filter: Mapping[str, Any] | None = field(default=None, hash=False)
    candidates: Sequence[str] | Sequence[Sequence[str]] | None = None
    window: int = 192
    overlap: int = 48

    def __post_init__(self) -> None:
        least = self.nil_threshold
        checks = {
            "num_candidates": (_is_int(self.num_candidates, 1), "at least 1"),
            "nil_threshold": (
                least is None or (_is_number(least) and isfinite(least)),
                "a finite number, or None",
            ),
            "name_weight": (
                _is_number(self.name_weight)
                and isfinite(self.name_weight)
                and self.name_weight >= 0,
                "a number of at least 0",
            ),
            "mention_threshold": (
                _is_number(self.mention_threshold) and 0 < self.mention_threshold < 1,
                "a number between 0 and 1",
            ),
            "max_mention_tokens": (_is_int(self.max_mention_tokens, 1), "at least 1"),
            "filter": (isinstance(self.filter, Mapping | None), "a mapping, or None"),
            "window": (_is_int(self.window, 16), "at least 16 tokens"),
            "overlap": (
                _is_int(self.overlap, 0)
                and _is_int(self.window, 16)
                and 2 * self.overlap <= self.window,
                "0 or more tokens, and at most half of window",
            ),
        }
        for name, (fine, expected) in checks.items():
            if not fine:
                raise _wrong(name, getattr(self, name), expected)
        self._check_mentions()
        self._check_candidates()

    def _check_mentions(self) -> None:
        if isinstance(self.mentions, str) and self.mentions == "detect":
            return
        expected = '"detect", or a list of (start, end), which are whole numbers'
        if isinstance(self.mentions, str) or not isinstance(self.mentions, Sequence):
            raise _wrong("mentions", self.mentions, expected)
        for one in self.mentions:
            if not (isinstance(one, Sequence) and len(one) == 2 and all(map(_is_offset, one))):
                raise _wrong("mentions", one, expected)
        object.__setattr__(self, "mentions", tuple((one[0], one[1]) for one in self.mentions))

    def _check_candidates(self) -> None:
        if self.candidates is None:
            return
        expected = "a list of entity ids or, with given mentions, a list of ids for each"
        listed: Any = self.candidates
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise _wrong("candidates", listed, expected)
        if all(isinstance(one, str) for one in listed):
            object.__setattr__(self, "candidates", tuple(listed))
            return
        lists = [one for one in listed if isinstance(one, Sequence) and not isinstance(one, str)]
        if len(lists) < len(listed) or not all(isinstance(i, str) for one in lists for i in one):
            raise _wrong("candidates", listed, expected)
        if self.mentions == "detect" or len(lists) != len(self.mentions):
            raise InvalidInputError(
                f"candidates has {len(lists)} lists of ids; expected one for each given mention, "
                "or one list of ids for all; give the mentions, or one list"
            )
        object.__setattr__(self, "candidates", tuple(tuple(one) for one in lists))

    @property
    def spans(self) -> tuple[Span, ...] | None:
        """The given mentions; None where the model finds them."""
        return None if isinstance(self.mentions, str) else tuple(self.mentions)

    def candidates_of(self, mention: int) -> tuple[str, ...] | None:
        """The ids that a given mention, by its number, is linked among; None: all entities."""
        if not self.candidates:
            return None if self.candidates is None else ()
        first = self.candidates[0]
        chosen: Any = self.candidates if isinstance(first, str) else self.candidates[mention]
        return tuple(chosen)


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(name: str, value: object, expected: str) -> InvalidInputError:
    return InvalidInputError(f"{name}={value!r}; expected {expected}; change {name}")
