"""OneGenModel: one set of weights that embeds, retrieves and writes. A facade of one screen."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

import numpy as np
from numpy.typing import NDArray

from onegen_model.batches import BATCH_TOKENS
from onegen_model.checkpoint.loading import Checkpoint, load_checkpoint, save_checkpoint
from onegen_model.checkpoint.options import LoadOptions
from onegen_model.checkpoint.pickling import PickledByName
from onegen_model.checkpoint.unloading import UnloadedNetwork, free, unloaded
from onegen_model.engine.base import Engine, StepEngine
from onegen_model.events import Passage
from onegen_model.generation.answer_stream import AnswerStream, AsyncAnswerStream
from onegen_model.generation.driver import Driver
from onegen_model.generation.handle import RequestHandle, outcomes, submitted
from onegen_model.generation.prompts import make_prompt, opening_spans
from onegen_model.generation.scheduler import MAX_QUEUE
from onegen_model.linking.links_entities import LinksEntities
from onegen_model.options import Options, as_batch, check_options, require_question
from onegen_model.params import RetrievalMode, RetrievalParams, SamplingParams
from onegen_model.retrieval.embedder import embed_ids
from onegen_model.retrieval.protocol import AnyRetriever
from onegen_model.runtime import Runtime, end_ids
from onegen_model.transcript.answer import Answer
from onegen_model.transcript.conversation import Question, close_opening
from onegen_model.transcript.passage_fit import fragments
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from onegen_model.transcript.token_texts import TokenisesText

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class OneGenModel(LinksEntities, TokenisesText, PickledByName):
    """A checkpoint, ready to use; safe to share between threads and event loops.

    `engine` computes the answers; by default a `TransformersEngine` is made when first needed. At
    most `max_queue` requests wait. A forked child needs its own model, unless torch has one thread.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        engine: Engine | StepEngine | None = None,
        max_queue: int = MAX_QUEUE,
    ) -> None:
        self._checkpoint = checkpoint
        self.network: PreTrainedModel = checkpoint.network
        self.config, self.fingerprint = checkpoint.config, checkpoint.fingerprint
        self.renderer = Renderer(
            self.config.template,
            checkpoint.tokenizer,
            self.config.max_passage_tokens,
            end_ids(self.network),
        )
        self._runtime = Runtime(self.network, self.renderer, engine, max_queue)

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path | None = None,
        *,
        dtype: str = "float32",
        device: str | None = None,
        preset: str | None = None,
        max_queue: int = MAX_QUEUE,
        **options: Unpack[LoadOptions],
    ) -> "OneGenModel":
        """The default checkpoint, a local folder, or a hub id; raises CheckpointError.

        `preset`: see `load_checkpoint`. `options`: see `LoadOptions`.
        """
        checkpoint = load_checkpoint(path_or_id, dtype, device, preset, **options)
        return cls(checkpoint, max_queue=max_queue)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write whole weights, tokenizer and `onegen.json`; the fingerprint stays the same."""
        save_checkpoint(replace(self._checkpoint, network=self.network), Path(folder))

    def unload(self) -> None:
        """Free weights, cache and engine; open requests fail, and later use raises OneGenError.

        A network that `from_pretrained` did not load is left whole for its other owners.
        """
        network, self.network = self.network, cast("PreTrainedModel", UnloadedNetwork())
        self._checkpoint = replace(self._checkpoint, network=self.network)
        self._runtime.close(unloaded())
        if self._checkpoint.origin is not None and not isinstance(network, UnloadedNetwork):
            free(network)

    @property
    def template(self) -> Template:
        """The strings of the transcript."""
        return self.config.template

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return int(self.network.config.get_text_config().hidden_size)

    @property
    def max_passage_tokens(self) -> int:
        """Longest passage, title included; `embed_passages` refuses longer ones."""
        return self.config.max_passage_tokens

    @property
    def max_context(self) -> int:
        """Longest conversation with its answer, in tokens."""
        return self.driver.max_context

    @property
    def engine(self) -> Engine | StepEngine:
        """What computes the answers; made when first needed."""
        return self._runtime.engine

    @property
    def driver(self) -> Driver:
        """The one driver of this model's engine; made when first needed."""
        return self._runtime.driver

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False, batch: int = BATCH_TOKENS
    ) -> NDArray[np.float32]:
        """float32 (n, dimension), L2-normalised; raises PassageTooLongError. `batch`: positions."""
        self._runtime.require_own_process()
        ids = list(map(self.renderer.embed_ids, passages))
        names = [f"passage {one.id!r}" for one in passages]
        return embed_ids(self.network, ids, names=names, progress=progress, batch=batch)

    def embed_queries(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """float32 (n, dimension): the query embeddings at hop 0 of retrieval "always"."""
        self._runtime.require_own_process()
        names = [f"questions[{at}]" for at in range(len(questions))]
        return embed_ids(self.network, list(map(self.renderer.query_ids, questions)), names=names)

    def fragments(self, passage: Passage) -> Iterator[Passage]:
        """The passage itself, or pieces of it, with its id and title, that can be embedded."""
        return fragments(passage, self.renderer)

    def count_prompt(self, question: Question) -> int:
        """Tokens of a question's prompt, as `Usage.prompt` counts them."""
        return len(make_prompt(self.renderer, question, None).ids)

    def submit(
        self,
        question: Question,
        retriever: AnyRetriever | None = None,
        sampling: SamplingParams | None = None,
        retrieval: RetrievalParams | RetrievalMode | None = None,
        history: Answer | None = None,
    ) -> RequestHandle:
        """Queue one question; `driver.drive(handle)` yields its events.

        A `Conversation` brings its own history. Raises InvalidInputError before any work for an
        argument of a wrong kind, and QueueFullError when too many requests wait; `asubmit` waits.
        """
        require_question(question)
        options = Options(
            retriever=retriever, sampling=sampling, retrieval=retrieval, history=history
        )
        check_options(options)
        if isinstance(retrieval, str):
            retrieval = RetrievalParams(mode=retrieval)
        if sampling is not None and sampling.grammar is not None:
            question = close_opening(self.renderer, question)
        return self.driver.submit(
            make_prompt(self.renderer, question, history),
            retriever,
            sampling or SamplingParams(),
            retrieval or RetrievalParams(),
            opening_spans(self.renderer, question),
        )

    async def asubmit(self, question: Question, **options: Unpack[Options]) -> RequestHandle:
        """Like `submit`, but waits for room in the queue, and never blocks the event loop."""
        # The first call builds the engine and checks the network, which takes seconds.
        driver = await asyncio.to_thread(lambda: self.driver)
        return await driver.awhen_room(partial(self.submit, question, **options))

    @overload
    def generate(  # type: ignore[overload-overlap]
        self, questions: Question, **options: Unpack[Options]
    ) -> Answer: ...
    @overload
    def generate(
        self,
        questions: Sequence[Question],
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[Options],
    ) -> list[Answer]: ...
    @overload
    def generate(
        self,
        questions: Sequence[Question],
        *,
        return_exceptions: bool,
        **options: Unpack[Options],
    ) -> list[Answer | Exception]: ...
    def generate(
        self,
        questions: Question | Sequence[Question],
        *,
        return_exceptions: bool = False,
        **options: Unpack[Options],
    ) -> Any:
        """One question, or a list as one batch in which each row retrieves when it wants to.

        `options` are those of `submit`. The first error of a batch is raised when all have ended;
        with `return_exceptions` a list has each error in the place of its answer.
        """
        check_options(options)
        many, caught = as_batch(questions, return_exceptions)
        handles: list[RequestHandle | Exception] = []
        for question in many:
            try:
                handles.append(self.driver.when_room(partial(self.submit, question, **options)))
            except caught as error:
                handles.append(error)
        with suppress(*caught):
            for _ in self.driver.drive(*submitted(handles)):
                pass
        answers = outcomes(handles)
        return answers[0] if isinstance(questions, Question) else answers

    @overload
    async def agenerate(  # type: ignore[overload-overlap]
        self, questions: Question, **options: Unpack[Options]
    ) -> Answer: ...
    @overload
    async def agenerate(
        self,
        questions: Sequence[Question],
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[Options],
    ) -> list[Answer]: ...
    @overload
    async def agenerate(
        self,
        questions: Sequence[Question],
        *,
        return_exceptions: bool,
        **options: Unpack[Options],
    ) -> list[Answer | Exception]: ...
    async def agenerate(
        self,
        questions: Question | Sequence[Question],
        *,
        return_exceptions: bool = False,
        **options: Unpack[Options],
    ) -> Any:
        """Like `generate`, without blocking the event loop."""
        check_options(options)
        many, caught = as_batch(questions, return_exceptions)
        handles: list[RequestHandle | Exception] = []
        for question in many:
            try:
                handles.append(await self.asubmit(question, **options))
            except caught as error:
                handles.append(error)
        with suppress(*caught):
            async for _ in self.driver.adrive(*submitted(handles)):
                pass
        answers = outcomes(handles)
        return answers[0] if isinstance(questions, Question) else answers

    def stream(self, question: Question, **options: Unpack[Options]) -> AnswerStream:
        """Events as they happen; closing the stream cancels the request."""
        check_options(options)
        handle = self.driver.when_room(partial(self.submit, question, **options))
        return AnswerStream(self.driver, handle)

    def astream(self, question: Question, **options: Unpack[Options]) -> AsyncAnswerStream:
        """Like `stream`, for `async for`."""
        require_question(question)
        check_options(options)

        async def submit() -> tuple[Driver, RequestHandle]:
            handle = await self.asubmit(question, **options)
            return self.driver, handle

        return AsyncAnswerStream(submit)
