"""Training: what is masked, what is drawn, what the losses are, and what a checkpoint keeps."""

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from onegen_model.checkpoint import (
    Base,
    CheckpointConfig,
    load_weights,
    prepare_tokens,
    weights_sha256,
)
from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.collator import Collator, CollatorSettings, chunks, draw, relations
from onegen_model.finetune.examples import (
    RetrievalTarget,
    TrainingExample,
    TrainingSegment,
    load_examples,
)
from onegen_model.finetune.losses import contrastive_loss
from onegen_model.finetune.objective import Objective
from onegen_model.finetune.trainer import (
    AdapterSettings,
    JointTrainer,
    add_adapter,
    load_adapter,
    save_adapter,
)
from onegen_model.model import OneGenModel
from onegen_model.network import normalise, pad_rows, read, read_hidden
from onegen_model.template import Renderer, Template
from tests.conftest import MakeNetwork, make_tokenizer

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
    queries = [RetrievalTarget(("a", "b"), ("c",)), RetrievalTarget(("b",)), RetrievalTarget(())]
    drawn = draw(queries, 1, random.Random(0))
    targets, excluded = relations(queries, drawn.targets, drawn.passage_ids)
    columns = list(drawn.passage_ids)
    assert targets.tolist()[2] == -100
    assert columns[targets[0]] in ("a", "b")
    other = {"a": "b", "b": "a"}[columns[targets[0]]]
    assert other not in columns or excluded[0, columns.index(other)]
    assert not excluded[0, columns.index("c")]


def test_contrastive_loss_is_the_cross_entropy_over_allowed_passages() -> None:
    queries, passages = torch.eye(3)[:1], torch.eye(3)
    excluded = torch.tensor([[False, False, True]])
    loss = contrastive_loss(queries, passages, torch.tensor([0]), excluded, 1.0)
    expected = -torch.log(torch.e ** torch.tensor(1.0) / (torch.e**1 + 1))
    assert torch.isclose(loss, expected)
    assert contrastive_loss(queries, passages, torch.tensor([-100]), excluded, 1.0) == 0


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


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("top_layers", [0, 1])
def test_only_the_adapter_and_the_new_rows_train(
    collator: Collator, renderer: Renderer, make_network: MakeNetwork, tied: bool, top_layers: int
) -> None:
    network = make_network("llama", tied=tied)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ids = [renderer.query_id, renderer.passage_id]
    adapted = add_adapter(network, ids, AdapterSettings(4, 8, top_layers))
    objective = Objective(adapted)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(8):
        outputs = objective(**collator(EXAMPLES))
        outputs["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(outputs["loss"].item())
    assert losses[-1] < losses[0]
    merged = adapted.merge_and_unload()
    after = merged.state_dict()
    changed = (after["model.embed_tokens.weight"] != before["model.embed_tokens.weight"]).any(-1)
    assert set(changed.nonzero().flatten().tolist()) <= set(ids)
    if top_layers:
        assert torch.equal(
            after["model.layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"]
        )


@pytest.fixture
def base(tmp_path: Path, make_network: MakeNetwork) -> Path:
    """A plain base without control tokens, as somebody would have it on disk."""
    folder = tmp_path / "base"
    tokenizer = make_tokenizer(control=False)
    network = make_network("llama")
    network.resize_token_embeddings(len(tokenizer))
    network.float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(base: Path, output: Path, max_steps: int, resume: bool = False) -> list[float]:
    torch.manual_seed(0)
    network, tokenizer = load_weights(base)
    prepare_tokens(network, tokenizer, Template())
    renderer = Renderer(Template(), tokenizer, 64)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in Template().tokens]
    objective = Objective(add_adapter(network, ids, AdapterSettings(4, 8, 1)))
    trainer = JointTrainer(
        model=objective,
        args=TrainingArguments(
            output_dir=str(output),
            max_steps=max_steps,
            per_device_train_batch_size=3,
            save_steps=2,
            logging_steps=1,
            learning_rate=0.01,
            lr_scheduler_type="constant",
            use_cpu=True,
            remove_unused_columns=False,
            label_names=["targets"],
            disable_tqdm=True,
        ),
        train_dataset=EXAMPLES,
        data_collator=Collator(renderer, PASSAGES, CollatorSettings(num_negatives=0)),
    )
    trainer.train(resume_from_checkpoint=resume or None)
    save_adapter(objective, output)
    digest = weights_sha256(base)
    CheckpointConfig(Template(), 64, Base(str(base), digest)).write(output)
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


@pytest.mark.slow
def test_a_run_resumes_on_the_same_curve_and_loads_as_a_model(base: Path, tmp_path: Path) -> None:
    whole = train(base, tmp_path / "whole", 4)
    train(base, tmp_path / "cut", 2)
    resumed = train(base, tmp_path / "cut", 4, resume=True)
    assert resumed == pytest.approx(whole, abs=1e-3)

    model = OneGenModel.from_pretrained(tmp_path / "whole")
    vectors = model.embed_passages(list(PASSAGES.values()))
    model.save_pretrained(tmp_path / "merged")
    again = OneGenModel.from_pretrained(tmp_path / "merged")
    assert again.embed_passages(list(PASSAGES.values())) == pytest.approx(vectors, abs=1e-5)
    assert again.fingerprint != model.fingerprint, "other files, other name"
    assert OneGenModel.from_pretrained(tmp_path / "whole").fingerprint == model.fingerprint


def test_an_adapter_over_other_weights_is_refused(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    CheckpointConfig(base=Base(str(base), "0" * 64)).write(folder)
    with pytest.raises(CheckpointError, match="other weights"):
        OneGenModel.from_pretrained(folder)


def test_a_model_without_control_tokens_is_refused(base: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no token '\[RQ\]'"):
        OneGenModel.from_pretrained(base)


def test_an_unknown_model_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder, and not on the hub"):
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
    save_adapter(first, tmp_path)
    second = Objective(add_adapter(make_network("llama"), [renderer.query_id], settings))
    load_adapter(second, tmp_path)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"id": "1", "question": "q", "segments": []}\n{"id": "2"}\n', encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"train.jsonl:2: KeyError 'segments'"):
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
