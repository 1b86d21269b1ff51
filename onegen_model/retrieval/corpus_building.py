"""Embeds passages into a corpus on disk, once, by one process or by several."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from onegen_model.batches import BATCH_TOKENS, batches_by_length
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.progress import ShouldStop, is_hidden
from onegen_model.retrieval.checks import by_id, require_text, unit_rows
from onegen_model.retrieval.corpus_writer import (
    begin,
    finish,
    require_made,
    require_same_corpus,
    withdraw_broken,
)
from onegen_model.retrieval.embedding import Embedder
from onegen_model.retrieval.manifest import (
    DEFAULT_SHARD_SIZE,
    STORED_DTYPES,
    EmbeddingSpec,
    Manifest,
    damaged,
    read_manifest,
)
from onegen_model.retrieval.shards import (
    Shard,
    cut,
    find_missing,
    find_present,
    write_passages,
    write_vectors,
)

# Characters of one step for each position of a forward: enough for several full forwards, and few
# enough for a quick stop after Ctrl-C.
_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Worker:
    """One of `count` processes that divide the shards among them, as `torchrun` starts them."""

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> "Worker":
        """RANK and WORLD_SIZE; the only process where they are not set."""
        given = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if all(map(str.isdecimal, given)):
            worker = cls(*map(int, given))
            if worker.rank < worker.count:
                return worker
        raise InvalidInputError(
            f"RANK={given[0]} and WORLD_SIZE={given[1]} in the environment; expected a number from "
            "0 up to below WORLD_SIZE; start the processes with torchrun, or unset both"
        )

    @property
    def is_first(self) -> bool:
        """Whether this process shows bars and warnings."""
        return self.rank == 0


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """`shard_size` is in passages, about; `stored_as` is the dtype of the vectors on disk, and
    `dtype` that of the model, for the record. `batch` positions make one forward (None: the default
    of the model). `worker` is this process among those that embed the same corpus.
    """

    shard_size: int = DEFAULT_SHARD_SIZE
    stored_as: str = "float32"
    dtype: str = "float32"
    batch: int | None = None
    worker: Worker = Worker()

    def __post_init__(self) -> None:
        for name in ("batch", "shard_size"):
            if (given := getattr(self, name)) is not None and given < 1:
                flag = name.replace("_", "-")
                raise InvalidInputError(f"{name}={given}; expected at least 1; change --{flag}")
        if self.stored_as not in STORED_DTYPES:
            raise InvalidInputError(
                f"stored_as={self.stored_as!r}; expected {' or '.join(STORED_DTYPES)}; "
                "change stored_as"
            )

    def spec(self, model: Embedder) -> EmbeddingSpec:
        """How the vectors of such a corpus are made."""
        return EmbeddingSpec(
            model.fingerprint,
            model.dimension,
            model.max_passage_tokens,
            self.dtype,
            self.stored_as,
            self.shard_size,
        )


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """The state of a corpus after one process has done its part.

    `present` of `shards` are on disk, with `passages`; this process embedded `embedded` passages.
    `has_finished` is true in the one process that reports the whole corpus.
    """

    passages: int
    present: int
    shards: int
    embedded: int
    was_stopped: bool
    has_finished: bool


def build_corpus(
    model: Embedder,
    passages: Iterable[Passage],
    out: str | PathLike[str],
    *,
    options: CorpusOptions | None = None,
    progress: bool | None = False,
    should_stop: ShouldStop | None = None,
) -> CorpusReport:
    """Embed passages into a folder, new or of an earlier version of the same corpus.

    Only missing and changed shards are embedded. `EmbeddedCorpus.open` and `PassageIndex.load`
    read the result. `progress` None: a bar in a terminal only. Raises InvalidInputError for
    passages, and PassageIndexError for a folder, that cannot be used.
    """
    options, folder = options or CorpusOptions(), Path(out)
    given = list(by_id(passages).values())
    require_text(given)
    begin(folder, options.spec(model))
    job = _Job(model, folder, options, should_stop)
    return job.run(cut(given, options.shard_size), progress)


@dataclass(frozen=True, slots=True)
class _Job:
    """One process that embeds its shards of a corpus."""

    model: Embedder
    out: Path
    options: CorpusOptions
    should_stop: ShouldStop | None

    def run(self, shards: Sequence[Shard], progress: bool | None) -> CorpusReport:
        require_same_corpus(self.out, shards)
        worker, spec = self.options.worker, self.options.spec(self.model)
        own = shards[worker.rank :: worker.count]
        missing = find_missing(self.out, own)
        withdraw_broken(self.out)
        write_passages(self.out, own)
        was_whole = read_manifest(self.out) == Manifest(spec, find_present(self.out, shards))
        embedded = self._embed(missing, progress)
        present = find_present(self.out, shards)
        has_finished = False
        require_made(self.out, spec)
        if embedded is not None and len(present) == len(shards):
            is_new = finish(self.out, Manifest(spec, present))
            has_finished = is_new or (was_whole and worker.is_first)
        elif embedded is not None and worker.count == 1:
            raise damaged(self.out, "lost shards while it was made")
        return CorpusReport(
            sum(shard.count for shard in present),
            len(present),
            len(shards),
            embedded or 0,
            embedded is None,
            has_finished,
        )

    def _embed(self, shards: Sequence[Shard], progress: bool | None) -> int | None:
        """Write the vectors of shards; returns their number of passages, None if stopped."""
        total, worker = sum(len(shard.passages) for shard in shards), self.options.worker
        bar = tqdm(
            total=total,
            desc="Embedding" if worker.count == 1 else f"Embedding (1 of {worker.count})",
            unit="passage",
            disable=is_hidden(progress),
        )
        with bar:
            for shard in shards:
                vectors = self._embed_shard(shard, bar)
                if vectors is None:
                    return None
                write_vectors(self.out, shard, vectors)
        return total

    def _embed_shard(self, shard: Shard, bar: "tqdm[Never]") -> NDArray[np.floating[Any]] | None:
        """(n, dimension), in the order of the shard, although long ones are embedded together."""
        passages = shard.passages
        vectors = np.empty((len(passages), self.model.dimension), np.float32)
        lengths = [len(passage.title) + len(passage.text) for passage in passages]
        characters = (self.options.batch or BATCH_TOKENS) * _CHARACTERS
        for some in batches_by_length(lengths, characters):
            if self.should_stop and self.should_stop():
                return None
            vectors[some] = self._embed_passages([passages[at] for at in some])
            bar.update(len(some))
        return vectors.astype(self.options.stored_as)

    def _embed_passages(self, passages: Sequence[Passage]) -> NDArray[np.float32]:
        more: dict[str, Any] = {} if self.options.batch is None else {"batch": self.options.batch}
        vectors = self.model.embed_passages(passages, **more)
        if not np.isfinite(vectors).all():
            raise InvalidInputError(
                f"Vectors with NaN or infinite numbers, computed in {self.options.dtype}; expected "
                "unit vectors; use --dtype bfloat16 or float32, with another --out"
            )
        names = [passage.id for passage in passages]
        return unit_rows(vectors, len(passages), self.model.dimension, names)
