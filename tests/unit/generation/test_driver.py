"""The driver with a toy engine: one request, its text, and what a retriever may answer."""

import pytest

from onegen_model.errors import (
    ContextTooLongError,
    InvalidInputError,
    ProtocolError,
)
from onegen_model.events import (
    Finished,
    PassagesInserted,
    Query,
    RetrievalRequested,
    Token,
)
from onegen_model.generation.driver import Driver
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import (
    TWO_HOPS,
    Library,
    Stage,
    anonymous,
    of,
    reason,
    spans,
)


@pytest.fixture
def stage(renderer: Renderer) -> Stage:
    return Stage(renderer)


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
    assert first == Query(embedding, "one?", 1, {"lang": "de"}, (), "q?", 0)
    assert (second.text, second.exclude, second.hop) == ("a", ("one? 0",), 1)


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
    ending = Renderer(renderer.template, renderer.tokenizer, 64, [comma])
    stage.driver = Driver(stage.engine, ending)
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
