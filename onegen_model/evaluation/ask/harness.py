"""Asks a model the questions of a file, a batch at a time, and keeps every event."""

import resource
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import torch
from tqdm import tqdm

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.questions import GoldQuestion
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.events import Event, Finished
from onegen_model.generation.driver import Driver
from onegen_model.generation.handle import RequestHandle
from onegen_model.model import OneGenModel
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.retrieval.protocol import AnyRetriever

ShouldStop = Callable[[], bool]


def never() -> bool:
    """The default of `should_stop`."""
    return False


@dataclass(frozen=True, slots=True)
class Submission:
    """A submitted request, and the events that precede those of its request."""

    handle: RequestHandle
    opening: tuple[Event, ...] = ()


class Asker(Protocol):
    """A way to ask a model a question."""

    @property
    def driver(self) -> Driver: ...

    def submit(self, question: GoldQuestion) -> Submission: ...


@dataclass(frozen=True, slots=True)
class OnePass:
    """The model writes, and decides itself when to retrieve."""

    model: OneGenModel
    retriever_of: Callable[[GoldQuestion], AnyRetriever | None]
    sampling: SamplingParams
    retrieval_of: Callable[[GoldQuestion], RetrievalParams]

    @property
    def driver(self) -> Driver:
        return self.model.driver

    def submit(self, question: GoldQuestion) -> Submission:
        retriever, retrieval = self.retriever_of(question), self.retrieval_of(question)
        return Submission(self.model.submit(question.text, retriever, self.sampling, retrieval))


def ask(
    asker: Asker, questions: Sequence[GoldQuestion], batch: int, should_stop: ShouldStop = never
) -> Iterator[list[Trace]]:
    """The traces of each batch as soon as it has finished.

    After `should_stop` or a failure, those questions of the batch that have finished are still
    yielded; then the failure is raised.
    """
    if batch < 1:
        raise InvalidInputError(f"batch={batch}; expected at least 1; change it")
    with tqdm(total=len(questions), desc="Asking", unit="question", disable=None) as bar:
        for start in range(0, len(questions), batch):
            if should_stop():
                return
            traces, failure = _ask_batch(asker, questions[start : start + batch], should_stop)
            yield traces
            bar.update(len(traces))
            if failure is not None:
                raise failure


def _ask_batch(
    asker: Asker, questions: Sequence[GoldQuestion], should_stop: ShouldStop
) -> tuple[list[Trace], Exception | None]:
    started, clock = time.time(), time.perf_counter()
    submissions = [_submit(asker, question) for question in questions]
    own = {one.handle.request.id: list(one.opening) for one in submissions}
    events = asker.driver.drive(*(one.handle for one in submissions))
    failure = _collect(events, own, should_stop)
    costs = (started, time.perf_counter() - clock, len(questions), peak_memory())
    traces = [
        Trace(question.id, question.text, tuple(own[one.handle.request.id]), *costs)
        for question, one in zip(questions, submissions, strict=True)
        if _is_complete(own[one.handle.request.id])
    ]
    return traces, failure


def _collect(
    events: Generator[Event, None, None],
    own: dict[int, list[Event]],
    should_stop: ShouldStop,
) -> Exception | None:
    """Sort events into `own` by request; returns what a request failed with."""
    try:
        with closing(events):
            for event in events:
                own[event.request_id].append(event)
                if should_stop():
                    break
    except Exception as error:  # raised again once the finished questions are saved
        return error
    return None


def _is_complete(events: Sequence[Event]) -> bool:
    last = events[-1] if events else None
    return isinstance(last, Finished) and last.reason not in ("failed", "cancelled")


def _submit(asker: Asker, question: GoldQuestion) -> Submission:
    try:
        return asker.submit(question)
    except InvalidInputError as error:
        raise InvalidInputError(f"Question {question.id}: {error}") from error


def peak_memory() -> float:
    """The process's peak so far, in MiB; on a GPU, the peak of what torch has allocated there."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / (2**20 if sys.platform == "darwin" else 2**10))
