"""What is retrieved during one turn: asked by the core, seen as runs by LangChain."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from pydantic import Field

from onegen_integrations.langchain.blocks import RETRIEVE
from onegen_integrations.langchain.embeddings import to_passage
from onegen_integrations.langchain.tracing import Run
from onegen_integrations.langchain.vectorstores import Hit, Search
from onegen_model import Event, PassagesInserted, Query, ScoredPassage


class _SearchRun(BaseRetriever):
    """One search as a run of its own; `hits` keep the scores, which documents have no place for."""

    search: Any
    asked: Any
    hits: list[Any] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.hits = self.search.search(self.asked, {"callbacks": run_manager.get_child()})
        return [document for document, _ in self.hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        config: RunnableConfig = {"callbacks": run_manager.get_child()}
        self.hits = await self.search.asearch(self.asked, config)
        return [document for document, _ in self.hits]


@dataclass(slots=True)
class TurnRetriever:
    """Both retrievers of the core, for one request. `errors` has a text for each hop so far."""

    search: Search
    run: Run | None = None
    skips_errors: bool = False
    errors: list[str] = field(default_factory=list)

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        return [self._retrieve(query) for query in queries]

    async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        return [await self._aretrieve(query) for query in queries]

    def _retrieve(self, query: Query) -> list[ScoredPassage]:
        asked = _SearchRun(search=self.search, asked=query)
        try:
            asked.invoke(query.text, self._config(asynchronous=False))
        except Exception as error:
            return self._fail(error)
        return self._accept(asked.hits)

    async def _aretrieve(self, query: Query) -> list[ScoredPassage]:
        asked = _SearchRun(search=self.search, asked=query)
        try:
            await asked.ainvoke(query.text, self._config(asynchronous=True))
        except Exception as error:
            return self._fail(error)
        return self._accept(asked.hits)

    def error_of(self, event: Event) -> str:
        """Why nothing was found, where `event` tells that passages were inserted."""
        return self.errors[event.hop] if isinstance(event, PassagesInserted) else ""

    def _config(self, *, asynchronous: bool) -> RunnableConfig:
        if self.run is None:
            return {"run_name": RETRIEVE}
        callbacks = self.run.achild() if asynchronous else self.run.child()
        return {"run_name": RETRIEVE, "callbacks": callbacks}

    def _accept(self, hits: Sequence[Hit]) -> list[ScoredPassage]:
        # A score that is not known is 0: among equals the core keeps the order.
        self.errors.append("")
        return [ScoredPassage(to_passage(document), score or 0.0) for document, score in hits]

    def _fail(self, error: Exception) -> list[ScoredPassage]:
        if not self.skips_errors:
            raise error
        self.errors.append(f"{type(error).__name__}: {error}")
        return []
