"""Multi-hop retrieval, and the prompt that lets a chat model go on where it stopped."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from onegen_integrations.langchain.blocks import MessageStream, add_chunks
from onegen_integrations.langchain.calls import require_known
from onegen_integrations.langchain.embeddings import to_document
from onegen_integrations.langchain.fields import (
    CONFIG,
    NamedModelFields,
    RetrievalFields,
    option_names,
)
from onegen_integrations.langchain.tracing import Run
from onegen_integrations.langchain.turns import TurnRetriever
from onegen_model import Answer, Event, Options, PassagesInserted, SamplingParams
from onegen_model.errors import InvalidInputError


class OneGenRetriever(NamedModelFields, RetrievalFields, BaseRetriever):
    """Every passage that the model looks up for a question, over as many hops as it takes.

    The model writes up to its answer and stops. `metadata["onegen"]` of each document holds the
    hop, its query, the ids of its span, the score, and the run: what `onegen_rag_prompt` needs to
    let a chat model answer without reading any of it again. All of it is JSON-able.
    """

    model_config = CONFIG

    max_tokens: int = 256

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **called: Any
    ) -> list[Document]:
        retriever, options = self._options(Run(run_manager.run_id, run_manager), called)
        with closing(self.shared.model.stream(query, **options)) as stream:
            events = list(stream)
        return self._documents(query, events, stream.answer, retriever)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **called: Any
    ) -> list[Document]:
        run = Run(run_manager.run_id, run_manager)
        # Loading the model would hold up the event loop.
        retriever, options = await asyncio.to_thread(self._options, run, called)
        async with aclosing(self.shared.model.astream(query, **options)) as stream:
            events = [event async for event in stream]
        return self._documents(query, events, stream.answer, retriever)

    def _options(self, run: Run, called: Mapping[str, Any]) -> tuple[TurnRetriever, Options]:
        require_known(called, option_names())
        search = self.search(self.shared, called)
        if search is None:
            raise InvalidInputError(
                "OneGenRetriever has nothing to search; expected a vectorstore or a retriever, and "
                'a retrieval other than "never"; pass one'
            )
        retriever = TurnRetriever(search, run, self.skips_errors(called))
        sampling = SamplingParams(
            max_new_tokens=self.max_tokens, stop=(self.shared.model.template.answer_start,)
        )
        retrieval = self.retrieval_params(search, called)
        return retriever, {"retriever": retriever, "sampling": sampling, "retrieval": retrieval}

    def _documents(
        self, question: str, events: Sequence[Event], answer: Answer, retriever: TurnRetriever
    ) -> list[Document]:
        told = MessageStream(self.shared.model.template, plain=False)
        chunks = [
            chunk for event in events for chunk in told.feed(event, error=retriever.error_of(event))
        ]
        blocks = [*add_chunks(chunks).content, {"type": "text", "text": ""}]
        run: dict[str, Any] = {
            "question": question,
            "blocks": blocks,
            "written": [list(ids) for ids in answer.written],
            "usage": {"forwarded": answer.usage.forwarded, "reused": answer.usage.reused},
        }
        documents = []
        for event in events:
            if isinstance(event, PassagesInserted):
                about = {
                    "hop": event.hop,
                    "query": answer.retrievals[event.hop].query,
                    "span": run["written"][event.hop],
                    "run": run,
                }
                for found in event.passages:
                    document = to_document(found.passage)
                    document.metadata["onegen"] = {**about, "score": found.score}
                    documents.append(document)
        return documents


class _RagPrompt(ChatPromptValue):
    """Messages, and for models that know none the passages and the question as `text`."""

    text: str

    def to_string(self) -> str:
        return self.text


def _to_messages(given: Mapping[str, Any]) -> ChatPromptValue:
    """`{"context": …, "question": …}` to messages; the context may have been reworked."""
    question, context = str(given["question"]), given.get("context") or []
    text = context if isinstance(context, str) else "\n\n".join(map(_page, context))
    asked = f"{text}\n\n{question}" if text else question
    if run := _find_run(question, context):
        partial = AIMessage(
            content=run["blocks"],
            response_metadata={"onegen": {"written": run["written"]}},
        )
        return _RagPrompt(messages=[HumanMessage(question), partial], text=asked)
    return _RagPrompt(messages=[HumanMessage(asked)], text=asked)


def _find_run(question: str, context: Any) -> dict[str, Any] | None:
    """The run that found all of `context`, if it holds what that run found and nothing else."""
    if isinstance(context, str) or not all(isinstance(one, Document) for one in context):
        return None
    runs = [one.metadata.get("onegen", {}).get("run") for one in context]
    if not runs or not runs[0] or any(run != runs[0] for run in runs):
        return None
    run: dict[str, Any] = runs[0]
    found = [
        (passage["id"], passage["page_content"])
        for block in run["blocks"]
        if block["type"] == "server_tool_result" and block["status"] == "success"
        for passage in block["output"]
    ]
    same = sorted(found) == sorted((str(one.id), one.page_content) for one in context)
    return run if same and run["question"] == question else None


def _page(document: Any) -> str:
    return document.page_content if isinstance(document, Document) else str(document)


onegen_rag_prompt: RunnableLambda[Mapping[str, Any], ChatPromptValue] = RunnableLambda(
    _to_messages, name="onegen_rag_prompt"
)
"""`{"context": documents, "question": text}` to the question and the answer begun.

Documents of `OneGenRetriever`, in whatever order, are not read again: the chat model goes on from
the run that found them. Other documents, or a text that was made of them, stand in front of the
question.
"""
