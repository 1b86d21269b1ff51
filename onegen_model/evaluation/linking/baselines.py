"""Systems that link given spans without our model: by names, by words, by a sentence encoder."""

import hashlib
import re
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onegen_model.evaluation.ask.sentence_encoder import SentenceEncoder
from onegen_model.evaluation.linking.documents import LinkingDocument, Span
from onegen_model.evaluation.linking.predictions import KEPT, Hit, Hits
from onegen_model.events import Passage, Query, ScoredPassage
from onegen_model.linking.entities import entity_name
from onegen_model.retrieval.bm25 import Bm25, words
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.names import name_similarity

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_a-z])|\n+")
_LONG = 4

# The ids that each span is linked among; None: all entities.
Among = Sequence[Collection[str]] | None


class Baseline(Protocol):
    """Links the spans of a document."""

    def link(self, document: LinkingDocument, spans: Sequence[Span], among: Among) -> list[Hits]:
        """The best entity of each span with its score; empty where there is none."""
        ...


class EntityList:
    """Entities by place in a list, by id, by name and by word."""

    def __init__(self, entities: Sequence[Passage]) -> None:
        self.entities = entities
        self.places = {one.id: place for place, one in enumerate(entities)}

    def __len__(self) -> int:
        return len(self.entities)

    def among(self, ids: Collection[str] | None) -> NDArray[np.int64]:
        """The places of these ids; unknown ones are left out."""
        if ids is None:
            return np.arange(len(self.entities))
        found = [place for one in ids if (place := self.places.get(one)) is not None]
        return np.array(found, np.int64)

    @cached_property
    def named(self) -> dict[str, list[int]]:
        """The places of each name, without case; an entity may have two: its name and its title."""
        found: dict[str, list[int]] = {}
        for place, one in enumerate(self.entities):
            own = {entity_name(one), str(one.metadata.get("name") or entity_name(one))}
            for name in {name.casefold() for name in own}:
                found.setdefault(name, []).append(place)
        return found

    def count_shared(self, text: str) -> NDArray[np.int64]:
        """How many different words each entity shares with a text; short words do not count."""
        known = [places for word in _long_words(text) if (places := self._with_word.get(word))]
        if not known:
            return np.zeros(len(self), np.int64)
        return np.bincount(np.concatenate(known), minlength=len(self))

    @cached_property
    def _with_word(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for place, one in enumerate(self.entities):
            for word in _long_words(one.titled_text):
                found.setdefault(word, []).append(place)
        return found


def _long_words(text: str) -> set[str]:
    # Function words are short in many scripts; a Chinese word is one character.
    return {word for word in words(text) if len(word) >= _LONG or not word.isascii()}


@dataclass(frozen=True, slots=True)
class ByName:
    """An entity with the name of the mention; of several, the one that shares most words with the
    text where `counts_words`. Then an entity with another name will do where none has this one.

    Among equals chance decides: the order of a list may favour the right one.
    """

    entities: EntityList
    counts_words: bool = False

    def link(self, document: LinkingDocument, spans: Sequence[Span], among: Among) -> list[Hits]:
        shared = self.entities.count_shared(document.text) if self.counts_words else None
        return [
            self._link(document, span, None if among is None else among[number], shared)
            for number, span in enumerate(spans)
        ]

    def _link(
        self,
        document: LinkingDocument,
        span: Span,
        ids: Collection[str] | None,
        shared: NDArray[np.int64] | None,
    ) -> Hits:
        places = self.entities.among(ids)
        named = self.entities.named.get(document.text[slice(*span)].casefold(), [])
        same = np.array(named, np.int64) if ids is None else np.intersect1d(places, named)
        if len(same):
            places = same
        elif shared is None or not len(places):
            return ()
        if shared is not None:
            places = places[shared[places] == shared[places].max()]
        chosen = _by_chance([self.entities.entities[at].id for at in places], document, span)
        score = float(bool(len(same))) + (0 if shared is None else float(shared[places[0]])) / 1000
        return (Hit(chosen, score),)


def _by_chance(ids: Sequence[str], document: LinkingDocument, span: Span) -> str:
    """One of `ids`, the same in every run."""

    def draw(name: str) -> bytes:
        return hashlib.md5(f"{document.id} {span} {name}".encode(), usedforsecurity=False).digest()

    return min(ids, key=draw)


@dataclass(frozen=True, slots=True)
class ByBm25:
    """BM25 over names and descriptions, asked with the mention and its sentence."""

    entities: EntityList
    bm25: Bm25

    def link(self, document: LinkingDocument, spans: Sequence[Span], among: Among) -> list[Hits]:
        return [
            self._link(query, None if among is None else among[number])
            for number, query in enumerate(queries(document, spans))
        ]

    def _link(self, query: str, ids: Collection[str] | None) -> Hits:
        places = self.entities.among(ids)
        if not len(places):
            return ()
        scores = self.bm25.score(query)[places]
        best = int(scores.argmax())
        if scores[best] <= 0:
            return ()
        return (Hit(self.entities.entities[places[best]].id, float(scores[best])),)


@dataclass(frozen=True, slots=True)
class BySentence:
    """A sentence encoder over names and descriptions, asked with the mention and its sentence."""

    encoder: SentenceEncoder
    index: PassageIndex

    def link(self, document: LinkingDocument, spans: Sequence[Span], among: Among) -> list[Hits]:
        if not spans:
            return []
        vectors = self.encoder.embed(list(queries(document, spans)))
        surfaces = [document.text[start:end] for start, end in spans]
        if among is None:
            found = self._search(vectors, surfaces)
        else:
            found = self.index.rank(vectors, among)
        return [_hits(*pair) for pair in zip(surfaces, found, strict=True)]

    def _search(
        self, vectors: NDArray[np.float32], surfaces: Sequence[str]
    ) -> list[list[ScoredPassage]]:
        """The nearest entities, and those that have the surface as a name, as `link` finds them."""
        embedded = zip(vectors, surfaces, strict=True)
        asked = [Query(array("f", row), surface, KEPT) for row, surface in embedded]
        pairs = zip(self.index.retrieve(asked), self.index.named(asked), strict=True)
        return [[*found, *(one for one in named if one not in found)] for found, named in pairs]


def _hits(surface: str, found: Sequence[ScoredPassage]) -> Hits:
    return tuple(
        Hit(one.passage.id, one.score, name_similarity(surface, one.passage)) for one in found
    )


def queries(document: LinkingDocument, spans: Sequence[Span]) -> Iterator[str]:
    """`mention: sentence` for each span, as an entity is `name` and `description`."""
    for start, end in spans:
        yield f"{document.text[start:end]}: {sentence_around(document.text, (start, end))}"


def sentence_around(text: str, span: Span) -> str:
    """The sentence of a span, or the sentences that it crosses."""
    ends = list(_SENTENCE_END.finditer(text))
    start = max((one.end() for one in ends if one.end() <= span[0]), default=0)
    end = min((one.start() for one in ends if one.start() >= span[1]), default=len(text))
    return " ".join(text[start:end].split())
