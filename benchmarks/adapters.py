"""Answers and passages through LangChain and LlamaIndex, compared with those of the core.

    python -m benchmarks.adapters [--data DIR] [--limit 60]

Each way asks all questions at once over the same vectors: `model.generate` over a PassageIndex,
a LangChain chat model and a LlamaIndex query engine over Chroma and over FAISS.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import chromadb
import faiss
from langchain_chroma import Chroma
from langchain_community.vectorstores import FAISS
from langchain_community.vectorstores.utils import DistanceStrategy
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_index.vector_stores.faiss import FaissVectorStore

from benchmarks import report
from benchmarks.data import add_options, add_run_options, load, open_index, own_candidates
from benchmarks.recording import counting, fresh
from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings
from onegen_integrations.llama_index import OneGenEmbedding, OneGenLLM, OneGenQueryEngine
from onegen_integrations.shared import SharedModel
from onegen_model import OneGenModel, Passage, PassageIndex, RetrievalParams, SamplingParams

K = RetrievalParams().top_k


@dataclass(frozen=True, slots=True)
class SourcedAnswer:
    """The answer of one way to one question, and passage ids in order of insertion."""

    text: str
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmbeddedPassages:
    """Passages with their unit vectors, so that no way embeds them again."""

    passages: tuple[Passage, ...]
    vectors: list[list[float]]

    @classmethod
    def of(cls, index: PassageIndex) -> "EmbeddedPassages":
        rows = [row for _, vectors in index.batches() for row in vectors.tolist()]
        return cls(index.passages, rows)

    @property
    def texts(self) -> list[str]:
        return [f"{one.title}\n{one.text}" if one.title else one.text for one in self.passages]

    @property
    def ids(self) -> list[str]:
        return [passage.id for passage in self.passages]


Way = Callable[[Sequence[str]], Awaitable[list[SourcedAnswer]]]


def core(model: OneGenModel, index: PassageIndex, longest: int) -> Way:
    async def ask(questions: Sequence[str]) -> list[SourcedAnswer]:
        sampling = SamplingParams(max_new_tokens=longest)
        answers = await model.agenerate(questions, retriever=index, sampling=sampling)
        return [
            SourcedAnswer(
                one.text, tuple(p.passage.id for hop in one.retrievals for p in hop.passages)
            )
            for one in answers
        ]

    return ask


def langchain(model: SharedModel, store: Any, longest: int) -> Way:
    chat = OneGenChatModel(model=model, vectorstore=store, k=K, max_tokens=longest)

    async def ask(questions: Sequence[str]) -> list[SourcedAnswer]:
        messages = await chat.abatch(list(questions))
        return [
            SourcedAnswer(
                str(message.text),
                tuple(
                    found["id"]
                    for block in message.content
                    if block["type"] == "server_tool_result"
                    for found in block["output"]
                ),
            )
            for message in messages
        ]

    return ask


def llama_index(model: SharedModel, corpus: EmbeddedPassages, store: Any, longest: int) -> Way:
    nodes = [
        TextNode(id_=i, text=text, embedding=vector)
        for i, text, vector in zip(corpus.ids, corpus.texts, corpus.vectors, strict=True)
    ]
    index = VectorStoreIndex(
        nodes,
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=OneGenEmbedding(model=model),
    )
    llm = OneGenLLM(model=model, max_tokens=longest)
    engine = OneGenQueryEngine.from_index(index, llm, similarity_top_k=K)

    async def ask(questions: Sequence[str]) -> list[SourcedAnswer]:
        responses = await asyncio.gather(*(engine.aquery(question) for question in questions))
        return [
            SourcedAnswer(
                one.response or "", tuple(found.node.node_id for found in one.source_nodes)
            )
            for one in responses
        ]

    return ask


def chroma_for_langchain(corpus: EmbeddedPassages, embeddings: OneGenEmbeddings) -> Chroma:
    name, client = "adapters-langchain", chromadb.EphemeralClient()
    collection = client.create_collection(name)
    collection.add(ids=corpus.ids, embeddings=corpus.vectors, documents=corpus.texts)
    return Chroma(name, embeddings, client=client)


def faiss_for_langchain(corpus: EmbeddedPassages, embeddings: OneGenEmbeddings) -> FAISS:
    return FAISS.from_embeddings(
        zip(corpus.texts, corpus.vectors, strict=True),
        embeddings,
        ids=corpus.ids,
        distance_strategy=DistanceStrategy.MAX_INNER_PRODUCT,
    )


def open_ways(model: OneGenModel, index: PassageIndex, longest: int) -> dict[str, Way]:
    """All ways by name, each with a new engine."""
    corpus = EmbeddedPassages.of(index)
    embeddings = OneGenEmbeddings(model=SharedModel(model))
    collection = chromadb.EphemeralClient().create_collection("adapters-llama-index")
    for_langchain = {
        "Chroma": chroma_for_langchain(corpus, embeddings),
        "FAISS": faiss_for_langchain(corpus, embeddings),
    }
    for_llama_index = {
        "Chroma": ChromaVectorStore(chroma_collection=collection),
        "FAISS": FaissVectorStore(faiss.IndexFlatIP(model.dimension)),
    }
    ways = {"core, PassageIndex": core(fresh(model), index, longest)}
    for name, store in for_langchain.items():
        ways[f"LangChain, {name}"] = langchain(SharedModel(fresh(model)), store, longest)
    for name, store in for_llama_index.items():
        own = SharedModel(fresh(model))
        ways[f"LlamaIndex, {name}"] = llama_index(own, corpus, store, longest)
    return ways


def compare(
    model: OneGenModel, ways: dict[str, Way], questions: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each way, compared with the first one, the core."""
    rows: list[dict[str, Any]] = []
    reference: list[SourcedAnswer] = []
    for name, ask in ways.items():
        with counting(model.network) as counter:
            answers = asyncio.run(ask(questions))
        reference = reference or answers
        pairs = list(zip(answers, reference, strict=True))
        rows.append(
            {
                "way": name,
                "answers": sum(one.text == other.text for one, other in pairs),
                "passages": sum(one.passages == other.passages for one, other in pairs),
                "positions": counter.real,
                "partings": [
                    question
                    for question, (one, other) in zip(questions, pairs, strict=True)
                    if one != other
                ],
            }
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapters", description=__doc__)
    add_options(parser)
    add_run_options(parser)
    options = parser.parse_args(argv)
    model = OneGenModel.from_pretrained(options.model)
    data = own_candidates(load(options.data, limit=options.limit, paragraphs=options.paragraphs))
    index = open_index(model, data)
    questions = [question.text for question in data.questions]
    rows = compare(model, open_ways(model, index, options.max_new_tokens), questions)
    heads = ("way", "same answers", "same passages, in order", "positions read")
    cells = [
        (
            row["way"],
            f"{row['answers']}/{len(questions)}",
            f"{row['passages']}/{len(questions)}",
            str(row["positions"]),
        )
        for row in rows
    ]
    print(f"\n### Adapters ({len(questions)} questions, {len(index)} passages)\n")
    print(report.markdown(heads, cells))
    for row in rows:
        print(
            "".join(f"\n- {row['way']} parts: {question}" for question in row["partings"]), end=""
        )
    ids = {question.text: question.id for question in data.questions}
    named = [{**row, "partings": [ids[one] for one in row["partings"]]} for row in rows]
    measured = {"questions": len(questions), "passages": len(index), "rows": named}
    print(f"\nWritten to {report.save('adapters', model, options, measured)}")
    # Rounding depends on the batch: as in `benchmarks.invariants`, under 1 % may differ.
    return 0 if all(len(row["partings"]) <= max(1, len(questions) // 100) for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
