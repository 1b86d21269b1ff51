"""Both sides of `benchmarks.frameworks` in LlamaIndex, over Chroma in memory."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import chromadb
from llama_index.core import PromptTemplate, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import TextNode
from llama_index.llms.huggingface import HuggingFaceLLM
from llama_index.vector_stores.chroma import ChromaVectorStore

from benchmarks.frameworks_setup import CLASSIC, OURS, Setup, embedded_text
from benchmarks.two_models import MiniLM
from onegen_integrations.llama_index import OneGenEmbedding, OneGenLLM, OneGenQueryEngine
from onegen_model import Passage
from onegen_model.evaluation.ask.zero_shot import PROMPT


class MiniLMEmbedding(BaseEmbedding):
    """MiniLM with a count of its positions."""

    _encoder: MiniLM = PrivateAttr(default_factory=lambda: MiniLM())

    @property
    def encoder(self) -> MiniLM:
        return self._encoder

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._encoder.embed(texts).tolist()
        return rows

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def _fill(passages: Sequence[Passage], embed_model: Any) -> tuple[VectorStoreIndex, float]:
    """The index, and the seconds that filling took."""
    name = f"benchmark-{uuid.uuid4().hex}"
    collection = chromadb.EphemeralClient().create_collection(
        name, configuration={"hnsw": {"space": "cosine"}}
    )
    storage = StorageContext.from_defaults(vector_store=ChromaVectorStore(collection))
    nodes = [TextNode(id_=one.id, text=embedded_text(one)) for one in passages]
    start = time.perf_counter()
    index = VectorStoreIndex(nodes, storage_context=storage, embed_model=embed_model)
    return index, time.perf_counter() - start


class ClassicLlamaIndex:
    """`index.as_query_engine` with `HuggingFaceLLM`."""

    def __init__(self, setup: Setup) -> None:
        embedding = MiniLMEmbedding()
        self._encoder = embedding.encoder
        index, self.indexing_seconds = _fill(setup.passages, embedding)
        llm = HuggingFaceLLM(
            model_name=str(setup.base),
            tokenizer_name=str(setup.base),
            device_map="cpu",
            max_new_tokens=setup.max_new_tokens,
            generate_kwargs={"do_sample": False},
            is_chat_model=True,
        )
        self.network = llm._model
        template = PROMPT.format(context="{context_str}", question="{query_str}")
        self._engine = index.as_query_engine(
            llm=llm,
            similarity_top_k=setup.top_k,
            text_qa_template=PromptTemplate(template),
            streaming=True,
        )

    def answer(self, question: str) -> Iterator[tuple[str, bool]]:
        for text in self._engine.query(question).response_gen:
            if text:
                yield text, True

    def encoder_positions(self) -> int:
        return self._encoder.positions


class OneGenLlamaIndex:
    """One query engine whose model searches the index itself; it streams the answer alone."""

    def __init__(self, setup: Setup) -> None:
        index, self.indexing_seconds = _fill(setup.passages, OneGenEmbedding(model=setup.model))
        llm = OneGenLLM(model=setup.model, max_tokens=setup.max_new_tokens)
        self._engine = OneGenQueryEngine.from_index(
            index, llm=llm, similarity_top_k=setup.top_k, streaming=True
        )
        model = llm.shared.model
        assert model.driver  # A new engine reads a few ids, which must not be counted.
        self.network = model.network

    def answer(self, question: str) -> Iterator[tuple[str, bool]]:
        for text in self._engine.query(question).response_gen:
            yield text, True

    def encoder_positions(self) -> int:
        return 0


PIPELINES = {CLASSIC: ClassicLlamaIndex, OURS: OneGenLlamaIndex}
