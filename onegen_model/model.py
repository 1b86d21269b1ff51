"""One model that embeds, retrieves and writes. Everything here is thin."""

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray

from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint, load_checkpoint
from onegen_model.engine.constraint import GrammarCompiler
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.errors import InvalidInputError
from onegen_model.events import Event, Passage
from onegen_model.generation.driver import Driver, RequestHandle, control_ids
from onegen_model.params import RetrievalMode, RetrievalParams, SamplingParams
from onegen_model.retrieval.embedder import BATCH_TOKENS, embed_ids
from onegen_model.retrieval.protocol import AnyRetriever
from onegen_model.transcript.answer import Answer, Span, fold
from onegen_model.transcript.conversation import Conversation, conversation_ids
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


Question = str | Conversation


class Options(TypedDict, total=False):
    """What may be chosen per question; see `OneGenModel.submit`."""

    retriever: AnyRetriever | None
    sampling: SamplingParams | None
    retrieval: RetrievalParams | RetrievalMode | None
    history: Answer | None


class OneGenModel:
    """A checkpoint, ready to use; safe to share between threads and event loops."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.network: PreTrainedModel = checkpoint.network
        self.config = checkpoint.config
        self.fingerprint = checkpoint.fingerprint
        self.renderer = Renderer(
            self.config.template, checkpoint.tokenizer, self.config.max_passage_tokens
        )
        self._driver: Driver | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path | None = None,
        *,
        dtype: str = "float32",
        device: str | None = None,
        preset: str | None = None,
    ) -> "OneGenModel":
        """The default checkpoint, a local folder, or a hub id; raises CheckpointError.

        `preset`: see `load_checkpoint`.
        """
        if dtype not in _DTYPES:
            raise InvalidInputError(
                f"dtype={dtype!r}; expected one of {', '.join(_DTYPES)}; change dtype"
            )
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load_checkpoint(path_or_id, _DTYPES[dtype], device, preset))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write whole weights, tokenizer and `onegen.json`; loads without base or adapter."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save_pretrained(folder)
        self.renderer.tokenizer.save_pretrained(folder)
        CheckpointConfig(self.config.template, self.config.max_passage_tokens).write(folder)

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
    def driver(self) -> Driver:
        """The one driver of this model's engine; made when first needed."""
        with self._lock:
            if self._driver is None:
                self._driver = self._build_driver()
            return self._driver

    def _build_driver(self) -> Driver:
        renderer = self.renderer
        configured = getattr(self.network.generation_config, "eos_token_id", None)
        extra = configured if isinstance(configured, list) else [configured]
        end = [i for i in extra if i is not None]
        control = control_ids(renderer, end)
        constrain = GrammarCompiler(renderer.tokenizer, control)
        engine = TransformersEngine(self.network, control, constrain=constrain)
        return Driver(engine, renderer, end)

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False, batch: int = BATCH_TOKENS
    ) -> NDArray[np.float32]:
        """float32 (n, dimension), L2-normalised; raises PassageTooLongError. `batch`: positions."""
        ids = [self.renderer.embed_ids(passage) for passage in passages]
        return embed_ids(self.network, ids, progress=progress, batch=batch)

    def embed_queries(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """float32 (n, dimension): the query embeddings at hop 0 of retrieval "always"."""
        ids = [self.renderer.query_ids(question) for question in questions]
        return embed_ids(self.network, ids)

    def count_tokens(self, text: str) -> int:
        """Tokens of plain text, as `max_passage_tokens` counts them."""
        return len(self.renderer.text_ids(text))

    def submit(
        self,
        question: Question,
        retriever: AnyRetriever | None = None,
        sampling: SamplingParams | None = None,
        retrieval: RetrievalParams | RetrievalMode | None = None,
        history: Answer | None = None,
    ) -> RequestHandle:
        """Queue one question with the driver; for those who drive themselves.

        A `Conversation` brings its own history.
        """
        if isinstance(retrieval, str):
            retrieval = RetrievalParams(mode=retrieval)
        forced = self.renderer.before_query if retrieval and retrieval.mode == "always" else []
        return self.driver.submit(
            self._prompt(question, history) + forced,
            question if isinstance(question, str) else question.question,
            retriever,
            sampling or SamplingParams(),
            retrieval or RetrievalParams(),
        )

    def _prompt(self, question: Question, history: Answer | None) -> list[int]:
        if isinstance(question, Conversation):
            if history is not None:
                raise InvalidInputError(
                    "A conversation and a history; expected one of them; leave `history` out"
                )
            if self.template.prompt and len(question.messages) == 1 and not question.tools:
                return self.renderer.question_ids(question.question)
            self.renderer.require_turns()
            return conversation_ids(self.renderer, question)
        if history is None:
            return self.renderer.question_ids(question)
        return [*history.ids, *self.renderer.next_question_ids(question, history.ids)]

    @overload
    def generate(self, questions: Question, **options: Unpack[Options]) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    def generate(
        self, questions: Sequence[Question], **options: Unpack[Options]
    ) -> list[Answer]: ...
    def generate(
        self, questions: Question | Sequence[Question], **options: Unpack[Options]
    ) -> Answer | list[Answer]:
        """One question, or a list as one batch in which each row retrieves when it wants to.

        `options` are those of `submit`: retriever, sampling, retrieval, history.
        """
        tickets = self._submit_all(questions, options)
        events = list(self.driver.drive(*tickets))
        return self._fold_all(questions, tickets, events)

    @overload
    async def agenerate(self, questions: str, **options: Unpack[Options]) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    async def agenerate(
        self, questions: Sequence[str], **options: Unpack[Options]
    ) -> list[Answer]: ...
    async def agenerate(
        self, questions: str | Sequence[str], **options: Unpack[Options]
    ) -> Answer | list[Answer]:
        """Like `generate`, without blocking the event loop."""
        tickets = self._submit_all(questions, options)
        events = [event async for event in self.driver.adrive(*tickets)]
        return self._fold_all(questions, tickets, events)

    def stream(self, question: Question, **options: Unpack[Options]) -> "AnswerStream":
        """Events as they happen; closing the stream cancels the request."""
        return AnswerStream(self, self.submit(question, **options), question)

    def astream(self, question: Question, **options: Unpack[Options]) -> "AsyncAnswerStream":
        """Like `stream`, for `async for`."""
        return AsyncAnswerStream(self, self.submit(question, **options), question)

    def _submit_all(
        self, questions: Question | Sequence[Question], options: Options
    ) -> list[RequestHandle]:
        return [self.submit(question, **options) for question in _as_list(questions)]

    def _fold_all(
        self,
        questions: Question | Sequence[Question],
        tickets: Sequence[RequestHandle],
        events: Sequence[Event],
    ) -> Answer | list[Answer]:
        own: dict[int, list[Event]] = {ticket.request.id: [] for ticket in tickets}
        for event in events:
            own[event.request_id].append(event)
        answers = [
            self.fold(ticket, own[ticket.request.id], question)
            for ticket, question in zip(tickets, _as_list(questions), strict=True)
        ]
        return answers[0] if isinstance(questions, Question) else answers

    def fold(
        self, ticket: RequestHandle, events: Sequence[Event], question: Question = ""
    ) -> Answer:
        """The answer told by all events of a finished ticket.

        An unfinished answer that `question` ends with is part of it.
        """
        segments = question.opening if isinstance(question, Conversation) else ()
        opening = [Span(one.text, tuple(self.renderer.own_ids(one))) for one in segments]
        if not segments or segments[-1].retrieves:
            opening.append(Span())
        return fold(events, ticket.request.ids, self.renderer, opening)


def _as_list(questions: Question | Sequence[Question]) -> Sequence[Question]:
    return [questions] if isinstance(questions, Question) else questions


class _Recorder:
    """Remembers the events that were consumed."""

    def __init__(self, model: OneGenModel, ticket: RequestHandle, question: Question) -> None:
        self._model = model
        self._ticket = ticket
        self._question = question
        self._seen: list[Event] = []

    @property
    def answer(self) -> Answer:
        """The whole answer; raises ValueError before the Finished event was consumed."""
        return self._model.fold(self._ticket, self._seen, self._question)


class AnswerStream(_Recorder, Iterator[Event]):
    """Events of one question."""

    def __init__(self, model: OneGenModel, ticket: RequestHandle, question: Question) -> None:
        super().__init__(model, ticket, question)
        self._events: Generator[Event, None, None] = model.driver.drive(ticket)

    def __next__(self) -> Event:
        event = next(self._events)
        self._seen.append(event)
        return event

    def close(self) -> None:
        """Cancel what has not finished."""
        self._events.close()
        # A generator that was never started closes without a word.
        self._model.driver.cancel(self._ticket)


class AsyncAnswerStream(_Recorder, AsyncIterator[Event]):
    """Events of one question, for `async for`."""

    def __init__(self, model: OneGenModel, ticket: RequestHandle, question: Question) -> None:
        super().__init__(model, ticket, question)
        self._events: AsyncGenerator[Event, None] = model.driver.adrive(ticket)

    async def __anext__(self) -> Event:
        event = await anext(self._events)
        self._seen.append(event)
        return event

    async def aclose(self) -> None:
        """Cancel what has not finished."""
        await self._events.aclose()
        self._model.driver.cancel(self._ticket)
