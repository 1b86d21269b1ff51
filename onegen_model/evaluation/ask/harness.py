"""Asks a model question after question, a batch at a time, and keeps every event."""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from tqdm import tqdm

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.questions import Question
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.events import Event
from onegen_model.generation.driver import Driver
from onegen_model.generation.handle import RequestHandle
from onegen_model.model import OneGenModel
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.retrieval.protocol import AnyRetriever


@dataclass(frozen=True, slots=True)
class Submitted:
    """A ticket, and the events that came before those of its request."""

    ticket: RequestHandle
    opening: tuple[Event, ...] = ()


class Asker(Protocol):
    """A way to put a question to a model."""

    @property
    def driver(self) -> Driver: ...

    def submit(self, question: Question) -> Submitted: ...


@dataclass(frozen=True, slots=True)
class OnePass:
    """The model writes, and retrieves when it wants to."""

    model: OneGenModel
    retriever_of: Callable[[Question], AnyRetriever | None]
    sampling: SamplingParams
    retrieval_of: Callable[[Question], RetrievalParams]

    @property
    def driver(self) -> Driver:
        return self.model.driver

    def submit(self, question: Question) -> Submitted:
        retriever, retrieval = self.retriever_of(question), self.retrieval_of(question)
        return Submitted(self.model.submit(question.text, retriever, self.sampling, retrieval))


def ask(asker: Asker, questions: Sequence[Question], batch: int) -> Iterator[list[Trace]]:
    """The traces of each batch as soon as it is done; raises what a question failed with."""
    if batch < 1:
        raise InvalidInputError(f"batch={batch}; expected at least 1; change it")
    with tqdm(total=len(questions), desc="Asking", unit="question", disable=None) as bar:
        for start in range(0, len(questions), batch):
            some = questions[start : start + batch]
            yield _ask_batch(asker, some)
            bar.update(len(some))


def _ask_batch(asker: Asker, questions: Sequence[Question]) -> list[Trace]:
    started, clock = time.time(), time.perf_counter()
    submitted = [_submit(asker, question) for question in questions]
    own: dict[int, list[Event]] = {one.ticket.request.id: list(one.opening) for one in submitted}
    for event in asker.driver.drive(*(one.ticket for one in submitted)):
        own[event.request_id].append(event)
    costs = (started, time.perf_counter() - clock, len(questions), peak_memory())
    return [
        Trace(question.id, question.text, tuple(own[one.ticket.request.id]), *costs)
        for question, one in zip(questions, submitted, strict=True)
    ]


def _submit(asker: Asker, question: Question) -> Submitted:
    try:
        return asker.submit(question)
    except InvalidInputError as error:
        raise InvalidInputError(f"Question {question.id}: {error}") from error


def peak_memory() -> float:
    """Of this process so far, in MiB; where there is a GPU, what torch took of it."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / (2**20 if sys.platform == "darwin" else 2**10))
