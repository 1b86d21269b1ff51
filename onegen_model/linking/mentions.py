"""What `link` returns: mentions with their entities, and counters. Frozen, JSON-able."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from onegen_model.events import FragmentHit, Passage, ScoredPassage


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention of a text, `text[start:end]`, and the entity that it names.

    `candidates` are the entities found, best first, and `score` that of the best (None without
    candidates): a cosine, unless a foreign retriever set it, and what the name adds (see
    `LinkingParams`). `entity` is the best candidate, or None (NIL) where there is none or its
    score is below the threshold.
    """

    start: int
    end: int
    surface: str
    entity: ScoredPassage | None
    score: float | None
    candidates: tuple[ScoredPassage, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Mention":
        """Inverse of `to_dict`."""
        entity = plain["entity"]
        candidates = tuple(_scored(one) for one in plain.get("candidates", ()))
        parts = {"entity": _scored(entity) if entity else None, "candidates": candidates}
        return cls(**{**plain, **parts})


@dataclass(frozen=True, slots=True)
class LinkingUsage:
    """Counters of one text, in tokens.

    `length` are the positions of all prompts and written texts, tags included. `forwarded` are the
    positions that the network computed, of which `discarded` stand behind the first wrong guess of
    a draft, or in a mention that was taken back; every other position is read once:
    `forwarded - discarded <= length`, and what is left was not needed. `steps` are forward passes
    in which the text took part.
    """

    length: int = 0
    forwarded: int = 0
    discarded: int = 0
    steps: int = 0
    windows: int = 0

    def __add__(self, other: "LinkingUsage") -> "LinkingUsage":
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return LinkingUsage(*(one + another for one, another in pairs))


@dataclass(frozen=True, slots=True)
class LinkedText:
    """A text, character for character as it was given, and its mentions in order."""

    text: str
    mentions: tuple[Mention, ...]
    usage: LinkingUsage = field(default_factory=LinkingUsage, compare=False)

    def __add__(self, other: "LinkedText") -> "LinkedText":
        """The text that goes on with another; the mentions of that move by the length of this."""
        if not isinstance(other, LinkedText):
            return NotImplemented
        by = len(self.text)
        moved = (replace(one, start=one.start + by, end=one.end + by) for one in other.mentions)
        return LinkedText(
            self.text + other.text, (*self.mentions, *moved), self.usage + other.usage
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "text": self.text,
            "mentions": [one.to_dict() for one in self.mentions],
            "usage": asdict(self.usage),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "LinkedText":
        """Inverse of `to_dict`."""
        mentions = tuple(Mention.from_dict(one) for one in plain["mentions"])
        return cls(plain["text"], mentions, LinkingUsage(**plain.get("usage", {})))


def _scored(plain: dict[str, Any]) -> ScoredPassage:
    kind = FragmentHit if "fragment" in plain else ScoredPassage
    return kind(**{**plain, "passage": Passage(**plain["passage"])})
