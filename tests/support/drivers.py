"""A driver whose toy engine writes what a test says, retrievers, and ways to drive it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from onegen_model.engine.scripted import Script, ScriptedEngine
from onegen_model.events import (
    Event,
    Finished,
    Passage,
    PassagesInserted,
    Query,
    ScoredPassage,
    Token,
)
from onegen_model.generation.driver import Driver
from onegen_model.generation.handle import RequestHandle
from onegen_model.inputs import Prompt
from onegen_model.transcript.renderer import Renderer

TIMEOUT = 20
TWO_HOPS = "Who wrote it?[RQ]Ann Bö\nWhere is she from?[RQ]Köln 東\n<FINAL-ANSWER>Köln"


def hit(name: str, score: float = 0.5, text: str = "text") -> ScoredPassage:
    return ScoredPassage(Passage(name, f"{text} {name}"), score)


class Library:
    """Answers "<query text> 0", "… 1", …; remembers each call."""

    def __init__(self, delay: float = 0) -> None:
        self.calls: list[list[Query]] = []
        self.delay = delay

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        self.calls.append(list(queries))
        time.sleep(self.delay)
        return [
            [hit(f"{query.text} {i}", -i, "p") for i in range(query.top_k)] for query in queries
        ]


class AsyncLibrary:
    def __init__(self, delay: float = 0) -> None:
        self.library = Library()
        self.delay = delay

    async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        await asyncio.sleep(self.delay)
        return self.library.retrieve(queries)


class Answering:
    """A retriever made of a function."""

    def __init__(self, answer: Callable[[Sequence[Query]], Any]) -> None:
        self.answer = answer
        self.calls: list[list[Query]] = []

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        self.calls.append(list(queries))
        answers: list[list[ScoredPassage]] = self.answer(queries)
        return answers


class Stage:
    """A driver whose toy model writes what the test has put into `lines`, question by question."""

    def __init__(self, renderer: Renderer, **options: Any) -> None:
        self.renderer = renderer
        self.lines: dict[tuple[int, ...], list[int]] = {}
        self.before_step: Script = lambda ids: 0
        self.num_steps = 0
        size = len(renderer.tokenizer)
        self.engine = ScriptedEngine(size, self.script, **{"max_context": 4096, **options})
        self.driver = Driver(self.engine, renderer)

    def script(self, ids: Sequence[int]) -> int:
        self.before_step(ids)
        frame_start, frame_end = self.renderer.empty_frame
        prompt = next(prompt for prompt in [*self.lines] if tuple(ids[: len(prompt)]) == prompt)
        num_written, inside = 0, False
        for token_id in ids[len(prompt) :]:
            inside = inside or token_id == frame_start
            num_written += not inside
            inside = inside and token_id != frame_end
        return self.lines[prompt][num_written]

    def ids(self, text: str) -> list[int]:
        first, *others = (self.renderer.text_ids(piece) for piece in text.split("[RQ]"))
        for piece in others:
            first += [self.renderer.query_id, *piece]
        return [*first, self.renderer.end_id]

    def submit(
        self, question: str, text: str, retriever: Any = None, **options: Any
    ) -> RequestHandle:
        prompt = self.renderer.question_ids(question)
        self.lines[tuple(prompt)] = self.ids(text)
        return self.driver.submit(Prompt(prompt, question), retriever, **options)

    def run(self, text: str, retriever: Any = None, **options: Any) -> list[Event]:
        return list(self.driver.drive(self.submit("q?", text, retriever, **options)))


def anonymous(events: Iterable[Event]) -> list[Event]:
    return [replace(event, request_id=0) for event in events]


def spans(events: Iterable[Event]) -> list[str]:
    found = [""]
    for event in events:
        if isinstance(event, Token):
            found[-1] += event.text
        elif isinstance(event, PassagesInserted):
            found.append("")
    return found


def of(events: Iterable[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def reason(events: Sequence[Event]) -> str:
    end = events[-1]
    assert isinstance(end, Finished)
    assert len(of(events, Finished)) == 1
    return end.reason


def until_failure(driver: Driver, *tickets: RequestHandle) -> tuple[list[Event], Exception | None]:
    events: list[Event] = []
    try:
        for event in driver.drive(*tickets):
            events.append(event)
    except Exception as error:
        return events, error
    return events, None


async def auntil_failure(
    driver: Driver, *tickets: RequestHandle
) -> tuple[list[Event], Exception | None]:
    events: list[Event] = []
    try:
        async for event in driver.adrive(*tickets):
            events.append(event)
    except Exception as error:
        return events, error
    return events, None


async def collect(driver: Driver, *tickets: RequestHandle) -> list[Event]:
    return [event async for event in driver.adrive(*tickets)]


def in_threads(*jobs: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def guarded(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "a consumer hangs"
    if errors:
        raise errors[0]
