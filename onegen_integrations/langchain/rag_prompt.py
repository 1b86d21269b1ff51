"""The prompt with which a chat model continues where OneGenRetriever stopped."""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import RunnableLambda

from onegen_integrations.langchain.citations import Block
from onegen_model.errors import InvalidInputError

RUN = "onegen_run"
_MAX_RUNS = 1024


@dataclass(frozen=True, slots=True)
class RetrievalRun:
    """The written and retrieved blocks of a question, and the ids of each span."""

    question: str
    blocks: Sequence[Block]
    written: Sequence[Sequence[int]]

    @property
    def passages(self) -> list[tuple[str, str]]:
        """Id and content of each passage, sorted."""
        return sorted(
            (passage["id"], passage["page_content"])
            for block in self.blocks
            if block["type"] == "server_tool_result" and block["status"] == "success"
            for passage in block["output"]
        )


class _Runs:
    """The last runs of this process by the handle that their documents carry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, RetrievalRun] = OrderedDict()

    def keep(self, run: RetrievalRun) -> str:
        handle = uuid.uuid4().hex
        with self._lock:
            self._runs[handle] = run
            if len(self._runs) > _MAX_RUNS:
                self._runs.popitem(last=False)
        return handle

    def get(self, handle: object) -> RetrievalRun | None:
        return self._runs.get(handle) if isinstance(handle, str) else None


_runs = _Runs()
keep_run = _runs.keep


class _RagPromptValue(ChatPromptValue):
    """Messages; `text` has passages and question for models without messages."""

    text: str

    def to_string(self) -> str:
        return self.text


class _RagPrompt(RunnableLambda[Mapping[str, Any], ChatPromptValue]):
    """Has the attributes of a prompt that LangChain's constructors of chains need."""

    @property
    def input_variables(self) -> list[str]:
        return ["context", "question"]


def _to_messages(given: Mapping[str, Any]) -> ChatPromptValue:
    question, context = _question(given), given.get("context") or []
    text = context if isinstance(context, str) else "\n\n".join(map(_page, context))
    asked = f"{text}\n\n{question}" if text else question
    if run := _find_run(question, context):
        unfinished = AIMessage(
            content=[dict(block) for block in run.blocks],
            response_metadata={"onegen": {"written": [list(ids) for ids in run.written]}},
        )
        return _RagPromptValue(messages=[HumanMessage(question), unfinished], text=asked)
    return _RagPromptValue(messages=[HumanMessage(asked)], text=asked)


def _question(given: Mapping[str, Any]) -> str:
    for name in ("question", "input"):  # `create_retrieval_chain` calls it "input".
        if name in given:
            return str(given[name])
    raise InvalidInputError(
        f"The prompt got {sorted(given)}; expected 'question' (or 'input') and 'context'; add the "
        "question"
    )


def _find_run(question: str, context: Any) -> RetrievalRun | None:
    """The run whose documents are exactly `context`, if there is one."""
    if isinstance(context, str) or not all(isinstance(one, Document) for one in context):
        return None
    handles = {one.metadata.get(RUN) for one in context}
    run = _runs.get(handles.pop()) if len(handles) == 1 else None
    if run is None or run.question != question:
        return None
    same = run.passages == sorted((str(one.id), one.page_content) for one in context)
    return run if same else None


def _page(document: Any) -> str:
    return document.page_content if isinstance(document, Document) else str(document)


onegen_rag_prompt: RunnableLambda[Mapping[str, Any], ChatPromptValue] = _RagPrompt(
    _to_messages, name="onegen_rag_prompt"
)
"""`{"context": documents, "question": text}` to the question and an unfinished answer.

Documents of `OneGenRetriever`, in any order, are not read again: the chat model continues the run
that found them, which this process remembers by the handle in their metadata. Other documents, or
their text, are put in front of the question.
"""
