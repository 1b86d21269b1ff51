"""A language model for chains that work on text instead of messages."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from functools import partial
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
from onegen_integrations.langchain.calls import calling, current_call, read_options
from onegen_integrations.langchain.fields import CONFIG, WritingFields, option_names
from onegen_integrations.langchain.tracing import Run, prompts_entered, runs_of_prompts
from onegen_integrations.langchain.turns import Lookup
from onegen_model import Event, Options, PassagesInserted, RequestHandle


@dataclass(slots=True)
class _Text:
    """One prompt in progress: its request and its chunks so far."""

    handle: RequestHandle
    messages: MessageStream
    lookup: Lookup | None
    num_inserted: int = 0
    chunks: list[GenerationChunk] = field(default_factory=list)

    def feed(self, event: Event) -> list[GenerationChunk]:
        error = ""
        if self.lookup is not None and isinstance(event, PassagesInserted):
            error = self.lookup.errors[self.num_inserted]
            self.num_inserted += 1
        new = [chunk for one in self.messages.feed(event, error=error) if (chunk := _chunk(one))]
        self.chunks += new
        return new


class OneGenLLM(WritingFields, BaseLLM):
    """Writes the answer as text and, with a `vectorstore` or a `retriever`, searches while writing.

    With something to search, only the answer is returned and streamed, not the steps to it.
    """

    model_config = CONFIG

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        # They are the whole key of LangChain's cache.
        return {**self.parameters, "called": current_call()}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = self.model_label
        return params

    def generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """LangChain's own, cached by the call's options too, and not at all where it retrieves."""
        with calling(kwargs):
            return BaseLLM.generate(self._uncached(kwargs), prompts, stop, callbacks, **kwargs)

    async def agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Like `generate`, without blocking the event loop."""
        with calling(kwargs):
            own = self._uncached(kwargs)
            return await BaseLLM.agenerate(own, prompts, stop, callbacks, **kwargs)

    def _uncached(self, called: Mapping[str, Any]) -> "OneGenLLM":
        """This model without a cache where it may retrieve: a store's documents change."""
        return self.model_copy(update={"cache": False}) if self.is_searching(called) else self

    # The following two methods make the run of each prompt known, for the runs of its retrievals.

    def _generate_helper(
        self,
        prompts: list[str],
        stop: list[str] | None,
        run_managers: list[CallbackManagerForLLMRun],
        **kwargs: Any,
    ) -> LLMResult:
        with prompts_entered(run_managers):
            return super()._generate_helper(prompts, stop, run_managers, **kwargs)

    async def _agenerate_helper(
        self,
        prompts: list[str],
        stop: list[str] | None,
        run_managers: list[AsyncCallbackManagerForLLMRun],
        **kwargs: Any,
    ) -> LLMResult:
        with prompts_entered(run_managers):
            return await super()._agenerate_helper(prompts, stop, run_managers, **kwargs)

    def _ask(
        self, stop: Sequence[str] | None, run: Run | None, called: Mapping[str, Any]
    ) -> tuple[Lookup | None, Options]:
        """The retrievals and the options of one prompt."""
        called = read_options(called, option_names())
        lookup, options = self.begin_lookup(self.shared, run, called)
        options["sampling"] = self.sampling(called, stop=stop)
        return lookup, options

    def _begin(
        self,
        prompts: Sequence[str],
        stop: Sequence[str] | None,
        manager: BaseRunManager | None,
        called: Mapping[str, Any],
    ) -> dict[int, _Text]:
        """All prompts as requests of one batch, by request id."""
        model, texts = self.shared.model, {}
        for prompt, run in zip(prompts, runs_of_prompts(manager, len(prompts)), strict=True):
            lookup, options = self._ask(stop, run, called)
            handle = model.driver.when_room(partial(model.submit, prompt, **options))
            chunked = MessageStream(model.template, plain=lookup is None)
            texts[handle.request.id] = _Text(handle, chunked, lookup)
        return texts

    async def _abegin(
        self,
        prompts: Sequence[str],
        stop: Sequence[str] | None,
        manager: BaseRunManager | None,
        called: Mapping[str, Any],
    ) -> dict[int, _Text]:
        # Loading the model would block the event loop.
        model, texts = await asyncio.to_thread(lambda: self.shared.model), {}
        for prompt, run in zip(prompts, runs_of_prompts(manager, len(prompts)), strict=True):
            lookup, options = self._ask(stop, run, called)
            handle = await model.asubmit(prompt, **options)
            chunked = MessageStream(model.template, plain=lookup is None)
            texts[handle.request.id] = _Text(handle, chunked, lookup)
        return texts

    def _end(self, text: _Text) -> GenerationChunk:
        chunks = text.messages.close(text.handle.answer(), self.model_label)
        written = "".join(chunk.text for one in chunks if (chunk := _chunk(one)))
        info = {"usage_metadata": chunks[-1].usage_metadata, **chunks[-1].response_metadata}
        text.chunks.append(GenerationChunk(text=written, generation_info=info))
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
        handles = [text.handle for text in texts.values()]
        for event in self.shared.model.driver.drive(*handles):
            texts[event.request_id].feed(event)
        return self._collect(texts)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        texts = await self._abegin(prompts, stop, run_manager, kwargs)
        handles = [text.handle for text in texts.values()]
        async with aclosing(self.shared.model.driver.adrive(*handles)) as events:
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
        with closing(self.shared.model.driver.drive(text.handle)) as events:
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
        (text,) = (await self._abegin([prompt], stop, run_manager, kwargs)).values()
        async with aclosing(self.shared.model.driver.adrive(text.handle)) as events:
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
    """The text blocks alone."""
    return GenerationChunk(text=str(message.text)) if message.text else None
