"""Brings entities into an index, and says before what that costs.

The work can be stopped and repeated: what is embedded is saved, and the same call continues.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.events import Passage
from onegen_model.indexing.entity_records import Entities, read_entities, require_entities
from onegen_model.indexing.job import IndexingJob
from onegen_model.indexing.options import IndexingOptions
from onegen_model.indexing.reading import Reading
from onegen_model.indexing.sync import open_or_create
from onegen_model.progress import ShouldStop
from onegen_model.retrieval.checks import same_content
from onegen_model.retrieval.corpus import passage_line
from onegen_model.retrieval.embedding import Embedder, FragmentEmbedder
from onegen_model.retrieval.folders import hold_for_writing
from onegen_model.retrieval.index import PassageIndex

# Entities that are sorted by length together, so that names are not padded to descriptions.
_BLOCK = 2048
_FLOAT = 4  # bytes
# Of an entity in memory, beside its vector and its line in a file; measured.
_OBJECTS = 450
# Fewer entities are embedded in little more time than a measurement takes.
_WORTH_MEASURING = 512
_GROUPS, _GROUP = 4, 16  # of entities that are measured


@dataclass(frozen=True, slots=True)
class EntityEstimate:
    """What is about to be done: `embedding` of `given` entities are new or changed.

    `seconds` is None for so few that a measurement would take as long. `disk_bytes` and
    `memory_bytes` are those of the whole index, the latter without the model; while the index
    grows, it takes up to twice as much memory.
    """

    given: int
    embedding: int
    seconds: float | None
    disk_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class EntityOptions:
    """`batch` entities are embedded per step; saves are at least `save_every` seconds apart, and
    take at most a twentieth of the time, unless it is 0: then every step is saved.

    With `skip_bad`, records that cannot be used are reported and left out. `on_estimate` is called
    before anything is embedded.
    """

    batch: int = 64
    save_every: float = 30.0
    skip_bad: bool = False
    on_estimate: Callable[[EntityEstimate], None] | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InvalidInputError(f"batch={self.batch}; expected at least 1; change batch")


@dataclass(frozen=True, slots=True)
class EntityReport:
    """The index holds `entities` entities after `done` of the `given` ones.

    Of these, `added` have new ids, `changed` another name or description than before, and
    `unchanged` the same. `embedded` were embedded now, of `cut` of them only the beginning of the
    description, and `reused` took the vectors of an entity with the same name and description.
    `problems` are those of records that were left out.
    """

    entities: int
    given: int
    done: int
    added: int
    changed: int
    unchanged: int
    embedded: int
    reused: int
    cut: int
    problems: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all given entities are in the index."""
        return self.done == self.given


def index_entities(
    model: Embedder,
    entities: Entities,
    out: str | PathLike[str],
    *,
    options: EntityOptions | None = None,
    progress: bool | None = False,
    should_stop: ShouldStop | None = None,
) -> EntityReport:
    """Add entities to an index, new or existing, and save it; others in it stay.

    `entities` are the records of a .jsonl or .jsonl.gz file, or a list of records or passages (see
    `entity_passage`). A known id with the same name and description is not embedded again. Of a
    long description the first fragment is embedded. `PassageIndex.load` opens the result, in which
    they have the order of the records.
    `progress` None: a bar in a terminal, and lines without one. Raises InvalidInputError for
    records, PassageIndexError for a folder, and CheckpointError for a model, that cannot be used.
    """
    options, folder = options or EntityOptions(), Path(out)
    require_linking(model)
    records = read_entities(entities)
    if not options.skip_bad or not records.entities:
        records.require_sound()
    embedder = FirstFragments(model)
    with hold_for_writing(folder):
        index = open_or_create(embedder, folder)
        require_entities(index.passages, folder)
        changes = _Changes.between(index, records.entities)
        if options.on_estimate is not None:
            options.on_estimate(changes.estimate(model))
        grown = None
        if not changes.are_none:
            reading = Reading(folder, _blocks_by_length(list(records.entities.values())))
            steps = IndexingOptions(batch=options.batch, save_every=options.save_every)
            grown = IndexingJob(index, folder, steps, should_stop).grow(reading, progress=progress)
        if grown is None or grown.is_whole:
            _put_in_order(index, folder, records.entities)
    return EntityReport(
        len(index),
        len(records.entities),
        len(records.entities) if grown is None else grown.done,
        changes.added,
        changes.changed,
        changes.unchanged,
        0 if grown is None else grown.embedded,
        0 if grown is None else grown.reused,
        embedder.cut,
        tuple(records.problems),
    )


