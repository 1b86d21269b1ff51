"""What a driver makes of the answers of a retriever."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from onegen_model.errors import (
    InvalidInputError,
    RetrievalError,
)
from onegen_model.events import (
    Finished,
    Passage,
    PassagesInserted,
    Query,
    RetrievalRequested,
    ScoredPassage,
    event_to_dict,
)
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import (
    Answering,
    AsyncLibrary,
    Library,
    Stage,
    auntil_failure,
    collect,
    hit,
    of,
    reason,
    until_failure,
)


@pytest.fixture
def stage(renderer: Renderer) -> Stage:
    return Stage(renderer)


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
def test_a_retrievers_answer_is_sorted_cut_and_inserted(
    stage: Stage, answer: Any, names: list[str]
) -> None:
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
        ([[ScoredPassage("a", 0.5)]], "a passage of type str; expected Passage(id, text)"),
        ([[ScoredPassage(Passage("a", None), 0.5)]], "the text of passage 'a' of type NoneType"),
        ([[ScoredPassage(Passage("a", "b", metadata=None), 0.5)]], "the metadata of passage 'a'"),
        ([[ScoredPassage(Passage("a", "b"), None)]], "the score of passage 'a' of type NoneType"),
        ([[ScoredPassage(Passage("a", "b"), "0.5")]], "the score of passage 'a' of type str"),
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


def test_scores_of_numpy_become_plain_numbers(stage: Stage) -> None:
    found = ScoredPassage(Passage("a", "b"), np.float32(0.5))  # type: ignore[arg-type]
    events = stage.run("x[RQ]y", Answering(lambda queries: [[found] for _ in queries]))
    (inserted,) = of(events, PassagesInserted)
    assert json.dumps(event_to_dict(inserted))


def test_a_hit_that_is_too_long_is_cut_and_named(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    long = Answering(lambda queries: [[hit("handbook", text="word " * 99)]])
    events = stage.run("x[RQ]y", long)
    (inserted,) = of(events, PassagesInserted)
    (scored,) = inserted.passages
    assert reason(events) == "end"
    assert scored.passage.text.startswith("word word")
    assert inserted.num_tokens <= stage.renderer.max_passage_tokens + 2
    assert "'handbook' is longer than" in caplog.text


def test_a_title_that_is_too_long_is_cut_with_its_passage(stage: Stage) -> None:
    passage = Passage("p", "The answer is here.", "very long title " * 40)
    events = stage.run("x[RQ]y", Answering(lambda queries: [[ScoredPassage(passage, 1.0)]]))
    (inserted,) = of(events, PassagesInserted)
    assert reason(events) == "end"
    assert "The answer" in inserted.passages[0].passage.text


def test_one_empty_hit_does_not_fail_the_question(stage: Stage) -> None:
    empty = ScoredPassage(Passage("blank", "  \n"), 0.9)
    events = stage.run("x[RQ]y", Answering(lambda queries: [[empty, hit("b")]]))
    (inserted,) = of(events, PassagesInserted)
    assert [one.passage.id for one in inserted.passages] == ["b"]
    asked = stage.submit("q", "x[RQ]y", Answering(lambda queries: [[empty]]))
    events, error = until_failure(stage.driver, asked)
    assert reason(events) == "failed"
    assert "Passage 'blank' is empty" in str(error)


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
