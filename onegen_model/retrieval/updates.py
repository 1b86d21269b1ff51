"""Updates of an index: vectors of known content are reused, and passages are removed by place."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.places import place_of
from onegen_model.retrieval.checks import same_content
from onegen_model.retrieval.rows import Rows


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What became of the passages given to `PassageIndex.update`.

    `added` have new ids, `changed` another title or text than the passage of the same id had, and
    `unchanged` the same. Of those added or changed, `embedded` were embedded, and `reused` took the
    vectors of a passage with the same title and text.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    embedded: int = 0
    reused: int = 0


@dataclass(frozen=True, slots=True)
class RemovalReport:
    """`passages` were removed, of `documents` documents; nothing was found for `missing`."""

    passages: int = 0
    documents: int = 0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reuse:
    """The passages that are left to embed (`pending`), and the numbers of an UpdateReport."""

    pending: tuple[Passage, ...]
    added: int
    changed: int
    unchanged: int
    reused: int

    def report(self) -> UpdateReport:
        """The report once the pending passages are embedded."""
        return UpdateReport(
            self.added, self.changed, self.unchanged, len(self.pending), self.reused
        )


def reuse_vectors(rows: Rows, given: Mapping[str, Passage]) -> tuple[Rows, Reuse]:
    """The state in which passages of known content are, under their ids and with their metadata."""
    known = {content_of(rows.listed[at]): at for at in rows.positions()}
    replaced: dict[int, Passage] = {}
    taken: dict[str, int] = {}
    pending: list[Passage] = []
    gone: set[int] = set()
    unchanged = 0
    for passage in given.values():
        at = rows.find(passage.id)
        if at is not None and same_content(rows.listed[at], passage):
            unchanged += 1
            if rows.listed[at] != passage:
                replaced[at] = passage
        elif (source := known.get(content_of(passage))) is not None:
            taken[passage.id] = source
            gone.update(() if at is None else (at,))
        else:
            pending.append(passage)
    changed = len(gone) + sum(rows.find(passage.id) is not None for passage in pending)
    added = len(given) - unchanged - changed
    state = rows.with_replaced(replaced) if replaced else rows
    if taken:
        # Read before anything is removed: a passage may take the vectors of one that goes.
        vectors, ranks = rows.gather(taken.values())
        state = state.without(gone) if gone else state
        state = state.with_added([given[name] for name in taken], ranks, vectors)
    return state, Reuse(tuple(pending), added, changed, unchanged, len(taken))


def renew_known(rows: Rows, given: Mapping[str, Passage]) -> tuple[Rows, list[Passage]]:
    """The state in which known passages have their new metadata, and the passages to be embedded:
    those of new ids, or with another title or text.
    """
    pending: list[Passage] = []
    known: dict[int, Passage] = {}
    for passage in given.values():
        at = rows.find(passage.id)
        if at is None or not same_content(rows.listed[at], passage):
            pending.append(passage)
        elif rows.listed[at] != passage:
            known[at] = passage
    return rows.with_replaced(known) if known else rows, pending


def content_of(passage: Passage) -> tuple[str, str]:
    """What the vectors of a passage are made from."""
    return passage.title, passage.text


def find_for_removal(
    rows: Rows, ids: Iterable[str], sources: Iterable[str], documents: Iterable[str]
) -> tuple[set[int], RemovalReport]:
    """The positions to remove, and the report once they are removed."""
    wanted = {"ids": ids, "sources": sources, "documents": documents}
    names = {kind: _names(kind, given) for kind, given in wanted.items()}
    found = {name: at for name in names["ids"] if (at := rows.find(name)) is not None}
    positions, met = set(found.values()), set(found)
    if names["sources"] or names["documents"]:
        for at in rows.positions():
            place = place_of(rows.listed[at])
            if place is None:
                continue
            hits = {place.source} & names["sources"] | {place.document} & names["documents"]
            if hits:
                positions.add(at)
                met |= hits
    missing = sorted(set().union(*names.values()) - met)
    count = len(_documents(rows, positions))
    return positions, RemovalReport(len(positions), count, tuple(missing))


def _names(kind: str, given: Iterable[str]) -> set[str]:
    if isinstance(given, str):
        raise InvalidInputError(f"{kind}={given!r}; expected a list of {kind}; write [{given!r}]")
    return set(given)


def _documents(rows: Rows, positions: Collection[int]) -> set[str]:
    passages = [rows.listed[at] for at in positions]
    return {place.document if (place := place_of(one)) else one.id for one in passages}
