"""Training: what is masked, what is drawn, what the losses are, and what a checkpoint keeps."""

import json
import random
from pathlib import Path

import pytest
import torch

from onegen_model.checkpoint.config import Base, CheckpointConfig
from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.collator import (
    Collator,
    CollatorSettings,
    PassageQuery,
    chunks,
    content_key,
    draw,
    relations,
)
from onegen_model.finetune.data.datasets import load_examples
from onegen_model.finetune.data.examples import RetrievalTarget, TrainingExample, TrainingSegment
from onegen_model.finetune.loss.losses import excluded_pairs
from onegen_model.finetune.loss.objective import Objective
from onegen_model.finetune.run.trainable import (
    AdapterSettings,
    add_adapter,
    load_trained,
    save_trained,
)
from onegen_model.model import OneGenModel
from onegen_model.network import normalise, pad_rows, read, read_hidden
from onegen_model.transcript.renderer import Renderer
from tests.conftest import MakeNetwork

PASSAGES = {
    name: Passage(name, f"{name} is a small town by the sea", name.title())
    for name in ("alba", "brig", "cary", "dorn", "elva", "fink")
}


def example(number: int, *hops: RetrievalTarget) -> TrainingExample:
    segments = [TrainingSegment(f"where is {hop.positives}?", hop) for hop in hops]
    end = TrainingSegment(" by the sea\n<FINAL-ANSWER> the sea</FINAL-ANSWER>")
    return TrainingExample(str(number), f"what is number {number}?", (*segments, end))


EXAMPLES = [
    example(0, RetrievalTarget(("alba",), ("brig", "cary"), ("brig", "alba"))),
    example(
        1,
        RetrievalTarget(("cary", "dorn"), ("elva",), ("cary",)),
        RetrievalTarget(("dorn",), (), ("dorn", "fink")),
    ),
    example(2, RetrievalTarget((), (), ())),
]


@pytest.fixture
def collator(renderer: Renderer) -> Collator:
    return Collator(renderer, PASSAGES, CollatorSettings(chunk_tokens=200))


def test_targets_are_exactly_the_written_tokens(collator: Collator) -> None:
    batch = collator(EXAMPLES)
    rendered = sorted((collator.render(e) for e in EXAMPLES), key=lambda r: len(r.ids))
    labels = [i for chunk in batch["transcripts"] for i in chunk["labels"].tolist()]
    assert labels == [
        token
        for row in rendered
        for token, written in zip(row.ids, row.written, strict=True)
        if written
    ]
    for row in rendered:
        for position in row.query_positions:
            assert row.written[position], "the query token itself is a target"
            assert not row.written[position + 1], "what follows it is not"


def test_query_positions_are_read_behind_the_labels(collator: Collator, renderer: Renderer) -> None:
    for chunk in collator(EXAMPLES)["transcripts"]:
        at = slice(len(chunk["labels"]), None)
        read = chunk["input_ids"][chunk["rows"][at], chunk["columns"][at]]
        assert (read == renderer.query_id).all()


def test_a_positive_that_was_not_drawn_is_no_negative() -> None:
    a, b, c = (Passage(name, f"text {name}") for name in "abc")
    queries = [PassageQuery((a, b), (c,)), PassageQuery((b,)), PassageQuery(())]
    drawn = draw(queries, 1, random.Random(0))
    columns = [key for key, _ in drawn.used()]
    batch = relations(queries, drawn, columns)
    excluded = excluded_pairs(batch["targets"], batch["passage_keys"], batch["positive_keys"])
    assert batch["targets"].tolist()[2] == -100
    assert drawn.targets[0] in (a, b)
    other = content_key(b if drawn.targets[0] == a else a)
    assert other not in columns or excluded[0, columns.index(other)]
    assert not excluded[0, columns.index(content_key(c))]
    assert batch["negatives"][0].tolist() == [key == content_key(c) for key in columns]


def test_chunks_hold_every_item_once_and_stay_in_bounds() -> None:
    lengths = [3, 3, 5, 8, 13, 40]
    cut = chunks(lengths, lambda n: n, 20)
    assert [n for chunk in cut for n in chunk] == lengths
    assert all(len(chunk) * max(chunk) <= 20 or len(chunk) == 1 for chunk in cut)


