"""Entity linking as a Runnable and as a transformer of documents."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.callbacks.manager import (
    AsyncCallbackManagerForChainRun,
    BaseRunManager,
    CallbackManagerForChainRun,
)
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.tools import BaseTool
from langchain_core.utils import from_env
from langchain_core.vectorstores import VectorStore
from pydantic import BaseModel, Field, model_validator

from onegen_integrations.langchain.calls import read_options
from onegen_integrations.langchain.entity_search import StoreEntities
from onegen_integrations.langchain.entity_tool import tool_of
from onegen_integrations.langchain.fields import CONFIG
from onegen_integrations.langchain.index_store import OneGenVectorStore
from onegen_integrations.langchain.linking_calls import (
    Linkable,
    LinkingCall,
    TextPieces,
    mark,
    one_by_one,
    params_of_texts,
    require_documents,
    text_of,
)
from onegen_integrations.langchain.vectorstores import open_search
from onegen_integrations.shared.linking_fields import LinkingFields
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.stores import require_same_model
from onegen_model import LinkedText, OneGenModel

_Configs: TypeAlias = RunnableConfig | list[RunnableConfig] | None
_LINKING_MODEL = "entity-linking"


class OneGenEntityLinker(
    LinkingFields, RunnableSerializable[Linkable, LinkedText], BaseDocumentTransformer
):
    """Finds the mentions of a text, and the entity that each of them names.

    The text is a string, or that of a document, of a message, or of the value of a PromptTemplate.

    `entities` are searched with the link embeddings of the mentions: a PassageIndex or the path of
    its folder, any other retriever of the core, a vector store, or a retriever of LangChain
    (which, unless it is a VectorStoreRetriever, is asked with the text of the mention). `linking`
    says how; a call may have its own (`bind(linking=…)`, or a list with parameters for each text of
    a batch). Its `num_candidates` replaces the `k` of a retriever. In a document of a store, the
    `title` or else the first line is the name of the entity.

    `stream` yields the text in pieces, each up to the end of a mention as soon as that is closed.
    Offsets count in the piece; the sum of the pieces is the whole.

    As a transformer of documents it puts the mentions into the metadata, under `entities`;
    `include_candidates` adds the candidates of each. With `flat` they are JSON text, for stores
    that refuse lists of mappings (Chroma). The model (by default "entity-linking") is
    loaded at once, and one that was not trained to link is refused.
    """

    model_config = CONFIG

    model: str | Path | OneGenModel | SharedModel | None = Field(
        default_factory=from_env("ONEGEN_MODEL", default=_LINKING_MODEL), alias="model_name"
    )
    include_candidates: bool = False
    flat: bool = False

    @model_validator(mode="after")
    def _can_be_used(self) -> "OneGenEntityLinker":
        if not self.shared.model.can_link:
            self.shared.model.link([], entities=self.entities.source)  # raises
        call = self._begin([""], [None], {})
        # A stream that is not begun has checked its arguments, and does nothing else.
        call.model.astream_link("", entities=call.entities, linking=call.linking)
        return self

    def _adapt(self, entities: Any) -> Any:
        if isinstance(entities, OneGenVectorStore):
            require_same_model(self.shared, entities.embeddings.shared, "OneGenVectorStore")
            return entities.index
        if isinstance(entities, VectorStore | BaseRetriever):
            search = open_search(entities, model=self.shared)
            search.require_own_embeddings()
            return StoreEntities(search)
        return entities

    def invoke(
        self, input: Linkable, config: RunnableConfig | None = None, **kwargs: Any
    ) -> LinkedText:
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(
        self, input: Linkable, config: RunnableConfig | None = None, **kwargs: Any
    ) -> LinkedText:
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def batch(
        self,
        inputs: list[Linkable],
        config: _Configs = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[LinkedText]:
        """The model reads all texts in one batch, side by side.

        With `return_exceptions`, texts that can be linked are, whatever the others are.
        """
        link = self._link_each if return_exceptions else self._link
        return self._batch_with_config(
            link, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    async def abatch(
        self,
        inputs: list[Linkable],
        config: _Configs = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> list[LinkedText]:
        """Like `batch`, without blocking the event loop."""
        link = self._alink_each if return_exceptions else self._alink
        return await self._abatch_with_config(
            link, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def stream(
        self, input: Linkable, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[LinkedText]:
        """The pieces of the text, whose sum is the result of `invoke`."""
        yield from self._transform_stream_with_config(
            iter([input]), self._stream_pieces, config, **kwargs
        )

    async def astream(
        self, input: Linkable, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[LinkedText]:
        """Like `stream`, without blocking the event loop."""

        async def once() -> AsyncIterator[Linkable]:
            yield input

        pieces = self._atransform_stream_with_config(once(), self._astream_pieces, config, **kwargs)
        async with aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                yield piece

    def as_tool(self, args_schema: type[BaseModel] | None = None, **named: Any) -> BaseTool:
        """A tool that takes a `text`, and gives its mentions as `transform_documents` does.

        `args_schema` or `arg_types`, if given, have a field `text`, too.
        """
        return tool_of(self, args_schema, **named)

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """Copies whose metadata have the mentions as plain JSON under `entities`.

        Each has `start`, `end`, `surface`, `id`, `name` (both None without an entity) and `score`.
        `kwargs` may have the `config` and the `linking` of the call.
        """
        given = require_documents(documents)
        linked = self.batch(list(given), return_exceptions=False, **kwargs)
        return self._marked(given, linked)

    async def atransform_documents(
        self, documents: Sequence[Document], **kwargs: Any
    ) -> list[Document]:
        """Like `transform_documents`, without blocking the event loop."""
        given = require_documents(documents)
        linked = await self.abatch(list(given), return_exceptions=False, **kwargs)
        return self._marked(given, linked)

    def _marked(
        self, documents: Sequence[Document], linked: Sequence[LinkedText]
    ) -> list[Document]:
        shape = {"with_candidates": self.include_candidates, "flat": self.flat}
        pairs = zip(documents, linked, strict=True)
        return [mark(document, one.mentions, **shape) for document, one in pairs]

    # What LangChain's helpers call, with the manager of each run.

    def _invoke(
        self, input: Linkable, run_manager: CallbackManagerForChainRun, **called: Any
    ) -> LinkedText:
        [linked] = self._begin([input], [run_manager], called).link()
        return linked

    async def _ainvoke(
        self, input: Linkable, run_manager: AsyncCallbackManagerForChainRun, **called: Any
    ) -> LinkedText:
        [linked] = await self._alink([input], [run_manager], **called)
        return linked  # type: ignore[no-any-return]

    def _link(
        self,
        inputs: list[Linkable],
        run_manager: list[CallbackManagerForChainRun],
        **called: Any,
    ) -> list[Any]:
        return self._begin(inputs, run_manager, called).link()

    async def _alink(
        self,
        inputs: list[Linkable],
        run_manager: list[AsyncCallbackManagerForChainRun],
        **called: Any,
    ) -> list[Any]:
        # Loading a model that was unloaded would block the event loop.
        call = await asyncio.to_thread(self._begin, inputs, run_manager, called)
        return await call.alink()

    def _link_each(
        self,
        inputs: list[Linkable],
        run_manager: list[CallbackManagerForChainRun],
        **called: Any,
    ) -> list[Any]:
        try:
            return self._link(inputs, run_manager, **called)
        except Exception:
            results: list[Any] = []
            for one, manager, own in one_by_one(inputs, run_manager, called):
                try:
                    results += self._link(one, manager, **own)
                except Exception as error:
                    results.append(error)
            return results

    async def _alink_each(
        self,
        inputs: list[Linkable],
        run_manager: list[AsyncCallbackManagerForChainRun],
        **called: Any,
    ) -> list[Any]:
        try:
            return await self._alink(inputs, run_manager, **called)
        except Exception:
            results: list[Any] = []
            for one, manager, own in one_by_one(inputs, run_manager, called):
                try:
                    results += await self._alink(one, manager, **own)
                except Exception as error:
                    results.append(error)
            return results

    def _stream_pieces(
        self, inputs: Iterator[Linkable], run_manager: CallbackManagerForChainRun, **called: Any
    ) -> Iterator[LinkedText]:
        call = self._begin(list(inputs), [run_manager], called)
        [text] = call.texts
        pieces = TextPieces(text)
        with call.model.stream_link(text, entities=call.entities, linking=call.linking) as stream:
            for mention in stream:
                yield pieces.until(mention)
            yield pieces.rest(stream.linked.usage)

    async def _astream_pieces(
        self,
        inputs: AsyncIterator[Linkable],
        run_manager: AsyncCallbackManagerForChainRun,
        **called: Any,
    ) -> AsyncIterator[LinkedText]:
        given = [one async for one in inputs]
        call = await asyncio.to_thread(self._begin, given, [run_manager], called)
        [text] = call.texts
        pieces = TextPieces(text)
        stream = call.model.astream_link(text, entities=call.entities, linking=call.linking)
        async with stream:
            async for mention in stream:
                yield pieces.until(mention)
            yield pieces.rest(stream.linked.usage)

    def _begin(
        self,
        inputs: Sequence[Linkable],
        managers: Sequence[BaseRunManager | None],
        called: Mapping[str, Any],
    ) -> LinkingCall:
        chosen = read_options(called, {"linking"}).get("linking", self.linking)
        texts = [text_of(one) for one in inputs]
        entities = self.open_entities()
        linking = params_of_texts(chosen, entities, managers)
        return LinkingCall(self.shared.model, texts, entities, linking)
