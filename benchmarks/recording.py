"""Runs of the model over many questions, with everything that a check needs to know of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from onegen_model import (
    Answer,
    Event,
    Finished,
    OneGenModel,
    PassagesInserted,
    RetrievalParams,
    RetrievalRequested,
    Retriever,
    SamplingParams,
    Token,
)
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.generation.handle import RequestHandle

Sampling = tuple[SamplingParams, RetrievalParams]


@dataclass(frozen=True, slots=True)
class Record:
    """One finished request. `ids` is its whole context, `prompt` the length of the prompt."""

    question: str
    prompt: int
    ids: tuple[int, ...]
    events: tuple[Event, ...]
    answer: Answer

    @property
    def tokens(self) -> list[Token]:
        return [event for event in self.events if isinstance(event, Token)]

    @property
    def requested(self) -> list[RetrievalRequested]:
        return [event for event in self.events if isinstance(event, RetrievalRequested)]

    @property
    def reason(self) -> str:
        last = self.events[-1]
        assert isinstance(last, Finished)
        return last.reason

    def positions(self) -> list[tuple[int, Event]]:
        """Events but the last, with their place in `ids`; of passages, the first place."""
        at, placed = self.prompt, []
        for event in self.events[:-1]:
            placed.append((at - isinstance(event, RetrievalRequested), event))
            if isinstance(event, Token):
                at += 1
            elif isinstance(event, PassagesInserted):
                at += event.num_tokens
        return placed


@dataclass(slots=True)
class Counter:
    """What went into the decoder, whoever called it. Padding repeats the last place of its row."""

    positions: int = 0
    real: int = 0

    def __call__(self, _: object, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        ids: Tensor = args[0] if args else inputs["input_ids"]
        self.positions += ids.numel()
        if "position_ids" not in inputs:  # A plain call of one row: no padding.
            self.real += ids.numel()
            return
        places: Tensor = inputs["position_ids"].expand(ids.shape)
        self.real += ids.shape[0] + int((places[:, 1:] != places[:, :-1]).sum())


@contextmanager
def counting(network: PreTrainedModel) -> Iterator[Counter]:
    counter = Counter()
    decoder = network.get_decoder()
    handle = decoder.register_forward_pre_hook(counter, with_kwargs=True)
    try:
        yield counter
    finally:
        handle.remove()


def fresh(model: OneGenModel) -> OneGenModel:
    """The same network with an engine that has read nothing yet."""
    tokenizer = model.renderer.tokenizer
    other = OneGenModel(Checkpoint(model.network, tokenizer, model.config, model.fingerprint))
    assert other.driver  # Its engine reads a few ids when it is made: not in anybody's count.
    return other


@dataclass(slots=True)
class Run:
    """`counted` is what the hook saw, over all engines of this run."""

    name: str
    records: list[Record] = field(default_factory=list)
    counted: Counter = field(default_factory=Counter)

    def add(self, records: Sequence[Record], counter: Counter) -> None:
        self.records += records
        self.counted.positions += counter.positions
        self.counted.real += counter.real


@dataclass(frozen=True, slots=True)
class Runner:
    """How questions are asked; every run starts with an empty cache."""

    model: OneGenModel
    retriever: Retriever
    params: Sampling
    batch: int

    def in_batches(self, questions: Sequence[str]) -> Run:
        """A new engine for each batch: nothing is taken over from one to the next."""
        run = Run("batch")
        for some in _chunks(questions, self.batch, "batches"):
            model = fresh(self.model)
            tickets = self._submit(model, some)
            with counting(model.network) as counter:
                events = list(model.driver.drive(*tickets))
            run.add(_records(model, some, tickets, events), counter)
        return run

    def one_by_one(self, questions: Sequence[str]) -> Run:
        """Streamed, each by an engine of its own."""
        run = Run("one by one, streamed")
        for question in tqdm(questions, desc="one by one"):
            model = fresh(self.model)
            sampling, retrieval = self.params
            prompt = model.renderer.question_ids(question)
            stream = model.stream(
                question, retriever=self.retriever, sampling=sampling, retrieval=retrieval
            )
            with counting(model.network) as counter:
                events = tuple(stream)
            answer = stream.answer
            run.add([Record(question, len(prompt), answer.ids, events, answer)], counter)
        return run

    async def in_async_batches(self, questions: Sequence[str]) -> Run:
        """One engine for all: what earlier requests left in the cache is taken over."""
        run = Run("async batch, shared cache")
        model = fresh(self.model)
        for some in _chunks(questions, self.batch, "async batches"):
            tickets = self._submit(model, some)
            with counting(model.network) as counter:
                events = [event async for event in model.driver.adrive(*tickets)]
            run.add(_records(model, some, tickets, events), counter)
        return run

    def _submit(self, model: OneGenModel, questions: Sequence[str]) -> list[RequestHandle]:
        sampling, retrieval = self.params
        return [model.submit(one, self.retriever, sampling, retrieval) for one in questions]


def _chunks(questions: Sequence[str], size: int, name: str) -> Iterator[Sequence[str]]:
    for start in tqdm(range(0, len(questions), size), desc=name):
        yield questions[start : start + size]


def _records(
    model: OneGenModel,
    questions: Sequence[str],
    tickets: Sequence[RequestHandle],
    events: Sequence[Event],
) -> list[Record]:
    own: dict[int, list[Event]] = {ticket.request.id: [] for ticket in tickets}
    for event in events:
        own[event.request_id].append(event)
    found = []
    for question, ticket in zip(questions, tickets, strict=True):
        request, mine = ticket.request, own[ticket.request.id]
        answer = ticket.answer()
        found.append(
            Record(question, request.usage.prompt, tuple(request.ids), tuple(mine), answer)
        )
    return found
