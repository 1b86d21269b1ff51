"""What may be written next in a window: the text, a tag, or either. Pure, without a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from sys import maxsize

from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.text_tokens import Range, TextTokens


@dataclass(frozen=True, slots=True)
class WritingLimits:
    """About `draft` positions are read ahead of what is decided, and up to `longest_draft` where
    drafts turn out right; 0: one token after the other is decided.

    A window with its prompt and tags has at most `room` positions: where they are used up no
    further mention begins. `threshold` is the `mention_threshold` of `LinkingParams`.
    """

    draft: int = 24
    longest_draft: int = 48
    max_mention_tokens: int = 24
    threshold: float = 0.5
    room: int = maxsize


@dataclass(frozen=True, slots=True)
class Place:
    """How far a window is written: up to token `at`, in `length` positions.

    `begun` is the first token of the open mention, which ends at token `least` at the earliest and
    at `most` at the latest.
    """

    length: int
    at: int = 0
    begun: int | None = None
    least: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Id `tag` or id `text` comes next."""

    tag: int
    text: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Ids, the place behind them and, if they close a mention, its range of tokens."""

    ids: Sequence[int]
    place: Place
    closed: Range | None = None


@dataclass(frozen=True, slots=True)
class Tagging:
    """The rules for one window. Whoever follows them writes the text, with tags in it."""

    renderer: LinkingRenderer
    tokens: TextTokens
    limits: WritingLimits

    def is_end(self, place: Place) -> bool:
        """Whether all of the window is written."""
        return place.at == len(self.tokens) and place.begun is None

    def is_last(self, place: Place) -> bool:
        """Whether the open mention ends here or is none."""
        return place.begun is not None and place.at == place.most

    def choice(self, place: Place) -> Choice | None:
        """What is to be decided at a place; None where only the text may be written.

        At the end of the text an open mention ends if this is likelier than the end of the answer:
        else the model has forgotten that it had begun.
        """
        is_behind = place.at == len(self.tokens)
        text = self.renderer.end_id if is_behind else self.tokens.ids[place.at]
        if self.is_last(place):
            return Choice(self.renderer.closing[0], text)
        tag = self._opening(place) if place.begun is None else self._closing(place)
        return None if tag is None or tag == text else Choice(tag, text)

    def _opening(self, place: Place) -> int | None:
        if not self.tokens.may_begin(place.at):
            return None
        opening = self.renderer.opening(self.tokens, place.at)
        tags = len(opening.ids) - opening.width + len(self.renderer.closing)
        rest = len(self.tokens) - place.at
        return opening.ids[0] if place.length + rest + tags <= self.limits.room else None

    def _closing(self, place: Place) -> int | None:
        may_end = place.at >= place.least and self.tokens.may_end(place.at)
        return self.renderer.closing[0] if may_end else None

    def write(self, place: Place, is_tag: bool) -> Piece:
        """A tag, with what it forces behind it, or a token of the text."""
        if not is_tag:
            ids: Sequence[int] = self.tokens.ids[place.at : place.at + 1]
            return Piece(ids, replace(place, length=place.length + 1, at=place.at + 1))
        if place.begun is None:
            return self._open(place)
        ids = self.renderer.closing
        behind = Place(place.length + len(ids), place.at)
        return Piece(ids, behind, (place.begun, place.at))

    def _open(self, place: Place) -> Piece:
        opening = self.renderer.opening(self.tokens, place.at)
        least, length = place.at + opening.width, place.length + len(opening.ids)
        most = self._most(place.at, least)
        return Piece(opening.ids, Place(length, least, place.at, least, most))

    def _most(self, begun: int, least: int) -> int:
        longest = max(begun + self.limits.max_mention_tokens, least)
        behind = range(min(longest, len(self.tokens)), len(self.tokens) + 1)
        before = range(len(self.tokens), begun, -1)
        return next(at for at in chain(behind, before) if self.tokens.may_end(at))
