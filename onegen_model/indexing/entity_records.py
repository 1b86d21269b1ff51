"""The records of entities, in a file or in memory, and what is wrong with them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.events import Passage
from onegen_model.jsonl import JsonLines, Problem
from onegen_model.linking.entities import entity_passage
from onegen_model.places import RESERVED, place_of
from onegen_model.retrieval.checks import by_id

# So many problems are named in one message.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class EntityRecords:
    """Entities by their ids, and the `problems` of records that cannot be used."""

    entities: dict[str, Passage] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def require_sound(self) -> None:
        """Raise InvalidInputError, which names all problems, if there are any."""
        if not self.problems:
            return
        if len(self.problems) == 1:
            raise InvalidInputError(self.problems[0])
        named = self.problems[:_NAMED]
        if len(self.problems) > _NAMED:
            named.append(f"and {len(self.problems) - _NAMED} more")
        lines = ";\n  ".join(named)
        raise InvalidInputError(
            f"{len(self.problems)} records cannot be used:\n  {lines};\ncorrect them, leave them "
            "out, or skip bad records"
        )


# A file of JSON lines; records, or passages that `entity_passage` has made of them; or such a
# source that has been read.
Entities = str | PathLike[str] | Iterable[Mapping[str, Any] | Passage] | EntityRecords


def read_entities(given: Entities) -> EntityRecords:
    """All entities, in order; of two records of one id the first is kept.

    Raises InvalidInputError for a file that is missing, unreadable or without any record.
    """
    if isinstance(given, EntityRecords):
        return given
    found, first = EntityRecords(), dict[str, int]()
    numbered = _Numbered(given)
    for at, record in enumerate(numbered):
        try:
            entity = _entity(record)
            known = found.entities.setdefault(entity.id, entity)
            first.setdefault(entity.id, at)
            if known != entity:
                raise InvalidInputError(
                    f"the id {entity.id!r} stands for something else in "
                    f"{numbered.where(first[entity.id])}; expected one record of each id; rename "
                    "or remove one"
                )
        except InvalidInputError as error:
            found.problems.append(f"{numbered.where(at)}: {error}")
    if not first and not found.problems:
        raise InvalidInputError(
            f"{numbered.name} holds no entities; expected at least one record with an id and a "
            "name; check it"
        )
    return found


def require_entities(passages: Iterable[Passage], folder: Path) -> None:
    """Raise PassageIndexError for passages that are pieces of documents.

    What `onegen index` and `onegen embed` write has a place; an entity has none.
    """
    if (piece := next(filter(place_of, passages), None)) is not None:
        raise PassageIndexError(
            f"{folder} is an index of documents (it holds {piece.id!r}); expected one of entities; "
            "make one with `onegen entities FILE --out DIR`"
        )


class _Numbered:
    """Records in order, each with a name for messages."""

    def __init__(self, given: Entities) -> None:
        self._lines = JsonLines(Path(given)) if isinstance(given, str | PathLike) else None
        self._given = given
        self.name = "The list" if self._lines is None else str(self._lines.path)

    def __iter__(self) -> Iterator[object]:
        return iter(self._given) if self._lines is None else self._lines.scan()  # type: ignore[arg-type]

    def where(self, at: int) -> str:
        return f"entities[{at}]" if self._lines is None else self._lines.where(at)


def _entity(record: object) -> Passage:
    """Raises InvalidInputError."""
    if isinstance(record, Problem):
        raise InvalidInputError(f"{record.message}; correct the line")
    if not isinstance(record, Passage | Mapping):
        raise InvalidInputError(
            f"of type {type(record).__name__}; expected a record with an id and a name, or a "
            "Passage; change it"
        )
    entity = record if isinstance(record, Passage) else entity_passage(record)
    if RESERVED in entity.metadata:
        raise InvalidInputError(
            f"entity {entity.id!r} has a field {RESERVED!r}; expected any other name, because this "
            "one is kept for the places of documents; rename it"
        )
    by_id([entity])
    if not entity.text.strip():
        raise InvalidInputError(
            f"entity {entity.id!r} has no text; expected a description, or the name; add it"
        )
    return entity
