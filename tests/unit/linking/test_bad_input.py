"""What `link` refuses; retrievers that fail, and models that cannot be used."""

import asyncio
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from onegen_model import (
    LinkedText,
    LinkingParams,
    OneGenModel,
    Passage,
    PassageIndex,
    ScoredPassage,
)
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import CheckpointError, InvalidInputError, OneGenError, RetrievalError
from onegen_model.places import PassagePlace
from onegen_model.transcript.template import Template
from tests.support.linking_model import (
    ENTITIES,
    TEXT,
    entity_index,
    linking_model,
    linking_network,
    linking_tokenizer,
)

HIT = ScoredPassage(Passage("Q1", "text"), 0.5)


@pytest.fixture(scope="module")
def model() -> OneGenModel:
    return linking_model()


@pytest.fixture(scope="module")
def entities(model: OneGenModel) -> PassageIndex:
    return entity_index(model)


class Answering:
    """A retriever whose answers `job` makes of the queries."""

    def __init__(self, job: Callable[[Sequence[Any]], Any]) -> None:
        self._job = job

    def retrieve(self, queries: Sequence[Any]) -> Any:
        return self._job(queries)


class AnsweringLater:
    """The same for event loops."""

    def __init__(self, job: Callable[[Sequence[Any]], Any]) -> None:
        self._job = job

    async def aretrieve(self, queries: Sequence[Any]) -> Any:
        await asyncio.sleep(0)
        return self._job(queries)


def fail(_: object) -> None:
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("texts", "linking", "message"),
    [
        (7, None, "texts is of type int"),
        (["a", None], None, r"texts\[1\] is None of type NoneType"),
        ("\ud800", None, "lone surrogate"),
        (["a", "b"], [LinkingParams()], "linking has 1 parameters for 2 texts"),
        ("a", "detect", "linking is of type str"),
        ("Ada", LinkingParams(mentions=[(0, 4)]), r"mention \(0, 4\) in a text of 3 characters"),
        ("", LinkingParams(mentions=[(0, 3)]), r"mention \(0, 3\) in a text of 0 characters"),
        (" \n", LinkingParams(mentions=[(0, 1)]), "expected no white space around it"),
        ("Ada", LinkingParams(filter={"a": 1}, candidates=["Q1"]), "a filter and candidates"),
        ("Ada", LinkingParams(mentions=[(1, 1)]), r"expected 0 <= start < end <= 3"),
        ("Ada", LinkingParams(mentions=[(-1, 2)]), r"expected 0 <= start < end <= 3"),
        ("Ada", LinkingParams(mentions=[(0, 2), (1, 3)]), "overlaps the one before"),
        ("Ada", LinkingParams(mentions=[(0, 2), (0, 2)]), "overlaps the one before"),
        ("A da", LinkingParams(mentions=[(0, 2)]), "expected no white space around it"),
        ("e\u0301a", LinkingParams(mentions=[(0, 1)]), "inside a character"),
        ("e\u0301a", LinkingParams(mentions=[(1, 3)]), "inside a character"),
        ("a \u0301b", LinkingParams(mentions=[(2, 4)]), "inside a character"),
        ("a" + "xyz " * 2000 + "a", LinkingParams(mentions=[(0, 8002)]), "expected at most"),
    ],
)
def test_what_cannot_be_linked_is_one_clear_error(
    model: OneGenModel, entities: PassageIndex, texts: Any, linking: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        model.link(texts, entities=entities, linking=linking)


def test_entities_have_to_be_there_and_of_this_model(model: OneGenModel) -> None:
    with pytest.raises(InvalidInputError, match="No entities"):
        model.link("Ada", entities=None)  # type: ignore[call-overload]
    with pytest.raises(InvalidInputError, match="has no entities"):
        model.link("Ada", entities=PassageIndex(model))
    with pytest.raises(InvalidInputError, match="entities is a list"):
        model.link("Ada", entities=["Q1"])
    with pytest.raises(InvalidInputError, match="expected `retrieve` in synchronous use"):
        model.link("Ada", entities=AnsweringLater(fail))
    other = linking_model()
    other.fingerprint = "f" * 64
    index = PassageIndex.build(other, ENTITIES)
    for use in (model.link, model.stream_link):
        with pytest.raises(InvalidInputError, match=r"of another model \(fingerprint ffffffffffff"):
            use("Ada", entities=index)
    listed = LinkingParams(candidates=["Q1"])
    with pytest.raises(InvalidInputError, match="has no method `rank`"):
        model.link("Ada", entities=Answering(fail), linking=listed)


def test_a_checkpoint_that_does_not_link_says_which_does(entities: PassageIndex) -> None:
    tokenizer = linking_tokenizer()
    config = CheckpointConfig(Template(), max_passage_tokens=64)
    plain = OneGenModel(Checkpoint(linking_network(tokenizer), tokenizer, config, "plain"))
    assert not plain.can_link
    with pytest.raises(CheckpointError, match="entity-linking"):
        plain.link("Ada", entities=entities)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (fail, "raised KeyError: 'lost'"),
        (lambda queries: None, "queries with NoneType"),
        (lambda queries: [], "queries with 0 lists"),
        (lambda queries: [["Q1"]] * len(queries), "a query with str"),
        (lambda queries: [None] * len(queries), "a query with NoneType"),
        (lambda queries: [[ScoredPassage(7, 1.0)]] * len(queries), "a passage of type int"),
    ],
)
def test_a_retriever_that_fails_is_a_retrieval_error(
    model: OneGenModel, job: Any, message: str
) -> None:
    with pytest.raises(RetrievalError, match=message):
        model.link(TEXT, entities=Answering(job))
    with pytest.raises(RetrievalError, match=message):
        asyncio.run(model.alink(TEXT, entities=AnsweringLater(job)))
    stream = model.stream_link(TEXT, entities=Answering(job))
    with pytest.raises(RetrievalError, match=message):
        next(stream)
    assert list(stream) == []
    with pytest.raises(ValueError, match="not linked"):
        _ = stream.linked


