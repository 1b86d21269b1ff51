"""The retrievers of one evaluation, opened when they are first needed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.harness import ShouldStop, never
from onegen_model.evaluation.ask.retrievers import Bm25Retriever, EncoderRetriever
from onegen_model.evaluation.ask.sentence_encoder import SentenceEncoder
from onegen_model.evaluation.ask.settings import RetrieverName
from onegen_model.events import Passage
from onegen_model.indexing.job import IndexingJob
from onegen_model.indexing.options import IndexingOptions
from onegen_model.indexing.reading import Reading
from onegen_model.model import OneGenModel
from onegen_model.retrieval.embedding import Embedder
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.protocol import Retriever

# Enough passages to sort by length, and few enough for a quick stop.
_INDEX_BATCH = 128


@dataclass(slots=True)
class RetrieverSet:
    """Retrievers by name over the same passages."""

    model: OneGenModel
    passages: Sequence[Passage]
    index_path: Path
    encoder_folder: Path | None
    _opened: dict[RetrieverName, Retriever] = field(default_factory=dict)

    def get(self, name: RetrieverName) -> Retriever:
        """The retriever; embeds the passages first if that has not been done."""
        self.prepare(name)
        return self._opened[name]

    def prepare(self, name: RetrieverName, should_stop: ShouldStop = never) -> bool:
        """Open a retriever; False if it was stopped, with what has been embedded saved."""
        if name not in self._opened:
            retriever = self._build(name, should_stop)
            if retriever is None:
                return False
            self._opened[name] = retriever
        return True

    def _build(self, name: RetrieverName, should_stop: ShouldStop) -> Retriever | None:
        if name == "bm25":
            return Bm25Retriever(self.passages)
        if name == "own":
            return complete_index(self.model, self.passages, self.index_path, should_stop)
        encoder = SentenceEncoder(str(self.model.network.device), self.encoder_folder)
        path = self.index_path.with_name(f"{self.index_path.name}-{encoder.fingerprint[:8]}")
        index = complete_index(encoder, self.passages, path, should_stop)
        return None if index is None else EncoderRetriever(encoder, index)


def complete_index(
    embedder: Embedder,
    passages: Sequence[Passage],
    path: Path,
    should_stop: ShouldStop = never,
) -> PassageIndex | None:
    """The index of exactly these passages at `path`; missing passages are embedded and saved.

    None if it was stopped. Raises InvalidInputError if the index holds other passages.
    """
    index = PassageIndex.load(embedder, path) if path.exists() else PassageIndex(embedder)
    wanted = {passage.id: (passage.title, passage.text) for passage in passages}
    found = {passage.id: (passage.title, passage.text) for passage in index.passages}
    if others := found.keys() - wanted.keys():
        raise InvalidInputError(
            f"{path} holds {len(others)} passages that the pool does not; expected those of the "
            "pool; choose another index or pool"
        )
    if found == wanted:
        index.add(passages)  # embeds nothing, and updates the paragraph of each passage
        return index
    path.parent.mkdir(parents=True, exist_ok=True)
    job = IndexingJob(index, path, IndexingOptions(batch=_INDEX_BATCH), should_stop)
    return index if job.grow(Reading(path.parent, list(passages)), progress=None).is_whole else None
