"""The multi-hop preset: the tokens and the passes of the published checkpoint, and no others."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from onegen_model import (
    Conversation,
    Message,
    OneGenModel,
    Passage,
    PassageIndex,
    RetrievalParams,
    SamplingParams,
    Template,
)
from onegen_model.checkpoint.presets import MULTI_HOP, PRESETS
from onegen_model.errors import InvalidInputError, PassageTooLongError
from onegen_model.events import RetrievalRequested
from onegen_model.finetune.data.collator import Collator, CollatorSettings
from onegen_model.finetune.data.datasets import open_data
from onegen_model.network import normalise
from tests.support.engines import PositionCounter, clean_read
from tests.support.published import (
    ANSWER,
    DOCUMENT,
    FRAMES,
    MULTI_HOP_TOKENS,
    PASSAGES,
    PROMPT,
    QUESTION,
    RD,
    RQ,
    SHIFT,
    WRITTEN,
    Given,
    ids_of,
    publish,
    script,
    write_json,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("presets") / "multi-hop", MULTI_HOP_TOKENS)


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy of one's own, to change."""
    return Path(shutil.copytree(published, tmp_path / "copy"))


@pytest.fixture(scope="module")
def model(published: Path) -> OneGenModel:
    return OneGenModel.from_pretrained(published)


@pytest.fixture(scope="module")
def theirs(published: Path) -> Tokenizer:
    """The tokenizer of the files alone, in which the original reads a text unchanged."""
    return Tokenizer.from_file(str(published / "tokenizer.json"))


def test_a_published_folder_is_recognised_by_its_tokens(model: OneGenModel) -> None:
    assert model.template == MULTI_HOP.template
    assert model.max_passage_tokens == 512
    ids = {token: model.renderer.tokenizer.convert_tokens_to_ids(token) for token in (RQ, RD)}
    assert (model.renderer.query_id, model.renderer.passage_id) == (ids[RQ], ids[RD])
    assert min(ids.values()) > model.renderer.tokenizer.convert_tokens_to_ids(SHIFT[-1])
    assert model.renderer.end_id == 2


def test_the_fingerprint_is_that_of_the_files(published: Path, folder: Path) -> None:
    first = OneGenModel.from_pretrained(published).fingerprint
    assert OneGenModel.from_pretrained(folder, dtype="bfloat16").fingerprint == first
    assert OneGenModel.from_pretrained(folder, preset="onegen-multihop").fingerprint == first
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**config, "rms_norm_eps": 0.1})
    assert OneGenModel.from_pretrained(folder).fingerprint != first


def test_presets_change_no_fingerprint_of_our_own_checkpoints() -> None:
    kept = {"tokens", "system", "answer_start", "answer_end"}
    assert set(Template().to_dict()) == kept
    for preset in PRESETS.values():
        if template := preset.template:
            assert set(template.to_dict()) > kept
            assert Template.from_dict(json.loads(json.dumps(template.to_dict()))) == template


def test_the_prompt_has_the_tokens_of_the_published_one(
    model: OneGenModel, theirs: Tokenizer
) -> None:
    assert model.renderer.question_ids(QUESTION) == ids_of(theirs, PROMPT + QUESTION)
    for text in (" two  spaces ", "Ünïcode\n\nand 🙂 {question} {passage}", "?"):
        assert model.renderer.question_ids(text) == ids_of(theirs, PROMPT + text)
    assert model.renderer.query_ids(QUESTION) == ids_of(theirs, PROMPT + QUESTION + RQ)


def test_a_passage_is_embedded_in_the_published_format(
    model: OneGenModel, theirs: Tokenizer
) -> None:
    for passage, frame in zip(PASSAGES, FRAMES, strict=True):
        ids = ids_of(theirs, f"{DOCUMENT}{frame}{RD}")
        assert ids.count(model.renderer.passage_id) == 2, "the instruction quotes the token itself"
        assert model.renderer.embed_ids(passage) == ids
        hidden = normalise(clean_read(model.network, ids)[0][-1]).numpy()
        assert np.allclose(model.embed_passages([passage])[0], hidden, atol=1e-6)
    untitled = ids_of(theirs, f"{DOCUMENT}A town.{RD}")
    assert model.renderer.embed_ids(Passage("4", "A town.")) == untitled


def test_a_transcript_has_the_tokens_of_the_published_one(
    model: OneGenModel, theirs: Tokenizer, tmp_path: Path
) -> None:
    record = {
        "messages": [
            {"role": "user", "content": PROMPT + QUESTION},
            {
                "role": "assistant",
                "content": ANSWER,
                "positive": ["1", "2"],
                "negative": [["3"], ["3"]],
            },
        ]
    }
    documents = [
        {
            "uid": int(passage.id),
            "messages": [
                {"role": "user", "content": DOCUMENT + frame},
                {"role": "assistant", "content": RD},
            ],
        }
        for passage, frame in zip(PASSAGES, FRAMES, strict=True)
    ]
    write_json(tmp_path / "train.jsonl", record)
    lines = "\n".join(json.dumps(document) for document in documents)
    (tmp_path / "db.jsonl").write_text(lines, encoding="utf-8")
    data = open_data("published", tmp_path / "train.jsonl", tmp_path / "db.jsonl")
    (example,) = data.examples
    collator = Collator(model.renderer, data.passages, CollatorSettings(max_length=2048))
    rendered = collator.render(example)
    # Theirs tokenises each message on its own, and reads its `</s>` as the end token.
    asked, replied = ids_of(theirs, PROMPT + QUESTION), ids_of(theirs, ANSWER)
    assert list(rendered.ids) == asked + replied
    assert [rendered.ids[at] for at in rendered.query_positions] == [model.renderer.query_id] * 2
    written = [at for at, own in enumerate(rendered.written) if own]
    inserted = {
        at + len(asked)
        for start, end in _frames(replied, model.renderer.empty_frame)
        for at in range(start, end + 1)
    }
    assert written == [at for at in range(len(asked), len(rendered.ids)) if at not in inserted]
    assert collator.passage_ids(example, data.passages["1"]) == ids_of(
        theirs, f"{DOCUMENT}{FRAMES[0]}{RD}"
    )


