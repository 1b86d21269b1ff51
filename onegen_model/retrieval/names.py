"""Names of passages that are entities, and how alike such a name and a surface are."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import regex

from onegen_model.events import Passage, Query, ScoredPassage
from onegen_model.locks import ProcessLock
from onegen_model.retrieval.checks import unit_rows
from onegen_model.retrieval.filters import compile_filter
from onegen_model.retrieval.rows import Rows

# Letters with their marks, and digits, of any script.
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
# The accents of Latin, Greek and Cyrillic; in other scripts, marks make other words.
_ACCENTS = re.compile("[\u0300-\u036f]")
# What tells namesakes apart begins with one of these: Paris, Texas or, with ")" at the end of the
# name, Paris (Texas).
_COMMA = re.compile("[,\u060c\u3001]")
_COMMA_OR_BRACKET = re.compile("[,\u060c\u3001(]")

_WITHOUT_QUALIFIER = 0.9
_SHARED_WORDS = 0.8


def normal_name(name: str) -> str:
    """The name without case, accents and punctuation; of a name without words, what is left, and of
    an accent alone, that."""
    folded = _folded(name)
    return " ".join(_WORD.findall(folded)) or folded.strip() or name.strip()


def names_of(entity: Passage) -> Iterator[str]:
    """The title (without one, the text), and the `name` and `aliases` of the metadata."""
    yield entity.title or entity.text
    if isinstance(own := entity.metadata.get("name"), str):
        yield own
    if isinstance(more := entity.metadata.get("aliases"), list | tuple):
        yield from (one for one in more if isinstance(one, str))


def name_similarity(surface: str, entity: Passage) -> float:
    """How alike a surface and the nearest name of an entity are, from 0 to 1 (the same name)."""
    return max(_similarity(surface, name) for name in names_of(entity))


def _similarity(surface: str, name: str) -> float:
    (wanted, _), (whole, bare) = _forms(surface), _forms(name)
    if wanted == whole:
        return 1.0
    if wanted == bare:
        return _WITHOUT_QUALIFIER
    mine, other = set(wanted.split()), set(bare.split())
    return _SHARED_WORDS * len(mine & other) / len(mine | other) if mine or other else 0.0


@lru_cache(maxsize=1 << 14)
def _forms(name: str) -> tuple[str, str]:
    """The name, and the name without its qualifier."""
    whole, plain = normal_name(name), unicodedata.normalize("NFKC", name).rstrip()
    mark = _COMMA_OR_BRACKET if plain.endswith(")") else _COMMA
    bare = mark.split(plain, maxsplit=1)[0]
    return whole, normal_name(bare) if bare.strip() else whole


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", plain))


class NameLookup:
    """Finds the passages of an index by their names; safe to use from several threads.

    It is made when first used, and grows with the index; an index that has replaced or moved
    passages is read again. Other searches by name wait meanwhile.
    """

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._read: list[Passage] | None = None
        self._count = 0
        self._places: dict[str, list[int]] = {}

    def search(self, rows: Rows, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """For each query the passages of `rows` that it allows and that have its text as a name."""
        return [self._search(rows, query) for query in queries]

    def _search(self, rows: Rows, query: Query) -> list[ScoredPassage]:
        matches = compile_filter(query.filter)
        named = (rows.listed[at] for at in self._find(rows, query.text))
        ids = [one.id for one in named if one.id not in query.exclude and matches(one.metadata)]
        if not ids:
            return []
        [embedding] = unit_rows([np.asarray(query.embedding)], 1, rows.buffer.shape[1])
        return rows.rank(embedding, ids)

    def _find(self, rows: Rows, name: str) -> list[int]:
        wanted = normal_name(name)
        with self._lock:
            self._read_on(rows)
            places = list(self._places.get(wanted, ()))
        return [at for at in places if at < rows.count and at not in rows.dead]

    def _read_on(self, rows: Rows) -> None:
        # A later state either adds to the list of an earlier one, or has a list of its own.
        if self._read is not rows.listed:
            self._read, self._count, self._places = rows.listed, 0, {}
        for at in range(self._count, rows.count):
            for name in {normal_name(one) for one in names_of(rows.listed[at])}:
                self._places.setdefault(name, []).append(at)
        self._count = max(self._count, rows.count)
