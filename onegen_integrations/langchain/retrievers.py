"""Multi-hop retrieval as a retriever of LangChain."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from onegen_integrations.langchain.blocks import MessageStream, add_chunks
from onegen_integrations.langchain.calls import read_options
from onegen_integrations.langchain.embeddings import to_document
from onegen_integrations.langchain.fields import (
    CONFIG,
    NamedModelFields,
    RetrievalFields,
    option_names,
)
from onegen_integrations.langchain.rag_prompt import RUN, RetrievalRun, keep_run
from onegen_integrations.langchain.tracing import Run
from onegen_integrations.langchain.turns import Lookup
from onegen_model import Answer, Event, Options, PassagesInserted, SamplingParams
from onegen_model.errors import InvalidInputError


class OneGenRetriever(NamedModelFields, RetrievalFields, BaseRetriever):
    """Finds every passage that the model retrieves for a question, over as many hops as it takes.

    The model writes up to its answer and stops. The metadata of a document is that of its source,
    with `onegen_hop`, `onegen_query`, `onegen_score` and `onegen_run`, the handle by which
    `onegen_rag_prompt` lets a chat model answer without reading any of it again.
    """

    model_config = CONFIG

    max_tokens: int = 256

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **called: Any
    ) -> list[Document]:
        lookup, options = self._options(Run(run_manager.run_id, run_manager), called)
        with self.shared.model.stream(query, **options) as stream:
            events = list(stream)
        return self._documents(query, events, stream.answer, lookup)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **called: Any
    ) -> list[Document]:
        run = Run(run_manager.run_id, run_manager)
        # Loading the model would block the event loop.
        lookup, options = await asyncio.to_thread(self._options, run, called)
        async with self.shared.model.astream(query, **options) as stream:
            events = [event async for event in stream]
        return self._documents(query, events, stream.answer, lookup)

    def _options(self, run: Run, called: Mapping[str, Any]) -> tuple[Lookup, Options]:
        called = read_options(called, {*option_names(RetrievalFields), "max_tokens"})
        lookup, options = self.begin_lookup(self.shared, run, called)
        if lookup is None:
            raise InvalidInputError(
                "OneGenRetriever has nothing to search; expected a vectorstore or a retriever, and "
                'a retrieval other than "never"; pass one'
            )
        sampling = SamplingParams(
            max_new_tokens=called.get("max_tokens", self.max_tokens),
            stop=(self.shared.model.template.answer_start,),
        )
        return lookup, {**options, "sampling": sampling}

    def _documents(
        self, question: str, events: Sequence[Event], answer: Answer, lookup: Lookup
    ) -> list[Document]:
        chunked = MessageStream(self.shared.model.template, plain=False)
        errors = iter(lookup.errors)
        chunks = [
            chunk
            for event in events
            for chunk in chunked.feed(
                event, error=next(errors) if isinstance(event, PassagesInserted) else ""
            )
        ]
        blocks = [*add_chunks(chunks).content, {"type": "text", "text": ""}]
        run = keep_run(RetrievalRun(question, blocks, answer.written))
        documents = []
        for retrieval in answer.retrievals:
            for found in retrieval.passages:
                document = to_document(found.passage)
                document.metadata |= {
                    "onegen_hop": retrieval.hop,
                    "onegen_query": retrieval.query,
                    "onegen_score": found.score,
                    RUN: run,
                }
                documents.append(document)
        return documents
