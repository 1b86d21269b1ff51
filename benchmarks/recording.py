"""Runs of the model over many questions, recorded for the checks."""

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
from onegen_model.engine.transformers import TransformersEngine
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
    def inserted(self) -> list[PassagesInserted]:
        return [event for event in self.events if isinstance(event, PassagesInserted)]

    @property
    def reason(self) -> str:
        last = self.events[-1]
        assert isinstance(last, Finished)
        return last.reason

    def positions(self) -> list[tuple[int, Event]]:
        """All events but the last, with their position in `ids` (of passages, the first one)."""
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
    """Counts what enters the decoder; padding repeats the last position of its row."""

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
    """The same network behind a new engine with an empty cache."""
    tokenizer = model.renderer.tokenizer
    other = OneGenModel(Checkpoint(model.network, tokenizer, model.config, model.fingerprint))
    assert other.driver  # A new engine reads a few ids, which must not be counted.
    return other


@dataclass(slots=True)
class RecordedRun:
    """The records of one way of asking; `counted` sums the hook over all its engines."""

    name: str
    records: list[Record] = field(default_factory=list)
    counted: Counter = field(default_factory=Counter)

    def add(self, records: Sequence[Record], counter: Counter) -> None:
        self.records += records
        self.counted.positions += counter.positions
        self.counted.real += counter.real


@dataclass(frozen=True, slots=True)
class Runner:
    """Asks questions in several ways; every run starts with an empty cache."""

    model: OneGenModel
    retriever: Retriever
    params: Sampling
    batch: int

    def in_batches(self, questions: Sequence[str]) -> RecordedRun:
        """Each batch starts with an empty cache."""
        run = RecordedRun("batch")
        model = fresh(self.model)
        for some in _chunks(questions, self.batch, "batches"):
            _empty_cache(model)
            handles = self._submit(model, some)
            with counting(model.network) as counter:
                events = list(model.driver.drive(*handles))
            run.add(_records(model, some, handles, events), counter)
        return run

    def one_by_one(self, questions: Sequence[str]) -> RecordedRun:
        """Each question is streamed and starts with an empty cache."""
        run = RecordedRun("one by one, streamed")
        model = fresh(self.model)
        for question in tqdm(questions, desc="one by one"):
            _empty_cache(model)
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

    async def in_async_batches(self, questions: Sequence[str]) -> RecordedRun:
        """One engine for all batches, which reuse what earlier requests left in the cache."""
        run = RecordedRun("async batch, shared cache")
        model = fresh(self.model)
        for some in _chunks(questions, self.batch, "async batches"):
            handles = self._submit(model, some)
            with counting(model.network) as counter:
                events = [event async for event in model.driver.adrive(*handles)]
            run.add(_records(model, some, handles, events), counter)
        return run

    def _submit(self, model: OneGenModel, questions: Sequence[str]) -> list[RequestHandle]:
        sampling, retrieval = self.params
        return [model.submit(one, self.retriever, sampling, retrieval) for one in questions]


def _empty_cache(model: OneGenModel) -> None:
    """Cheaper than a new engine, which probes its network."""
    assert isinstance(model.engine, TransformersEngine)
    model.engine.forget()


def _chunks(questions: Sequence[str], size: int, name: str) -> Iterator[Sequence[str]]:
    for start in tqdm(range(0, len(questions), size), desc=name):
        yield questions[start : start + size]


def _records(
    model: OneGenModel,
    questions: Sequence[str],
    handles: Sequence[RequestHandle],
    events: Sequence[Event],
) -> list[Record]:
    own: dict[int, list[Event]] = {handle.request.id: [] for handle in handles}
    for event in events:
        own[event.request_id].append(event)
    found = []
    for question, handle in zip(questions, handles, strict=True):
        request, mine = handle.request, own[handle.request.id]
        answer = handle.answer()
        found.append(
            Record(question, request.usage.prompt, tuple(request.ids), tuple(mine), answer)
        )
    return found
