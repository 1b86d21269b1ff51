"""Windows and the model: nothing is read twice, and histories come back as they were."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from transformers import PreTrainedModel

from onegen_model import (
    Answer,
    Conversation,
    Message,
    OneGenModel,
    Passage,
    PassageIndex,
    PassagePlace,
    RetrievalParams,
    SamplingParams,
    Segment,
    place_of,
)
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import InvalidInputError
from onegen_model.events import PassagesInserted
from tests.conftest import make_tokenizer
from tests.seams.test_history_retrieval import Towns

SHORT = SamplingParams(max_new_tokens=8)
ONCE = RetrievalParams(mode="always", max_retrievals=1, top_k=1, window=1)


def piece(chunk: int) -> Passage:
    place = PassagePlace("a.md", "a.md", chunk, 6)
    text = f"The town number {chunk} lies by the river."
    return Passage(place.passage_id, text, "Towns", place.to_metadata())


@pytest.fixture(scope="module")
def model(tiny_network: PreTrainedModel) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    return OneGenModel(Checkpoint(tiny_network, make_tokenizer(), config, "tiny"))


@pytest.fixture(scope="module")
def index(model: OneGenModel) -> PassageIndex:
    return PassageIndex.build(model, map(piece, range(6)))


def chunks(answer: Answer) -> list[str]:
    return sorted(name.rpartition("#")[2] for name in answer.passage_ids)


def check_counters(answer: Answer) -> None:
    usage = answer.usage
    assert usage.forwarded + usage.reused == usage.prompt + usage.written + usage.inserted - 1
    assert len(answer.ids) == usage.prompt + usage.written + usage.inserted


def test_a_widened_passage_is_read_once_and_counted(
    model: OneGenModel, index: PassageIndex
) -> None:
    answer = model.generate("Which town?", retriever=index, retrieval=ONCE, sampling=SHORT)
    ((scored,),) = (one.passages for one in answer.retrievals)
    place = place_of(scored.passage)
    assert place is not None
    assert len(place.pieces) >= 2
    assert set(answer.passage_ids) == set(place.pieces)
    assert answer.usage.inserted == len(model.renderer.frame_ids(scored.passage))
    assert [source.passage_id for source in answer.sources] == [scored.passage.id]
    check_counters(answer)


def test_later_turns_read_no_neighbour_again_and_reuse_all(
    model: OneGenModel, index: PassageIndex
) -> None:
    model.engine.forget()  # type: ignore[union-attr]
    answers: list[Answer] = []
    for question in ("Which town?", "And which other?", "And now?", "Any more?"):
        history = answers[-1] if answers else None
        answers.append(
            model.generate(
                question, retriever=index, retrieval=ONCE, sampling=SHORT, history=history
            )
        )
        check_counters(answers[-1])
    read = [
        place.pieces or (hit.passage.id,)
        for answer in answers
        for one in answer.retrievals
        for hit in one.passages
        if (place := place_of(hit.passage))
    ]
    ids = [name for some in read for name in some]
    assert len(ids) == len(set(ids)) == len(answers[-1].passage_ids)
    for before, after in pairwise(answers):
        assert after.usage.reused >= len(before.ids) - 1


def segments_of(answer: Answer, text: str) -> Sequence[Segment]:
    (retrieval,) = answer.retrievals
    passages = tuple(hit.passage for hit in retrieval.passages)
    return Segment("", True, passages, answer.written[0]), Segment(text, ids=answer.written[1])


def test_a_conversation_with_a_widened_passage_is_replayed(
    model: OneGenModel, index: PassageIndex
) -> None:
    model.engine.forget()  # type: ignore[union-attr]
    first = model.generate("Which town?", retriever=index, retrieval=ONCE, sampling=SHORT)
    text = str(model.renderer.tokenizer.decode([*first.written[1]]))
    conversation = Conversation(
        (
            Message("user", "Which town?"),
            Message("assistant", segments=tuple(segments_of(first, text))),
            Message("user", "And which other?"),
        )
    )
    second = model.generate(conversation, retriever=index, retrieval=ONCE, sampling=SHORT)
    assert set(first.passage_ids) < set(second.passage_ids)
    assert second.usage.reused >= first.usage.prompt + first.usage.inserted
    (retrieval,) = second.retrievals
    for hit in retrieval.passages:
        place = place_of(hit.passage)
        assert place is not None
        assert not set(place.pieces or (hit.passage.id,)) & set(first.passage_ids)


def test_where_the_context_is_small_neighbours_are_left_out(
    model: OneGenModel, index: PassageIndex
) -> None:
    question = "Which town?"
    while model.count_prompt(question) < 400:
        question += " Which town?"
    wide = RetrievalParams(mode="always", max_retrievals=1, top_k=1, window=5)
    stream = model.stream(question, retriever=index, retrieval=wide, sampling=SHORT)
    (event,) = (one for one in stream if isinstance(one, PassagesInserted))
    (hit,) = event.passages
    place = place_of(hit.passage)
    assert place is not None
    assert event.dropped == 0
    assert len(place.pieces) < 6
    assert event.num_tokens == len(model.renderer.frame_ids(hit.passage))
    check_counters(stream.answer)


def test_a_window_over_a_retriever_without_neighbours_is_refused_before_any_work(
    model: OneGenModel,
) -> None:
    with pytest.raises(InvalidInputError, match="window=1 with Towns, which has no method"):
        model.generate("Which?", retriever=Towns(), retrieval=ONCE, sampling=SHORT)


def test_a_long_passage_is_found_and_read_by_its_fragments(model: OneGenModel) -> None:
    text = " ".join(f"The town number {n} lies by the river." for n in range(60))
    index = PassageIndex.build(model, [Passage("long", text, "Towns"), piece(1)])
    fragments = list(model.fragments(Passage("long", text, "Towns")))
    assert len(fragments) > 4
    vectors = model.embed_passages(fragments)
    for n, hits in enumerate(index.search(vectors, 1)):
        assert (hits[0].passage.id, getattr(hits[0], "fragment", None)) == ("long", n)
    alone = RetrievalParams(mode="always", max_retrievals=1, top_k=1)
    whole = RetrievalParams(mode="always", max_retrievals=1, top_k=1, passage_tokens=4000)
    small = PassageIndex.build(model, [Passage("long", " ".join(text.split()[:120]), "Towns")])
    for params, length in ((alone, 66), (whole, 400)):
        answer = model.generate("Which?", retriever=small, retrieval=params, sampling=SHORT)
        assert answer.usage.inserted <= length
        check_counters(answer)
    assert answer.retrievals[0].passages[0].passage == small.passages[0]
