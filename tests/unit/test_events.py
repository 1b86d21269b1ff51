"""Events are values and survive JSON."""

import json
from array import array
from dataclasses import FrozenInstanceError

import pytest

from onegen_model.events import (
    EVENT_TYPES,
    FINISH_REASONS,
    Event,
    Finished,
    Passage,
    PassagesInserted,
    Query,
    RetrievalRequested,
    ScoredPassage,
    Token,
    Usage,
    event_from_dict,
    event_to_dict,
)

PASSAGE = Passage("p1", "Text with ü.", "Title", {"page": 3, "tags": ["a", "b"]})
EVENTS: list[Event] = [
    Token(1, 42),
    Token(2, 43, forced=True, text="café"),
    Token(2, 44, text="é", logprob=-0.25, top_logprobs=((44, -0.25), (7, -2.5))),
    RetrievalRequested(1, 0, array("f", [0.6, -0.8]), "Who wrote it?"),
    PassagesInserted(1, 0, (ScoredPassage(PASSAGE, 0.25), ScoredPassage(PASSAGE, -1.0)), 17, 2),
    PassagesInserted(1, 1, (), 2),
    PassagesInserted(1, 1, (), 2, reason='Nothing was found for "Köln".'),
    *(Finished(3, reason, Usage(5, 4, 3, 2, 1, 0, 2, 1, 1)) for reason in FINISH_REASONS),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_survives_json(event: Event) -> None:
    plain = json.loads(json.dumps(event_to_dict(event)))
    back = event_from_dict(plain)
    assert back == event
    assert type(back) is type(event)


def test_the_round_trip_covers_every_kind() -> None:
    assert {type(event).__name__ for event in EVENTS} == set(EVENT_TYPES)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_are_frozen_and_hashable(event: Event) -> None:
    with pytest.raises(FrozenInstanceError):
        event.request_id = 9
    assert isinstance(hash(event), int)


def test_an_embedding_comes_back_as_floats_of_the_same_bits() -> None:
    embedding = array("f", [1 / 3, -2 / 3, 1e-30])
    back = event_from_dict(
        json.loads(json.dumps(event_to_dict(RetrievalRequested(0, 0, embedding))))
    )
    assert isinstance(back, RetrievalRequested)
    assert back.query_embedding.tobytes() == embedding.tobytes()


def test_events_of_older_releases_can_be_read() -> None:
    inserted, end = event_to_dict(PassagesInserted(1, 0, (), 2)), event_to_dict(EVENTS[-1])
    del inserted["reason"], end["usage"]["empty_retrievals"]
    assert event_from_dict(inserted) == PassagesInserted(1, 0, (), 2)
    assert event_from_dict(end) == Finished(3, FINISH_REASONS[-1], Usage(5, 4, 3, 2, 1, 0, 2, 1))


def test_an_unknown_event_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        event_from_dict({"event": "Nonsense"})


def test_reading_an_event_leaves_the_dictionary_alone() -> None:
    plain = event_to_dict(EVENTS[0])
    event_from_dict(plain)
    assert plain == event_to_dict(EVENTS[0])


def test_passages_and_queries_with_dictionaries_are_hashable() -> None:
    assert hash(PASSAGE) == hash(Passage("p1", "Text with ü.", "Title"))
    query = Query(array("f", [1.0]), "text", 2, {"lang": "de"}, ("p1",))
    assert isinstance(hash(query), int)


def test_a_printed_query_is_not_a_page_of_numbers() -> None:
    vector = array("f", [0.5] * 576)
    for shown in (repr(RetrievalRequested(1, 0, vector, "Who?")), repr(Query(vector, "Who?", 2))):
        assert "Who?" in shown
        assert len(shown) < 200


def test_log_probabilities_are_written_where_there_are_some() -> None:
    assert "logprob" not in event_to_dict(Token(1, 42, forced=True))
    scored = event_to_dict(Token(1, 42, logprob=-0.5, top_logprobs=((42, -0.5), (7, -1.5))))
    assert (scored["logprob"], scored["top_logprobs"]) == (-0.5, ((42, -0.5), (7, -1.5)))