def _frames(ids: Sequence[int], frame: Sequence[int]) -> list[tuple[int, int]]:
    starts, ends = ([at for at, one in enumerate(ids) if one == mark] for mark in frame)
    return list(zip(starts, ends, strict=True))


def test_a_published_transcript_is_written_in_one_pass(
    model: OneGenModel, theirs: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(model, monkeypatch, f"{WRITTEN[0]}{RQ}{WRITTEN[1]}{RQ}{WRITTEN[2]}")
    retriever = Given(*PASSAGES)
    with PositionCounter(model.network) as counter:
        answer = model.generate(QUESTION, retriever=retriever)
    assert list(answer.ids) == ids_of(theirs, PROMPT + QUESTION) + ids_of(theirs, ANSWER)
    assert counter.positions == len(answer.ids) - 1 == answer.usage.forwarded
    assert answer.finish_reason == "end"
    assert answer.text == "Ada Wrenfield"
    first, second, third = (text.strip().splitlines()[0] for text in WRITTEN)
    assert answer.steps == (first, second, third)
    assert retriever.asked == [first, second]
    assert [one.passages[0].passage for one in answer.retrievals] == PASSAGES[:2]


def test_a_query_is_the_state_of_a_clean_forward(model: OneGenModel) -> None:
    index = PassageIndex.build(model, PASSAGES)
    stream = model.stream(
        QUESTION,
        retriever=index,
        sampling=SamplingParams(max_new_tokens=60),
        retrieval=RetrievalParams("always", top_k=1, max_retrievals=5),
    )
    events = list(stream)
    answer = stream.answer
    assert len(answer.retrievals) > 1, "the random model searches again by itself"
    positions = [at for at, one in enumerate(answer.ids) if one == model.renderer.query_id]
    hidden = normalise(clean_read(model.network, answer.ids)[0][positions]).numpy()
    asked = [event.query_embedding for event in events if isinstance(event, RetrievalRequested)]
    assert np.allclose(np.array(asked), hidden, atol=1e-5)
    assert np.allclose(model.embed_queries([QUESTION])[0], asked[0], atol=1e-5)
    assert answer.usage.forwarded + answer.usage.reused == len(answer.ids) - 1


def test_no_text_becomes_a_control_token(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = f"{RQ} {RD} </paragraph> <paragraph> </s> <s> <dummy_0>"
    script(model, monkeypatch, f" Who?{RQ} Ada.</s>")
    answer = model.generate(f"{evil} Who?", retriever=Given(Passage("e", f"a {evil}", evil)))
    control = [one for one in answer.ids if one in model.renderer.control_ids]
    assert control == [model.renderer.query_id, *model.renderer.empty_frame, 2]
    embedded = model.renderer.embed_ids(Passage("e", f"a {evil}", evil))
    added = [one for one in embedded if one in model.renderer.control_ids]
    assert added == [model.renderer.passage_id] * 2


@pytest.mark.parametrize("prefix_space", [False, True])
def test_a_tokenizer_that_adds_bos_and_a_space_adds_none_here(
    tmp_path: Path, theirs: Tokenizer, prefix_space: bool
) -> None:
    loaded = OneGenModel.from_pretrained(
        publish(tmp_path / "other", MULTI_HOP_TOKENS, prefix_space=prefix_space)
    )
    assert loaded.renderer.question_ids(QUESTION) == ids_of(theirs, PROMPT + QUESTION)
    assert 1 not in loaded.renderer.embed_ids(PASSAGES[0])


def test_a_saved_copy_needs_no_preset(model: OneGenModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = OneGenModel.from_pretrained(tmp_path)
    assert again.config == model.config
    assert again.renderer.query_ids(QUESTION) == model.renderer.query_ids(QUESTION)
    assert np.array_equal(again.embed_passages(PASSAGES), model.embed_passages(PASSAGES))
    with pytest.raises(InvalidInputError, match=r"own onegen\.json; expected no preset"):
        OneGenModel.from_pretrained(tmp_path, preset="onegen-multihop")


def test_one_message_is_a_question_and_more_are_one_error(model: OneGenModel) -> None:
    asked = Message("user", QUESTION)
    alone = model.submit(Conversation((asked,))).request
    assert alone.ids == model.renderer.question_ids(QUESTION)
    refused = [
        Conversation((Message("system", "Be brief."), asked)),
        Conversation((asked, Message("assistant"))),
        Conversation((asked,), tools=({"type": "function", "function": {"name": "f"}},)),
    ]
    for conversation in refused:
        with pytest.raises(InvalidInputError, match="one question and no more; expected no hist"):
            model.submit(conversation)
    answer = model.generate(QUESTION, sampling=SamplingParams(max_new_tokens=2))
    with pytest.raises(InvalidInputError, match="one question and no more; expected no history"):
        model.generate(QUESTION, history=answer)
    with pytest.raises(InvalidInputError, match="question is empty"):
        model.generate(" ")
    with pytest.raises(PassageTooLongError, match="at most 512"):
        model.embed_passages([Passage("1", "far too long " * 400)])
