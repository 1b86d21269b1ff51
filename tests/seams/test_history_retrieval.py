"""History and retrieval: what the context holds already is neither searched nor counted anew."""

from collections.abc import Sequence

import pytest
from transformers import PreTrainedModel

from onegen_model import (
    Conversation,
    Message,
    OneGenModel,
    Passage,
    Query,
    RetrievalParams,
    SamplingParams,
    ScoredPassage,
    Segment,
)
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import InvalidInputError
from onegen_model.events import PassagesInserted, RetrievalRequested
from tests.conftest import make_tokenizer

SHORT = SamplingParams(max_new_tokens=8)
ONCE = RetrievalParams(mode="always", max_retrievals=1, top_k=2)
TOWNS = tuple(Passage(name, f"{name} lies by the river.") for name in ("Alba", "Brig", "Cary"))


class Towns:
    """Finds all towns, whatever is excluded, as many stores do."""

    def __init__(self) -> None:
        self.asked: list[Query] = []

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        self.asked += queries
        return [[ScoredPassage(town, 1.0) for town in TOWNS] for _ in queries]


@pytest.fixture
def model(tiny_network: PreTrainedModel) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    return OneGenModel(Checkpoint(tiny_network, make_tokenizer(), config, "tiny"))


def test_a_later_turn_inserts_no_passage_twice(model: OneGenModel) -> None:
    towns = Towns()
    first = model.generate("Which towns?", retriever=towns, retrieval=ONCE, sampling=SHORT)
    second = model.generate(
        "Any more?", retriever=towns, retrieval=ONCE, sampling=SHORT, history=first
    )
    third = model.generate(
        "And now?", retriever=towns, retrieval=ONCE, sampling=SHORT, history=second
    )
    found = [[hit.passage.id for hit in one.retrievals[0].passages] for one in (first, second)]
    assert found == [["Alba", "Brig"], ["Cary"]]
    assert third.retrievals[0].passages == ()
    assert third.passage_ids == ("Alba", "Brig", "Cary")
    assert [query.exclude for query in towns.asked] == [
        (),
        ("Alba", "Brig"),
        ("Alba", "Brig", "Cary"),
    ]


def test_a_conversation_inserts_no_passage_twice(model: OneGenModel) -> None:
    towns = Towns()
    conversation = Conversation(
        (
            Message("user", "Which towns?"),
            Message("assistant", segments=(Segment("", True, TOWNS[:1]), Segment("Alba"))),
            Message("user", "Any more?"),
        )
    )
    model.generate(conversation, retriever=towns, retrieval=ONCE, sampling=SHORT)
    assert towns.asked[0].exclude == ("Alba",)
    assert towns.asked[0].question == "Any more?"


def test_a_continued_answer_continues_its_hop_numbers(model: OneGenModel) -> None:
    towns = Towns()
    opening = (Segment("Which?", True, TOWNS[:1]), Segment("Alba\nWhich?", True, TOWNS[1:2]))
    conversation = Conversation(
        (Message("user", "Which towns?"), Message("assistant", segments=opening))
    )
    more = RetrievalParams(mode="always", max_retrievals=3)
    stream = model.stream(conversation, retriever=towns, retrieval=more, sampling=SHORT)
    events = list(stream)
    hops = [e.hop for e in events if isinstance(e, RetrievalRequested | PassagesInserted)]
    assert hops == [2, 2]
    assert towns.asked[0].exclude == ("Alba", "Brig")
    with pytest.raises(InvalidInputError, match=r"max_retrievals=2.*expected at least 3"):
        model.generate(
            conversation,
            retriever=towns,
            retrieval=RetrievalParams(mode="always", max_retrievals=2),
        )
