"""Text in, text out: for chains that know no messages."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.language_models import BaseLLM
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
    LLMResult,
)

from onegen_integrations.langchain.blocks import PROVIDER, MessageStream
from onegen_integrations.langchain.calls import (
    calling,
    current_call,
    identity_of,
    plain,
    require_known,
)
from onegen_integrations.langchain.fields import (
    CONFIG,
    NamedModelFields,
    RetrievalFields,
    option_names,
)
from onegen_integrations.langchain.tracing import current_run
from onegen_integrations.langchain.turns import TurnRetriever
from onegen_integrations.shared.sampling_fields import SamplingFields
from onegen_model import Event, RequestHandle


@dataclass(slots=True)
class _Text:
    """One prompt on its way: its ticket, its events so far, and how they are told."""

    prompt: str
    ticket: RequestHandle
    messages: MessageStream
    retriever: TurnRetriever | None
    events: list[Event] = field(default_factory=list)
    chunks: list[GenerationChunk] = field(default_factory=list)

    def feed(self, event: Event) -> list[GenerationChunk]:
        self.events.append(event)
        error = self.retriever.error_of(event) if self.retriever else ""
        new = [chunk for one in self.messages.feed(event, error=error) if (chunk := _chunk(one))]
        self.chunks += new
        return new


class OneGenLLM(NamedModelFields, SamplingFields, RetrievalFields, BaseLLM):
    """The answer as text; with a `vectorstore` (or a `retriever`), looked up while it is written.

    Of what was written, only the answer is streamed once something is searched.
    """

    model_config = CONFIG

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        names = {*SamplingFields.model_fields, *RetrievalFields.model_fields, "dtype"}
        own = {name: plain(getattr(self, name)) for name in names - {"vectorstore", "retriever"}}
        store = None if self.source is None else identity_of(self.source)
        # LangChain's cache knows a call by these alone.
        return {**own, "model": self.model_label, "store": store, "called": current_call()}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = self.model_label
        return params

    def get_token_ids(self, text: str) -> list[int]:
        """Those of the model; nothing is looked up elsewhere."""
        return self.shared.model.renderer.text_ids(text)

    def generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """LangChain's own, with the call's options as part of what its cache goes by."""
        with calling(kwargs):
            return super().generate(prompts, stop, callbacks, **kwargs)

    async def agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Like `generate`, without blocking the event loop."""
        with calling(kwargs):
            return await super().agenerate(prompts, stop, callbacks, **kwargs)

    def _begin(
        self,
        prompts: Sequence[str],
        stop: Sequence[str] | None,
        manager: BaseRunManager | None,
        called: Mapping[str, Any],
    ) -> dict[int, _Text]:
        """All prompts as requests of one batch, by request id."""
        require_known(called, option_names())
        model, run = self.shared.model, current_run(manager)
        search = self.search(self.shared, called)
        skips = self.skips_errors(called)
        texts = {}
        for prompt in prompts:
            retriever = TurnRetriever(search, run, skips) if search else None
            retrieval = self.retrieval_params(search, called) if search else None
            sampling = self.sampling(called, stop=stop)
            ticket = model.submit(prompt, retriever, sampling, retrieval)
            told = MessageStream(model.template, plain=search is None)
            texts[ticket.request.id] = _Text(prompt, ticket, told, retriever)
        return texts

    def _end(self, text: _Text) -> GenerationChunk:
        answer = text.ticket.answer()
        chunks = text.messages.close(answer, self.model_label)
        told = "".join(chunk.text for one in chunks if (chunk := _chunk(one)))
        info = {"usage_metadata": chunks[-1].usage_metadata, **chunks[-1].response_metadata}
        text.chunks.append(GenerationChunk(text=told, generation_info=info))
        return text.chunks[-1]

    def _collect(self, texts: Mapping[int, _Text]) -> LLMResult:
        whole: list[list[Generation | ChatGeneration | GenerationChunk | ChatGenerationChunk]] = []
        for text in texts.values():
            last = self._end(text)
            joined = "".join(chunk.text for chunk in text.chunks)
            whole.append([Generation(text=joined, generation_info=last.generation_info)])
        return LLMResult(generations=whole)

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        texts = self._begin(prompts, stop, run_manager, kwargs)
        tickets = [text.ticket for text in texts.values()]
        for event in self.shared.model.driver.drive(*tickets):
            texts[event.request_id].feed(event)
        return self._collect(texts)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        texts = await asyncio.to_thread(self._begin, prompts, stop, run_manager, kwargs)
        tickets = [text.ticket for text in texts.values()]
        async with aclosing(self.shared.model.driver.adrive(*tickets)) as events:
            async for event in events:
                texts[event.request_id].feed(event)
        return self._collect(texts)

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        (text,) = self._begin([prompt], stop, run_manager, kwargs).values()
        with closing(self.shared.model.driver.drive(text.ticket)) as events:
            for event in events:
                for chunk in text.feed(event):
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
        last = self._end(text)
        if run_manager:
            run_manager.on_llm_new_token(last.text, chunk=last)
        yield last

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        begun = await asyncio.to_thread(self._begin, [prompt], stop, run_manager, kwargs)
        (text,) = begun.values()
        async with aclosing(self.shared.model.driver.adrive(text.ticket)) as events:
            async for event in events:
                for chunk in text.feed(event):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
        last = self._end(text)
        if run_manager:
            await run_manager.on_llm_new_token(last.text, chunk=last)
        yield last


def _chunk(message: AIMessageChunk) -> GenerationChunk | None:
    """Of the blocks, only text."""
    return GenerationChunk(text=str(message.text)) if message.text else None
