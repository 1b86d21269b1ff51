"""Retrieval of candidates for negatives: BM25, or the embeddings of a model."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from onegen_model.batches import BATCH_TOKENS, batches_by_length
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.collator import (
    Collator,
    CollatorSettings,
    TooLongError,
    content_key,
)
from onegen_model.finetune.data.examples import TrainingExample
from onegen_model.network import normalise, pad_rows, read_hidden
from onegen_model.retrieval.bm25 import Bm25
from onegen_model.retrieval.corpus import EmbeddedCorpus
from onegen_model.retrieval.corpus_building import CorpusOptions, build_corpus
from onegen_model.retrieval.embedder import embed_ids
from onegen_model.transcript.renderer import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Vector = NDArray[np.float32]

# Passages of one shard of vectors, about: a killed run embeds no more than twice as many again.
_SHARD = 128
# Scores in one block: 128 MB.
_SCORES = 2**25


@dataclass(frozen=True, slots=True)
class MiningQuery:
    """The query of the `hop`-th query token of an example; `text` is for a text retriever."""

    example: TrainingExample
    hop: int
    text: str


class MiningCorpus:
    """The passages to search, each content once; `named` are those with an id."""

    def __init__(self, named: Mapping[str, Passage], inline: Iterable[Passage] = ()) -> None:
        self.named = named
        by_key: dict[int, Passage] = {}
        for passage in itertools.chain(named.values(), inline):
            by_key.setdefault(content_key(passage), passage)
        self.passages = list(by_key.values())
        self._row = {key: row for row, key in enumerate(by_key)}

    def row(self, passage: Passage) -> int:
        """The index in `passages` of the passage with this content."""
        return self._row[content_key(passage)]

    def content_sha256(self) -> str:
        """The SHA-256 of contents and ids."""
        parts = (f"{content_key(p)} {p.id}\n" for p in self.passages)
        return hashlib.sha256("".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def __len__(self) -> int:
        return len(self.passages)


class CandidateRetriever(Protocol):
    """A source of scores for all passages of a corpus; scores above `floor` count as found.

    Retrievers of equal `name` give equal scores.
    """

    corpus: MiningCorpus
    name: str
    floor: float

    def score(self, queries: Sequence[MiningQuery]) -> Iterator[Vector | None]:
        """Scores (passages,) for each query; None where its example is too long for the model."""
        ...


class Bm25CandidateRetriever:
    """BM25 scores of a query's text."""

    name = "bm25"
    floor = 0.0

    def __init__(self, corpus: MiningCorpus) -> None:
        self.corpus = corpus
        self._bm25 = Bm25(corpus.passages)

    def score(self, queries: Sequence[MiningQuery]) -> Iterator[Vector]:
        return (self._bm25.score(query.text) for query in queries)


class EmbeddingModel(Protocol):
    """The part of a OneGenModel that embeds."""

    network: "PreTrainedModel"
    renderer: Renderer
    fingerprint: str


class ModelCandidateRetriever:
    """Cosines of query embeddings, read in the whole transcripts, and passage embeddings.

    The vectors of the corpus are embedded when they are first needed, and kept below `folder`, in
    an embedded corpus for each model and corpus.
    """

    floor = -np.inf

    def __init__(self, model: EmbeddingModel, corpus: MiningCorpus, folder: Path) -> None:
        self.corpus = corpus
        self.name = f"{model.fingerprint} in {str(model.network.dtype).removeprefix('torch.')}"
        self._model = model
        self._folder = folder
        config = model.network.config.get_text_config()
        longest = getattr(config, "max_position_embeddings", None) or 2**31
        settings = CollatorSettings(max_length=longest)
        self._collator = Collator(model.renderer, corpus.named, settings)

    @cached_property
    def _vectors(self) -> Vector:
        named = MiningCorpus(self.corpus.named) if self.corpus.named else self.corpus
        key = hashlib.sha256(f"{self.name} {named.content_sha256()}".encode()).hexdigest()
        folder = self._folder / f"{key[:16]}.corpus"
        options = CorpusOptions(shard_size=_SHARD, dtype=self.name.rpartition(" ")[2])
        embedder = _PassageEmbedder(self._model)
        build_corpus(embedder, self.corpus.passages, folder, options=options, progress=None)
        found, rows = [], []
        for some, vectors in EmbeddedCorpus.open(folder).batches():
            found += some
            rows.append(vectors)
        # Another run may have replaced them by those of its own inline passages.
        if list(map(content_key, found)) != list(map(content_key, self.corpus.passages)):
            raise InvalidInputError(
                f"{folder} was changed by another run meanwhile; expected the vectors of this "
                "corpus; run one at a time, or choose another folder for each"
            )
        return np.concatenate(rows)

    def score(self, queries: Sequence[MiningQuery]) -> Iterator[Vector | None]:
        # Before the first query, because it takes longest and has a progress bar of its own.
        vectors = self._vectors
        embedded = self._embed(queries)
        rows = max(1, _SCORES // len(vectors))
        for start in range(0, len(queries), rows):
            some = embedded[start : start + rows]
            readable = [one for one in some if one is not None]
            scores = iter(np.stack(readable) @ vectors.T if readable else [])
            yield from (None if one is None else next(scores) for one in some)

    def _embed(self, queries: Sequence[MiningQuery]) -> list[Vector | None]:
        """Query embeddings; each example is read once, up to its last query."""
        found: list[Vector | None] = [None] * len(queries)
        rows: list[_Row] = []
        numbers = range(len(queries))
        for _, group in itertools.groupby(numbers, key=lambda n: id(queries[n].example)):
            members = list(group)
            try:
                rendered = self._collator.render(queries[members[0]].example)
            except TooLongError:
                continue
            columns = [rendered.query_positions[queries[n].hop] for n in members]
            rows.append(_Row(rendered.ids[: max(columns) + 1], columns, members))
        for numbered in batches_by_length([len(row.ids) for row in rows], BATCH_TOKENS):
            batch = [rows[at] for at in numbered]
            members = [member for row in batch for member in row.members]
            for member, vector in zip(members, _read(self._model.network, batch), strict=True):
                found[member] = vector
        return found


@dataclass(frozen=True, slots=True)
class _Row:
    """A transcript, the columns of its query tokens, and the indices of their queries."""

    ids: Sequence[int]
    columns: Sequence[int]
    members: Sequence[int]


@torch.inference_mode()
def _read(network: "PreTrainedModel", batch: Sequence[_Row]) -> Vector:
    """Query embeddings (queries, width), row by row."""
    padded = pad_rows([row.ids for row in batch], pad_id=0)
    inputs = {name: rows.to(network.device) for name, rows in padded.items()}
    pairs = [(at, column) for at, row in enumerate(batch) for column in row.columns]
    rows, columns = torch.tensor(pairs, device=network.device).T
    hidden = read_hidden(network, inputs["input_ids"], inputs["attention_mask"], (rows, columns))
    embedded: Vector = normalise(hidden).cpu().numpy()
    return embedded


@dataclass(frozen=True, slots=True)
class _PassageEmbedder:
    """Embeds passages without an engine."""

    model: EmbeddingModel

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def dimension(self) -> int:
        return int(self.model.network.config.get_text_config().hidden_size)

    @property
    def max_passage_tokens(self) -> int:
        return self.model.renderer.max_passage_tokens

    def embed_passages(self, passages: Sequence[Passage], *, progress: bool = False) -> Vector:
        ids = [self.model.renderer.embed_ids(passage) for passage in passages]
        names = [f"passage {passage.id!r}" for passage in passages]
        return embed_ids(self.model.network, ids, names=names, progress=progress)
