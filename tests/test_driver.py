"""The driver with a toy engine: any number of threads and tasks, and every way to go wrong."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from onegen_model.driver import Driver, Ticket
from onegen_model.engine.scripted import Script, ScriptedEngine
from onegen_model.errors import (
    ContextTooLongError,
    InvalidInputError,
    PassageTooLongError,
    ProtocolError,
    RetrievalError,
)
from onegen_model.events import (
    Event,
    Finished,
    Passage,
    PassagesInserted,
    Query,
    RetrievalRequested,
    ScoredPassage,
    Token,
)
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.request import State
from onegen_model.template import Renderer

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
        prompt = next(prompt for prompt in self.lines if tuple(ids[: len(prompt)]) == prompt)
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

    def submit(self, question: str, text: str, retriever: Any = None, **options: Any) -> Ticket:
        prompt = self.renderer.question_ids(question)
        self.lines[tuple(prompt)] = self.ids(text)
        return self.driver.submit(prompt, question, retriever, **options)

    def run(self, text: str, retriever: Any = None, **options: Any) -> list[Event]:
        return list(self.driver.drive(self.submit("q?", text, retriever, **options)))


@pytest.fixture
def stage(renderer: Renderer) -> Stage:
    return Stage(renderer)


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


def until_failure(driver: Driver, *tickets: Ticket) -> tuple[list[Event], Exception | None]:
    events: list[Event] = []
    try:
        for event in driver.drive(*tickets):
            events.append(event)
    except Exception as error:
        return events, error
    return events, None


async def auntil_failure(driver: Driver, *tickets: Ticket) -> tuple[list[Event], Exception | None]:
    events: list[Event] = []
    try:
        async for event in driver.adrive(*tickets):
            events.append(event)
    except Exception as error:
        return events, error
    return events, None


async def collect(driver: Driver, *tickets: Ticket) -> list[Event]:
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


# One request


def test_a_request_from_question_to_answer(stage: Stage) -> None:
    library = Library()
    ticket = stage.submit("Where from?", TWO_HOPS, library)
    events = list(stage.driver.drive(ticket))
    assert spans(events) == TWO_HOPS.split("[RQ]")
    assert [event.text for event in of(events, RetrievalRequested)] == [
        "Who wrote it?",
        "Where is she from?",
    ]
    assert [one.hop for one in of(events, PassagesInserted)] == [0, 1]
    names = [[one.passage.id for one in event.passages] for event in of(events, PassagesInserted)]
    assert names[0] == ["Who wrote it? 0", "Who wrote it? 1"]
    usage = ticket.request.usage
    assert events[-1] == Finished(ticket.request.id, "end", usage)
    assert usage.forwarded == len(ticket.request.ids) - 1
    assert usage.written == len(of(events, Token))


def test_a_query_carries_all_a_retriever_may_want(stage: Stage) -> None:
    library = Library()
    retrieval = RetrievalParams(top_k=1, filter={"lang": "de"})
    events = stage.run("\n  one?\n\n[RQ]a[RQ]b", library, retrieval=retrieval)
    (first,), (second,) = library.calls
    embedding = of(events, RetrievalRequested)[0].query_embedding
    assert first == Query(embedding, "one?", 1, {"lang": "de"}, ())
    assert (second.text, second.exclude) == ("a", ("one? 0",))


def test_always_asks_with_the_question(stage: Stage) -> None:
    library = Library()
    ticket = stage.submit(
        "Who?", "[RQ]Ann", library, retrieval=RetrievalParams(mode="always", max_retrievals=1)
    )
    events = list(stage.driver.drive(ticket))
    assert of(events, Token)[0].forced
    assert library.calls[0][0].text == "Who?"
    assert spans(events) == ["", "Ann"]


def test_without_a_retriever_no_query_token_is_written(stage: Stage) -> None:
    events = stage.run("a[RQ]b", sampling=SamplingParams(max_new_tokens=6))
    assert not of(events, RetrievalRequested)
    ids = [event.token_id for event in of(events, Token)]
    assert stage.renderer.query_id not in ids
    with pytest.raises(InvalidInputError, match='"always" without a retriever'):
        stage.submit("q", "a", retrieval=RetrievalParams(mode="always"))


def test_extra_end_tokens_end_a_request(renderer: Renderer) -> None:
    stage = Stage(renderer)
    (comma,) = renderer.text_ids(",")
    stage.driver = Driver(stage.engine, renderer, [comma])
    events = stage.run("a,b")
    assert (spans(events), reason(events)) == (["a"], "end")


def test_a_long_prompt_is_refused_at_submit(renderer: Renderer) -> None:
    with pytest.raises(ContextTooLongError):
        Stage(renderer, max_context=5).submit("q", "a")


def test_steps_without_events_are_fine(renderer: Renderer) -> None:
    expected = anonymous(Stage(renderer).run(TWO_HOPS, Library()))
    assert anonymous(Stage(renderer, chunk_size=3).run(TWO_HOPS, Library())) == expected


def test_a_ticket_has_one_consumer(stage: Stage) -> None:
    ticket = stage.submit("q", "a")
    list(stage.driver.drive(ticket))
    with pytest.raises(ProtocolError, match="driven twice"):
        stage.driver.drive(ticket)
    other = stage.submit("q", "a")
    with pytest.raises(ProtocolError, match="driven twice"):
        stage.driver.adrive(other, other)


def test_passages_arrive_before_they_are_read(stage: Stage) -> None:
    ticket = stage.submit("q", "a[RQ]b", Library())
    for event in stage.driver.drive(ticket):
        if isinstance(event, PassagesInserted):
            assert len(ticket.request.unread) == event.num_tokens


# Text


@pytest.mark.parametrize(
    ("stop", "text", "why"),
    [
        (("\n",), "Ann Bö", "stop"),
        (("er",), "Ann Bö\nWh", "stop"),
        (("Bö\nWhere",), "Ann ", "stop"),
        (("she from?Kö",), "Ann Bö\nWhere is she from?", "length"),
    ],
)
def test_stop_strings(stage: Stage, stop: tuple[str, ...], text: str, why: str) -> None:
    written = "Ann Bö\nWhere is she from?"
    sampling = SamplingParams(stop=stop, max_new_tokens=len(stage.ids(written)) - 1)
    ticket = stage.submit("q", written, sampling=sampling)
    events = list(stage.driver.drive(ticket))
    assert (spans(events), reason(events)) == ([text], why)
    assert ticket.request.usage.forwarded == len(ticket.request.ids) - 1


def test_a_stop_string_is_looked_for_in_one_span_at_a_time(stage: Stage) -> None:
    events = stage.run("ab[RQ]cd", Library(), sampling=SamplingParams(stop=("bc", "d")))
    assert (spans(events), reason(events)) == (["ab", "c"], "stop")


@pytest.mark.parametrize("num_tokens", range(1, 12))
def test_text_is_complete_wherever_the_length_cuts(stage: Stage, num_tokens: int) -> None:
    sampling = SamplingParams(max_new_tokens=num_tokens, stop=("東 and",))
    events = stage.run("a🙂東東東", sampling=sampling)
    ids = [event.token_id for event in of(events, Token)]
    expected = stage.renderer.tokenizer.decode(ids, skip_special_tokens=True)
    assert spans(events) == [expected]


# What retrievers answer


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ([], []),
        ([hit("a")], ["a"]),
        ([hit("a"), hit("b"), hit("c"), hit("d")], ["a", "b"]),
        ([hit("a"), hit("a"), hit("b")], ["a", "b"]),
        ((hit("a"), hit("b")), ["a", "b"]),
    ],
)
def test_what_is_inserted_of_an_answer(stage: Stage, answer: Any, names: list[str]) -> None:
    events = stage.run("x[RQ]y", Answering(lambda queries: [answer]))
    (inserted,) = of(events, PassagesInserted)
    assert [one.passage.id for one in inserted.passages] == names
    assert inserted.num_tokens >= 2
    assert reason(events) == "end"


def test_no_passage_is_inserted_twice(stage: Stage) -> None:
    same = Answering(lambda queries: [[hit("a"), hit("b"), hit("c")] for _ in queries])
    events = stage.run("x[RQ]y[RQ]z[RQ]", same)
    names = [[one.passage.id for one in event.passages] for event in of(events, PassagesInserted)]
    assert names == [["a", "b"], ["c"], []]
    assert [call[0].exclude for call in same.calls] == [(), ("a", "b"), ("a", "b", "c")]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (None, "with NoneType; expected a list of passages for each query"),
        ([], "with 0 lists"),
        ([[], []], "with 2 lists"),
        ([None], "a query with NoneType; expected a list of ScoredPassage"),
        ([[None]], "a query with NoneType"),
        ([["text"]], "a query with str"),
        ([[Passage("a", "b")]], "a query with Passage"),
    ],
)
def test_a_wrong_answer_names_the_retriever(stage: Stage, answers: Any, message: str) -> None:
    retriever = Answering(lambda queries: answers)
    events, error = until_failure(stage.driver, stage.submit("q", "x[RQ]y", retriever))
    assert reason(events) == "failed"
    assert isinstance(error, RetrievalError)
    assert str(error).startswith("Answering answered")
    assert message in str(error)
    assert stage.engine.is_idle


def test_a_passage_that_the_renderer_refuses(stage: Stage) -> None:
    long = Answering(lambda queries: [[hit("a", text="word " * 99)]])
    events, error = until_failure(stage.driver, stage.submit("q", "x[RQ]y", long))
    assert reason(events) == "failed"
    assert isinstance(error, PassageTooLongError)


def test_a_retriever_that_raises(stage: Stage) -> None:
    def fail(queries: Sequence[Query]) -> None:
        raise OSError("no connection")

    events, error = until_failure(stage.driver, stage.submit("q", "x[RQ]y", Answering(fail)))
    assert [type(event) for event in events[-2:]] == [RetrievalRequested, Finished]
    assert reason(events) == "failed"
    assert isinstance(error, RetrievalError)
    assert "Answering raised OSError: no connection" in str(error)
    assert isinstance(error.__cause__, OSError)
    assert reason(stage.run("x[RQ]y", Library())) == "end"


@pytest.mark.parametrize("use", ["sync", "async"])
async def test_only_the_culprit_of_a_call_fails(stage: Stage, use: str) -> None:
    def answer(queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        if any(query.text == "b" for query in queries):
            raise ValueError("bad")
        return [[hit("a")] for _ in queries]

    class Both(Answering):
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            return self.retrieve(queries)

    retriever = Both(answer)
    tickets = [stage.submit(f"q{i}", f"{text}[RQ]y", retriever) for i, text in enumerate(WORDS)]
    if use == "sync":
        events, error = until_failure(stage.driver, *tickets)
    else:
        events, error = await auntil_failure(stage.driver, *tickets)
    assert isinstance(error, RetrievalError)
    assert "Both raised ValueError: bad" in str(error)
    assert [len(call) for call in retriever.calls] == [3, 1, 1, 1]
    reasons = {event.request_id: event.reason for event in of(events, Finished)}
    assert list(map(reasons.get, range(3))) == ["end", "failed", "end"]


WORDS = ("a", "b", "c")


def test_something_that_is_no_retriever(stage: Stage) -> None:
    with pytest.raises(InvalidInputError, match="int is not a retriever"):
        stage.submit("q", "a", 3)


async def test_an_async_retriever_in_synchronous_use(stage: Stage) -> None:
    ticket = stage.submit("q", "x[RQ]y", AsyncLibrary())
    with pytest.raises(InvalidInputError, match="AsyncLibrary has only `aretrieve`"):
        stage.driver.drive(ticket)
    assert reason(await collect(stage.driver, ticket)) == "end"


# Sync, async, together or alone: the same events


@pytest.fixture
def texts() -> list[str]:
    return [f"{'why ' * (i % 5)}{i}?[RQ]so\n{'x' * i}[RQ]{TWO_HOPS[-i % 9 :]}" for i in range(32)]


@pytest.fixture
def alone(renderer: Renderer, texts: list[str]) -> list[list[Event]]:
    """What each request of `texts` tells when it is the only one."""
    stage = Stage(renderer)
    return [
        anonymous(stage.driver.drive(stage.submit(f"q{i}", text, Library())))
        for i, text in enumerate(texts)
    ]


def submit_all(stage: Stage, texts: Sequence[str], retriever: Any) -> list[Ticket]:
    return [stage.submit(f"q{i}", text, retriever) for i, text in enumerate(texts)]


def by_request(tickets: Sequence[Ticket], events: Sequence[Event]) -> list[list[Event]]:
    return [
        anonymous(event for event in events if event.request_id == ticket.request.id)
        for ticket in tickets
    ]


def test_many_tickets_in_one_thread(stage: Stage, texts: Any, alone: Any) -> None:
    tickets = submit_all(stage, texts, Library())
    assert by_request(tickets, list(stage.driver.drive(*tickets))) == alone


@pytest.mark.parametrize("make", [Library, AsyncLibrary])
async def test_tasks_see_what_threads_see(stage: Stage, texts: Any, alone: Any, make: Any) -> None:
    tickets = submit_all(stage, texts, make())
    found = await asyncio.wait_for(
        asyncio.gather(*(collect(stage.driver, ticket) for ticket in tickets)), TIMEOUT
    )
    assert list(map(anonymous, found)) == alone


async def test_many_tickets_in_one_task(stage: Stage, texts: Any, alone: Any) -> None:
    tickets = submit_all(stage, texts, AsyncLibrary())
    assert by_request(tickets, await collect(stage.driver, *tickets)) == alone


def test_threads_one_paused_one_closed(stage: Stage, texts: Any, alone: Any) -> None:
    tickets = submit_all(stage, texts, Library())
    found: list[list[Event]] = [[] for _ in tickets]
    paused, closed = 3, 5
    others_are_done = threading.Event()

    def consume(i: int) -> None:
        stream = stage.driver.drive(tickets[i])
        for event in stream:
            found[i].append(event)
            if i == paused and len(found[i]) == 2:
                others_are_done.wait(TIMEOUT)
            if i == closed and len(found[i]) == 2:
                stream.close()

    def resume() -> None:
        in_threads(*(lambda i=i: consume(i) for i in range(32) if i != paused))
        others_are_done.set()

    in_threads(lambda: consume(paused), resume)
    assert len(found[closed]) == 2
    assert tickets[closed].request.state is State.FINISHED
    found[closed] = alone[closed]
    assert list(map(anonymous, found)) == alone


@pytest.mark.parametrize("delay", [0, 0.003])
def test_threads_and_event_loops_on_one_driver(
    renderer: Renderer, texts: Any, alone: Any, delay: float
) -> None:
    stage = Stage(renderer, chunk_size=16)

    class Both(Library):
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            await asyncio.sleep(delay)
            return Library().retrieve(queries)

    tickets = submit_all(stage, texts, Both(delay))
    found: list[list[Event]] = [[] for _ in tickets]

    def in_thread(i: int) -> None:
        found[i] = list(stage.driver.drive(tickets[i]))

    def in_loop(*numbers: int) -> None:
        async def main() -> None:
            tasks = (collect(stage.driver, tickets[i]) for i in numbers)
            for i, events in zip(numbers, await asyncio.gather(*tasks), strict=True):
                found[i] = events

        asyncio.run(main())

    threads = [lambda i=i: in_thread(i) for i in range(12)]
    in_threads(*threads, lambda: in_loop(*range(12, 22)), lambda: in_loop(*range(22, 32)))
    assert list(map(anonymous, found)) == alone


async def test_consumers_in_all_threads_of_the_executor(stage: Stage, texts: Any) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    tickets = submit_all(stage, texts[:6], Library(0.01))
    jobs = [
        asyncio.to_thread(lambda ticket: list(stage.driver.drive(ticket)), ticket)
        if i % 2
        else collect(stage.driver, ticket)
        for i, ticket in enumerate(tickets)
    ]
    found = await asyncio.wait_for(asyncio.gather(*jobs), TIMEOUT)
    assert [reason(events) for events in found] == ["end"] * 6


# Retrieval and stepping


def test_retrievals_that_wait_go_in_one_call(stage: Stage) -> None:
    library, other = Library(), Library()
    tickets = [stage.submit(f"q{i}", "ab[RQ]c", library) for i in range(4)]
    tickets.append(stage.submit("q9", "ab[RQ]c", other))
    list(stage.driver.drive(*tickets))
    assert [len(call) for call in library.calls] == [4]
    assert [len(call) for call in other.calls] == [1]


async def test_retrievals_of_tasks_go_in_one_call(stage: Stage) -> None:
    library = AsyncLibrary()
    tickets = [stage.submit(f"q{i}", "ab[RQ]c", library) for i in range(4)]
    await asyncio.gather(*(collect(stage.driver, ticket) for ticket in tickets))
    assert [len(call) for call in library.library.calls] == [4]


def test_a_slow_retriever_stops_no_other_thread(stage: Stage) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wait(queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        asked.set()
        assert go_on.wait(TIMEOUT)
        return [[] for _ in queries]

    slow = stage.submit("slow", "a[RQ]b", Answering(wait))
    fast = stage.submit("fast", TWO_HOPS, Library())

    def others() -> None:
        assert asked.wait(TIMEOUT)
        assert reason(list(stage.driver.drive(fast))) == "end"
        go_on.set()

    in_threads(lambda: list(stage.driver.drive(slow)), others)


async def test_a_slow_retriever_stops_no_other_task(stage: Stage) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            asked.set()
            await go_on.wait()
            return [[] for _ in queries]

    slow = asyncio.create_task(collect(stage.driver, stage.submit("slow", "a[RQ]b", Slow())))
    await asked.wait()
    assert reason(await collect(stage.driver, stage.submit("fast", TWO_HOPS, Library()))) == "end"
    go_on.set()
    assert reason(await slow) == "end"


async def test_the_event_loop_is_never_blocked(stage: Stage) -> None:
    def nap(ids: Sequence[int]) -> int:
        time.sleep(0.1)
        return 0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    longest = 0.0
    stage.before_step = nap
    ticking = asyncio.create_task(tick())
    tickets = [stage.submit(f"q{i}", "ab[RQ]c", Library(0.2)) for i in range(2)]
    await asyncio.gather(*(collect(stage.driver, ticket) for ticket in tickets))
    ticking.cancel()
    assert longest < 0.15  # A step of two scripts takes 200 ms, and so does a retrieval.


# Consumers that leave


def test_a_closed_generator_cancels_its_request(stage: Stage) -> None:
    ticket = stage.submit("q", "abc")
    stream = stage.driver.drive(ticket)
    next(stream)
    stream.close()
    assert ticket.request.state is State.FINISHED
    assert ticket.request.usage.forwarded == ticket.request.num_read
    assert stage.engine.is_idle


def test_a_forgotten_generator_cancels_its_request(stage: Stage) -> None:
    stream = stage.driver.drive(stage.submit("q", "abc"))
    next(stream)
    loop: list[Any] = [stream]
    loop.append(loop)
    del stream, loop
    gc.collect()
    assert stage.engine.is_idle


def test_a_forgotten_ticket_cancels_its_request(stage: Stage) -> None:
    ticket = stage.submit("q", "abc")
    request = ticket.request
    del ticket
    assert request.state is State.FINISHED
    stream = stage.driver.drive(stage.submit("q", "abc"))
    del stream
    assert stage.engine.is_idle


def test_a_driven_ticket_need_not_be_kept(stage: Stage) -> None:
    stream = stage.driver.drive(stage.submit("q", "abc"))
    gc.collect()
    assert reason(list(stream)) == "end"


def test_cancel_from_another_thread(stage: Stage) -> None:
    started = threading.Event()

    def wait(ids: Sequence[int]) -> int:
        started.set()
        time.sleep(0.001)
        return 0

    stage.before_step = wait
    ticket = stage.submit("q", "long " * 200)
    found: list[Event] = []

    def cancel() -> None:
        assert started.wait(TIMEOUT)
        stage.driver.cancel(ticket)

    in_threads(lambda: found.extend(stage.driver.drive(ticket)), cancel)
    assert reason(found) == "cancelled"


@pytest.mark.parametrize("retrieves", [True, False])
async def test_a_cancelled_task_cancels_its_request_alone(stage: Stage, retrieves: bool) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    calls = []

    class Slow:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            calls.append(len(queries))
            asked.set()
            await go_on.wait()
            return [[] for _ in queries]

    text = "a[RQ]b" if retrieves else "a" * 300
    slow = Slow()
    tickets = [stage.submit(f"q{i}", text, slow) for i in range(3)]
    tasks = [asyncio.create_task(collect(stage.driver, ticket)) for ticket in tickets]
    await (asked.wait() if retrieves else asyncio.sleep(0.01))
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    go_on.set()
    for task in tasks[1:]:
        assert reason(await asyncio.wait_for(task, TIMEOUT)) in ("end", "length")
    assert tickets[0].request.state is State.FINISHED
    assert calls == [3] * retrieves


async def test_a_retrieval_nobody_wants_is_cancelled(stage: Stage) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    class Slow:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            asked.set()
            try:
                await asyncio.sleep(TIMEOUT)
            finally:
                cancelled.set()
            return []

    task = asyncio.create_task(collect(stage.driver, stage.submit("q", "a[RQ]b", Slow())))
    await asked.wait()
    task.cancel()
    await asyncio.wait_for(cancelled.wait(), TIMEOUT)


async def test_a_retriever_that_cancels_itself_fails(stage: Stage) -> None:
    class Odd:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            raise asyncio.CancelledError

    with pytest.raises(RetrievalError, match="Odd raised CancelledError"):
        await asyncio.wait_for(collect(stage.driver, stage.submit("q", "a[RQ]b", Odd())), TIMEOUT)


async def test_a_task_keeps_no_retrieval_that_is_over(stage: Stage) -> None:
    made: list[weakref.ref[Any]] = []

    class Remembering:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            made.append(weakref.ref(asyncio.current_task()))
            return [[] for _ in queries]

    ticket = stage.submit("q", "a[RQ]b[RQ]c[RQ]d[RQ]efgh", Remembering())
    events = stage.driver.adrive(ticket)
    async for event in events:
        if isinstance(event, Finished):
            break
    gc.collect()
    assert len(made) == 4
    assert sum(task() is not None for task in made) <= 1, "the latest"
    await events.aclose()


def test_a_loop_that_ends_leaves_its_retrievals_to_others(stage: Stage) -> None:
    calls = []

    class HangsOnce:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            calls.append(len(queries))
            await asyncio.sleep(TIMEOUT if len(calls) == 1 else 0)
            return [[] for _ in queries]

    retriever = HangsOnce()
    first, second = (stage.submit(f"q{i}", "a[RQ]b", retriever) for i in range(2))
    rest = stage.driver.adrive(second)

    async def leave() -> None:
        task = asyncio.create_task(collect(stage.driver, first))
        while not calls:
            await asyncio.sleep(0.001)
        assert not task.done()

    async def stay() -> list[Event]:
        return [event async for event in rest]

    asyncio.run(leave())
    assert reason(asyncio.run(asyncio.wait_for(stay(), TIMEOUT))) == "end"
    assert first.request.state is State.FINISHED
    assert calls == [2, 1]


# Interrupts and broken engines


def test_an_interrupted_retrieval_is_made_by_others(stage: Stage) -> None:
    def interrupt(queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        if len(queries) == 2:
            raise KeyboardInterrupt
        return [[hit("a")] for _ in queries]

    retriever = Answering(interrupt)
    one = stage.submit("q1", "a[RQ]b", retriever)
    two = stage.submit("q2", "a[RQ]b", retriever)
    with pytest.raises(KeyboardInterrupt):
        list(stage.driver.drive(one))
    assert one.request.state is State.FINISHED
    assert reason(list(stage.driver.drive(two))) == "end"
    assert [len(call) for call in retriever.calls] == [2, 1]


def test_an_interrupted_step_costs_the_others_nothing(stage: Stage) -> None:
    def interrupt(ids: Sequence[int]) -> int:
        stage.num_steps += 1
        if stage.num_steps == 6:
            raise KeyboardInterrupt
        return 0

    expected = anonymous(stage.run(TWO_HOPS, Library()))
    stage.before_step = interrupt
    one = stage.submit("q1", TWO_HOPS, Library())
    two = stage.submit("q2", TWO_HOPS, Library())
    with pytest.raises(KeyboardInterrupt):
        list(stage.driver.drive(one))
    assert one.request.state is State.FINISHED
    events = anonymous(stage.driver.drive(two))
    assert spans(events) == spans(expected)
    assert reason(events) == "end"


def test_an_interrupted_admission_leaves_the_engine_free(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    one, two = stage.submit("q1", "a"), stage.submit("q2", "a")
    with monkeypatch.context() as patch:
        patch.setattr(stage.engine, "add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(stage.driver.drive(two))
    assert [event.reason for event in of(one.stream.events, Finished)] == ["failed"]
    assert reason(stage.run("a")) == "end"


def test_only_requests_with_a_lost_event_end_after_an_interrupt(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = stage.engine.step

    def lose() -> list[Event]:
        nothing_of_two_to_lose = two.request.state is State.AWAITING_PASSAGES
        events = step()
        if nothing_of_two_to_lose:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return events

    monkeypatch.setattr(stage.engine, "step", lose)
    one = stage.submit("q1", "abcdef", Library())
    two = stage.submit("q2", "a[RQ]b", Library())
    with pytest.raises(KeyboardInterrupt):
        list(stage.driver.drive(one))
    assert [event.reason for event in of(one.stream.events, Finished)] == ["failed"]
    assert reason(list(stage.driver.drive(two))) == "end"


def test_an_event_told_after_an_interrupt_has_ended_its_request_is_dropped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, late = stage.engine.step, list[Event]()

    def interrupted() -> list[Event]:
        late.extend(step())
        monkeypatch.setattr(stage.engine, "step", lambda: [*late, *step()])
        raise KeyboardInterrupt

    monkeypatch.setattr(stage.engine, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage.run("abc")
    assert late
    assert reason(stage.run("abc")) == "end"


@pytest.mark.parametrize("use", ["sync", "async"])
async def test_a_step_that_raises_fails_all_and_harms_no_later_request(
    stage: Stage, use: str
) -> None:
    def fail(ids: Sequence[int]) -> int:
        stage.num_steps += 1
        if stage.num_steps == 6:
            raise MemoryError("full")
        return 0

    stage.before_step = fail
    tickets = [stage.submit(f"q{i}", TWO_HOPS, Library()) for i in range(2)]
    for ticket in tickets:
        if use == "sync":
            events, error = until_failure(stage.driver, ticket)
            assert reason(events) == "failed"
            assert isinstance(error, MemoryError)
        else:
            with pytest.raises(MemoryError):
                await collect(stage.driver, ticket)
    assert reason(stage.run(TWO_HOPS, Library())) == "end"


def test_an_engine_that_breaks_for_good(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("broken")

    ticket = stage.submit("q", "abc")
    stream = stage.driver.drive(ticket)
    next(stream)
    for name in ("step", "finish", "add"):
        monkeypatch.setattr(stage.engine, name, broken)
    events = []
    with pytest.raises(RuntimeError, match="broken"):
        events += list(stream)
    events, error = until_failure(stage.driver, stage.submit("q", "abc"))
    assert (reason(events), str(error)) == ("failed", "broken")


def test_an_insert_that_raises_fails_its_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise MemoryError("full")

    with monkeypatch.context() as patch:
        patch.setattr(stage.engine, "insert", full)
        events, error = until_failure(stage.driver, stage.submit("q", "a[RQ]b", Library()))
    assert (reason(events), type(error)) == ("failed", MemoryError)
    assert reason(stage.run("a[RQ]b", Library())) == "end"


def test_text_that_cannot_be_decoded_fails_its_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stage.submit("q1", "abc"), stage.submit("q2", "abc")

    def fail(token_id: int) -> str:
        raise ValueError("no text")

    monkeypatch.setattr(one.stream._text, "push", fail)
    events, error = until_failure(stage.driver, one)
    assert (events[-1:], str(error)) == ([of(events, Finished)[0]], "no text")
    assert reason(list(stage.driver.drive(two))) == "end"


# The toy engine


def test_the_default_script_is_deterministic(renderer: Renderer) -> None:
    def run() -> list[Event]:
        engine = ScriptedEngine(len(renderer.tokenizer))
        driver = Driver(engine, renderer)
        ticket = driver.submit(renderer.question_ids("Why?"), "Why?", Library())
        return list(driver.drive(ticket))

    assert run() == run()


def test_masked_ids_give_way_to_the_next(renderer: Renderer) -> None:
    passage = renderer.passage_id
    engine = ScriptedEngine(len(renderer.tokenizer), lambda ids: passage, dimension=3)
    driver = Driver(engine, renderer)
    ticket = driver.submit([5], "q", sampling=SamplingParams(max_new_tokens=3))
    written = [event.token_id for event in of(driver.drive(ticket), Token)]
    assert not {*written} & ticket.request.masked
    embedding = engine.embed([1, 2])
    assert abs(sum(x * x for x in embedding) - 1) < 1e-6
    assert len(embedding) == 3
    with pytest.raises(ProtocolError, match="is not here"):
        engine.finish(7, "cancelled")