def require_linking(model: object) -> None:
    """Raise CheckpointError for a model that says that it cannot link."""
    if not getattr(model, "can_link", True):
        raise CheckpointError(
            "This checkpoint was not trained to link entities, so nothing could search an index of "
            "its entities; expected one that was; use --model entity-linking, or load it with "
            'OneGenModel.from_pretrained("entity-linking")'
        )


class FirstFragments:
    """An embedder that embeds the first fragment of a long passage; `cut` counts such passages."""

    def __init__(self, model: Embedder) -> None:
        self._model = model
        self.cut = 0

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return self._model.fingerprint

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._model.dimension

    @property
    def max_passage_tokens(self) -> int:
        """The longest fragment."""
        return self._model.max_passage_tokens

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False
    ) -> NDArray[np.float32]:
        """(n, dimension), L2-normalised."""
        model = self._model
        if not isinstance(model, FragmentEmbedder):
            return model.embed_passages(passages)
        first = [next(iter(model.fragments(passage))) for passage in passages]
        pairs = zip(passages, first, strict=True)
        self.cut += sum(not same_content(*pair) for pair in pairs)
        return model.embed_passages(first)


@dataclass(frozen=True, slots=True)
class _Changes:
    """What becomes of given entities; `pending` are to be embedded."""

    index: PassageIndex
    given: Mapping[str, Passage]
    pending: Sequence[Passage]
    added: int
    changed: int
    unchanged: int
    are_none: bool

    @classmethod
    def between(cls, index: PassageIndex, given: Mapping[str, Passage]) -> "_Changes":
        contents = {(held.title, held.text) for held in index.passages}
        known = {entity_id: index.get(entity_id) for entity_id in given}
        unchanged = sum(
            held is not None and same_content(held, given[name]) for name, held in known.items()
        )
        added = sum(held is None for held in known.values())
        return cls(
            index,
            given,
            [one for one in given.values() if (one.title, one.text) not in contents],
            added,
            len(given) - added - unchanged,
            unchanged,
            all(held == given[name] for name, held in known.items()),
        )

    def estimate(self, model: Embedder) -> EntityEstimate:
        """Embeds a few of the entities if there are many."""
        kept = (held for held in self.index.passages if held.id not in self.given)
        lines = [len(passage_line(one).encode()) for one in (*self.given.values(), *kept)]
        vectors = _FLOAT * model.dimension * len(lines)
        many = len(self.pending) >= _WORTH_MEASURING
        return EntityEstimate(
            len(self.given),
            len(self.pending),
            _seconds_each(model, self.pending) * len(self.pending) if many else None,
            vectors + sum(lines),
            vectors + sum(lines) + _OBJECTS * len(lines),
        )


def _seconds_each(model: Embedder, pending: Sequence[Passage]) -> float:
    """From groups of similar length, as the entities are embedded: short ones to long ones."""
    embedder, ordered = FirstFragments(model), sorted(pending, key=_length)
    starts = [len(ordered) * (2 * n + 1) // (2 * _GROUPS) for n in range(_GROUPS)]
    embedder.embed_passages(ordered[:2])  # The first call prepares what later ones find ready.
    begun = time.perf_counter()
    for start in starts:
        embedder.embed_passages(ordered[start : start + _GROUP])
    return (time.perf_counter() - begun) / (_GROUPS * _GROUP)


def _blocks_by_length(passages: Sequence[Passage]) -> list[Passage]:
    """Sorted in blocks, so that an early stop leaves no more long ones than short ones."""
    blocks: Iterable[Sequence[Passage]] = (
        passages[start : start + _BLOCK] for start in range(0, len(passages), _BLOCK)
    )
    return [passage for block in blocks for passage in sorted(block, key=_length)]


def _put_in_order(index: PassageIndex, folder: Path, given: Mapping[str, Passage]) -> None:
    """The order of the records, which were embedded in another, also where a stopped run was."""
    if [one.id for one in index.passages if one.id in given] != list(given):
        index.move_to_end(given)
        index.save(folder)


def _length(passage: Passage) -> int:
    return len(passage.title) + len(passage.text)