def test_losses_and_gradients_do_not_depend_on_chunks(
    renderer: Renderer, make_network: MakeNetwork
) -> None:
    """The chunked forward equals one row at a time, on values and gradients."""
    results = []
    for limit in (1, 10_000):
        collator = Collator(renderer, PASSAGES, CollatorSettings(chunk_tokens=limit))
        network = make_network("llama")
        outputs = Objective(network)(**collator(EXAMPLES))
        outputs["loss"].backward()
        gradient = network.get_input_embeddings().weight.grad
        results.append((outputs["loss"].detach(), gradient))
    (one, one_grad), (many, many_grad) = results
    assert torch.isclose(one, many, atol=1e-10)
    assert torch.allclose(one_grad, many_grad, atol=1e-9)


def test_the_trained_query_embedding_is_the_one_of_inference(
    collator: Collator, make_network: MakeNetwork
) -> None:
    network = make_network("llama")
    batch = collator([EXAMPLES[0]])
    chunk = batch["transcripts"][0]
    position = collator.render(EXAMPLES[0]).query_positions[0]
    ids = chunk["input_ids"][0, : position + 1].tolist()
    padded = pad_rows([ids], 0)
    clean = read_hidden(
        network,
        padded["input_ids"],
        padded["attention_mask"],
        (torch.tensor([0]), torch.tensor([position])),
    )
    trained = read(
        network,
        (chunk["rows"], chunk["columns"]),
        input_ids=chunk["input_ids"],
        attention_mask=chunk["attention_mask"],
    ).hidden[len(chunk["labels"]) :]
    assert torch.allclose(normalise(trained), normalise(clean), atol=1e-6)


def test_an_adapter_over_other_weights_is_refused(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    CheckpointConfig(base=Base(str(base), "0" * 64)).write(folder)
    with pytest.raises(CheckpointError, match="other weights"):
        OneGenModel.from_pretrained(folder)


def test_a_model_without_control_tokens_is_refused(base: Path) -> None:
    with pytest.raises(CheckpointError, match="no control tokens of OneGen"):
        OneGenModel.from_pretrained(base)


def test_an_unknown_model_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it is no folder, and not a possible hub id"):
        OneGenModel.from_pretrained(tmp_path / "nowhere")


def test_a_damaged_config_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "onegen.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read"):
        OneGenModel.from_pretrained(tmp_path)


def test_saved_adapter_values_come_back(
    renderer: Renderer, make_network: MakeNetwork, tmp_path: Path
) -> None:
    settings = AdapterSettings(4, 8, 0)
    first = Objective(add_adapter(make_network("llama"), [renderer.query_id], settings))
    for parameter in first.parameters():
        if parameter.requires_grad:
            parameter.data.normal_()
    save_trained(first.network, tmp_path)
    second = Objective(add_adapter(make_network("llama"), [renderer.query_id], settings))
    load_trained(second.network, tmp_path)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    good = '{"id": "1", "question": "q", "segments": [{"text": "a"}]}'
    file.write_text(good + '\n{"id": "2", "question": "q"}\n', encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"train.jsonl:2: segments: expected a list"):
        load_examples(file)


def test_an_unknown_passage_and_a_long_example_are_named(renderer: Renderer) -> None:
    missing = example(7, RetrievalTarget(("alba",), (), ("nowhere",)))
    with pytest.raises(InvalidInputError, match="'7' names passage 'nowhere'"):
        Collator(renderer, PASSAGES).render(missing)
    with pytest.raises(InvalidInputError, match="expected at most 10"):
        Collator(renderer, PASSAGES, CollatorSettings(max_length=10)).render(EXAMPLES[0])


def test_examples_round_trip_through_json(tmp_path: Path) -> None:
    plain = {
        "id": "1",
        "question": "q",
        "segments": [{"text": "a", "target": {"positives": ["p"]}}, {"text": "b"}],
    }
    file = tmp_path / "one.jsonl"
    file.write_text(json.dumps(plain), encoding="utf-8")
    assert load_examples(file)[0].segments[0].target == RetrievalTarget(("p",))
