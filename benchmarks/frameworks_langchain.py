"""Both sides of `benchmarks.frameworks` in LangChain, over Chroma in memory."""

import time
import uuid
from collections.abc import Iterator, Sequence

from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnablePassthrough
from langchain_huggingface import HuggingFacePipeline

from benchmarks.frameworks_setup import CLASSIC, OURS, Setup, embedded_text
from benchmarks.two_models import MiniLM
from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings
from onegen_model import Passage
from onegen_model.evaluation.ask.zero_shot import PROMPT


class MiniLMEmbeddings(Embeddings):
    """MiniLM with a count of its positions."""

    def __init__(self) -> None:
        self.encoder = MiniLM()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self.encoder.embed(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def _fill(passages: Sequence[Passage], embeddings: Embeddings) -> tuple[Chroma, float]:
    """The store, and the seconds that filling took."""
    space = {"hnsw": {"space": "cosine"}}
    name = f"benchmark-{uuid.uuid4().hex}"
    store = Chroma(name, embeddings, collection_configuration=space)
    start = time.perf_counter()
    store.add_documents([Document(embedded_text(one), id=one.id) for one in passages])
    return store, time.perf_counter() - start


class ClassicLangChain:
    """Retriever, prompt, `HuggingFacePipeline`."""

    def __init__(self, setup: Setup) -> None:
        self._embeddings = MiniLMEmbeddings()
        store, self.indexing_seconds = _fill(setup.passages, self._embeddings)
        llm = HuggingFacePipeline.from_model_id(
            str(setup.base),
            "text-generation",
            pipeline_kwargs={
                "max_new_tokens": setup.max_new_tokens,
                "do_sample": False,
                "return_full_text": False,
            },
        )
        self.network, self._tokenizer = llm.pipeline.model, llm.pipeline.tokenizer
        retriever = store.as_retriever(search_kwargs={"k": setup.top_k})
        sources = {"context": retriever | _join, "question": RunnablePassthrough()}
        self._chain = sources | RunnablePassthrough() | self._prompt | llm

    def _prompt(self, given: dict[str, str]) -> str:
        """The prompt in the model's chat template, which the pipeline does not apply."""
        messages = [{"role": "user", "content": PROMPT.format(**given)}]
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        )

    def answer(self, question: str) -> Iterator[tuple[str, bool]]:
        for text in self._chain.stream(question):
            if text:
                yield text, True

    def encoder_positions(self) -> int:
        return self._embeddings.encoder.positions


def _join(documents: list[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)


class OneGenLangChain:
    """One chat model that searches the store itself."""

    def __init__(self, setup: Setup) -> None:
        embeddings = OneGenEmbeddings(model=setup.model)
        store, self.indexing_seconds = _fill(setup.passages, embeddings)
        self._chat = OneGenChatModel(
            model=setup.model, vectorstore=store, k=setup.top_k, max_tokens=setup.max_new_tokens
        )
        model = self._chat.shared.model
        assert model.driver  # A new engine reads a few ids, which must not be counted.
        self.network = model.network

    def answer(self, question: str) -> Iterator[tuple[str, bool]]:
        for chunk in self._chat.stream(question):
            for block in chunk.content:
                kind = block["type"]
                if kind in ("text", "reasoning") and block[kind]:
                    yield block[kind], kind == "text"

    def encoder_positions(self) -> int:
        return 0


PIPELINES = {CLASSIC: ClassicLangChain, OURS: OneGenLangChain}