def test_a_retriever_of_its_own_kind_is_asked_as_it_is(model: OneGenModel) -> None:
    sync = model.link(TEXT, entities=Answering(lambda queries: [[HIT, HIT]] * len(queries)))
    later = AnsweringLater(lambda queries: [[HIT]] * len(queries))
    assert asyncio.run(model.alink(TEXT, entities=later)) == sync
    assert sync.mentions[0].candidates == (HIT,)
    nothing = model.link(TEXT, entities=Answering(lambda queries: [[]] * len(queries)))
    assert {(one.entity, one.score, one.candidates) for one in nothing.mentions} == {
        (None, None, ())
    }
    odd = ScoredPassage(HIT.passage, float("nan"))
    params = LinkingParams(nil_threshold=0.1)
    found = model.link(
        TEXT, entities=Answering(lambda queries: [[odd]] * len(queries)), linking=params
    )
    assert {one.entity for one in found.mentions} == {None}


def test_ranks_are_checked_like_other_answers(model: OneGenModel, entities: PassageIndex) -> None:
    class Ranking(Answering):
        def rank(self, embeddings: Any, ids: Any) -> Any:
            return self._job(embeddings)

    params = LinkingParams(candidates=["Q1"])
    with pytest.raises(RetrievalError, match="raised KeyError"):
        model.link(TEXT, entities=Ranking(fail), linking=params)
    with pytest.raises(RetrievalError, match="with 0 lists"):
        model.link(TEXT, entities=Ranking(lambda _: []), linking=params)


def test_blank_texts_have_no_mentions(model: OneGenModel, entities: PassageIndex) -> None:
    for text in ("", " \n", "\u3000\u2028"):
        assert model.link(text, entities=entities) == LinkedText(text, ())
    assert model.link([], entities=entities) == []


def test_a_grapheme_longer_than_a_window_is_left_out(
    model: OneGenModel, entities: PassageIndex
) -> None:
    text = f"Ada Lovelace. a{chr(0x301) * 3000} Mount Kenya."
    linked = model.link(text, entities=entities, linking=LinkingParams(mention_threshold=0.1))
    assert linked.text == text
    assert linked.usage.forwarded < 500
    assert {one.start < 20 for one in linked.mentions} == {True, False}


def test_tags_never_fill_more_than_the_context() -> None:
    model = linking_model(context=128)
    seen = []
    model.network.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(int(kwargs["position_ids"].max())), with_kwargs=True
    )
    entities = Answering(lambda queries: [[]] * len(queries))
    linked = model.link(
        TEXT * 5,
        entities=entities,
        linking=LinkingParams(mention_threshold=1e-9, max_mention_tokens=1),
    )
    assert len(linked.mentions) > 50
    assert max(seen) < 128
    spans = [(at, at + 1) for at, char in enumerate(TEXT) if char.isalpha()]
    linked = model.link(TEXT, entities=entities, linking=LinkingParams(mentions=spans))
    assert [(one.start, one.end) for one in linked.mentions] == spans
    assert max(seen) < 128


def test_an_unloaded_model_links_no_more(entities: PassageIndex) -> None:
    model = linking_model()
    model.unload()
    with pytest.raises(OneGenError, match="unloaded"):
        model.link(TEXT, entities=entities)


def test_weights_that_are_damaged_are_one_error(entities: PassageIndex) -> None:
    model = linking_model()
    model.network.get_output_embeddings().weight.data[:] = torch.nan
    with pytest.raises(OneGenError, match="not finite"):
        model.link(TEXT, entities=entities)


@pytest.mark.parametrize("chunks", [1, 2])
def test_pieces_of_documents_are_no_entities(model: OneGenModel, chunks: int) -> None:
    place = PassagePlace("notes.md", "notes.md", 0, chunks)
    index = PassageIndex.build(model, [replace(ENTITIES[0], metadata=place.to_metadata())])
    given = LinkingParams(mentions=[(0, 3)])
    calls: list[Callable[[], object]] = [
        lambda: model.link(TEXT, entities=index, linking=given),
        lambda: asyncio.run(model.alink(TEXT, entities=index, linking=given)),
        lambda: list(model.stream_link(TEXT, entities=index, linking=given)),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            call()
        said = [str(one.message) for one in warned]
        if chunks == 1:  # A record of a file may be an entity.
            assert said == []
        else:
            [line] = said
            assert line.startswith("Mentions are linked to pieces of documents; expected entities")
