"""The losses against their definitions, and what they are divided by."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from onegen_model.errors import OneGenError
from onegen_model.events import Passage
from onegen_model.finetune.data.collator import Collator, CollatorSettings
from onegen_model.finetune.data.examples import RetrievalTarget, TrainingExample, TrainingSegment
from onegen_model.finetune.loss.losses import (
    LossSettings,
    bpr,
    excluded_pairs,
    info_nce,
    joint_loss,
    language_modeling_loss,
)
from onegen_model.finetune.loss.objective import Objective
from onegen_model.finetune.run.training import run
from onegen_model.transcript.renderer import Renderer
from tests.conftest import MakeNetwork
from tests.support.finetuning import losses_of, write_recipe
from tests.support.shared_gradients import gradients, gradients_of_two

GENERATOR = torch.Generator().manual_seed(0)


def unit(*shape: int) -> Tensor:
    vectors = torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1)


QUERIES, PASSAGES = unit(4, 8), unit(5, 8)
TARGETS = torch.tensor([2, 0, -100, 4])
EXCLUDED = torch.zeros(4, 5, dtype=torch.bool)
EXCLUDED[0, 4] = EXCLUDED[3, 0] = EXCLUDED[2, :] = True
OWN = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()


def test_language_modeling_loss_is_the_sum_of_negative_log_likelihoods() -> None:
    logits = torch.randn(3, 7, generator=GENERATOR)
    labels = [4, 0, 6]
    expected = -sum(
        logits[n, label] - logits[n].exp().sum().log() for n, label in enumerate(labels)
    )
    assert language_modeling_loss(logits, torch.tensor(labels)) == pytest.approx(float(expected))


def test_info_nce_is_the_cross_entropy_over_the_pairs_that_count() -> None:
    losses = info_nce(QUERIES, PASSAGES, TARGETS, EXCLUDED, 0.1)
    for row, target in enumerate(TARGETS.tolist()):
        scores = [math.exp(float(QUERIES[row] @ p) / 0.1) for p in PASSAGES]
        counted = [s for column, s in enumerate(scores) if not EXCLUDED[row, column]]
        expected = 0.0 if target < 0 else -math.log(scores[target] / sum(counted))
        assert losses[row].item() == pytest.approx(expected, abs=1e-9)


def test_bpr_is_the_mean_log_odds_of_cosines_over_own_negatives() -> None:
    losses = bpr(QUERIES, PASSAGES, TARGETS, OWN, 3.0)
    for row, target in enumerate(TARGETS.tolist()):
        terms = [
            -math.log(1 / (1 + math.exp(-3.0 * float(QUERIES[row] @ (PASSAGES[target] - p)))))
            for column, p in enumerate(PASSAGES)
            if OWN[row, column] and target >= 0
        ]
        expected = sum(terms) / len(terms) if terms else 0.0
        assert losses[row].item() == pytest.approx(expected, abs=1e-9)


def test_at_scale_one_bpr_has_a_floor() -> None:
    """The reason why cosines need a scale."""
    passages = torch.stack([QUERIES[0], -QUERIES[0]])
    best = (QUERIES[:1], passages, torch.tensor([0]), torch.tensor([[False, True]]))
    assert bpr(*best, 1.0).item() == pytest.approx(math.log1p(math.exp(-2)), abs=1e-9)
    assert bpr(*best, 10.0).item() < 1e-8


@pytest.mark.parametrize("loss", ["info_nce", "bpr"])
def test_gradients_are_those_of_finite_differences(loss: str) -> None:
    def total(queries: Tensor, passages: Tensor) -> Tensor:
        if loss == "bpr":
            return bpr(queries, passages, TARGETS, OWN, 3.0).sum()
        return info_nce(queries, passages, TARGETS, EXCLUDED, 0.5).sum()

    inputs = (QUERIES.clone().requires_grad_(), PASSAGES.clone().requires_grad_())
    assert torch.autograd.gradcheck(total, inputs)


def test_without_passages_there_is_no_contrastive_loss() -> None:
    none, nothing = torch.full((4,), -100), PASSAGES[:0]
    pairs = torch.zeros(4, 0, dtype=torch.bool)
    assert info_nce(QUERIES, nothing, none, pairs, 1.0).tolist() == [0.0] * 4
    assert bpr(QUERIES, nothing, none, pairs, 1.0).tolist() == [0.0] * 4


def test_repeated_passages_and_other_positives_are_excluded() -> None:
    keys = torch.tensor([7, 5, 7, 9, 5])
    positives = torch.tensor([[7, 9], [5, 0], [0, 0]])
    excluded = excluded_pairs(torch.tensor([2, 1, -100]), keys, positives)
    assert excluded.int().tolist() == [
        [1, 0, 0, 1, 1],  # its target is the second copy of 7; 9 is its other positive
        [0, 0, 1, 0, 1],  # the second copies of 7 and of its own target
        [0, 0, 1, 0, 1],
    ]


def test_each_loss_has_a_weight() -> None:
    settings = LossSettings(language_modeling_weight=0.5, contrastive_weight=3.0)
    losses = joint_loss(torch.tensor(2.0), torch.tensor(4.0), settings)
    assert losses.total == 13.0
    assert (losses.language_modeling, losses.contrastive) == (2.0, 4.0)


TOWNS = {
    name: Passage(name, f"{name} is a small town by the sea, number {number}")
    for number, name in enumerate(("alba", "brig", "cary", "dorn", "elva", "fink", "gale", "holt"))
}


def examples() -> list[TrainingExample]:
    """Transcripts of very different lengths, each with a negative of its own."""
    names = list(TOWNS)
    made = []
    for number in range(4):
        target = RetrievalTarget((names[number],), (names[number + 4],), (names[number],))
        segments = (
            TrainingSegment(f"where is {names[number]}?", target),
            TrainingSegment(" by the sea" * (1 + 4 * number)),
        )
        made.append(TrainingExample(str(number), "what is it?", segments))
    return made


def test_a_text_that_two_passages_share_is_embedded_once(renderer: Renderer) -> None:
    twin = Passage("twin", TOWNS["alba"].text)
    rows = [
        TrainingExample("1", "q?", (TrainingSegment("", RetrievalTarget(("alba",), ("brig",))),)),
        TrainingExample("2", "q?", (TrainingSegment("", RetrievalTarget(("twin",), ("alba",))),)),
    ]
    batch = Collator(renderer, {**TOWNS, "twin": twin})(rows)
    assert len(batch["passage_keys"]) == 2
    assert batch["targets"][0] == batch["targets"][1]


def test_bpr_sees_own_negatives_only(renderer: Renderer, make_network: MakeNetwork) -> None:
    """The other examples of a batch change nothing."""
    objective = Objective(make_network("llama"), LossSettings(contrastive="bpr"))
    collator = Collator(renderer, TOWNS)
    alone = [objective(**collator([e]))["contrastive_loss"].item() for e in examples()]
    together = objective(**collator(examples()))["contrastive_loss"].item()
    assert together == pytest.approx(sum(alone) / 4, abs=1e-6)


def test_without_the_contrastive_loss_no_passage_is_read(
    renderer: Renderer, make_network: MakeNetwork
) -> None:
    batch = Collator(renderer, TOWNS)(examples())
    alone = Objective(make_network("llama"), LossSettings(contrastive_weight=0.0))
    reads = []
    alone.network.get_decoder().register_forward_hook(lambda *_: reads.append(1))
    outputs = alone(**batch)
    outputs["loss"].backward()
    assert len(reads) == len(batch["transcripts"])
    assert outputs["contrastive_loss"] == 0
    joint = Objective(make_network("llama"))(**batch)
    assert outputs["loss"].item() == pytest.approx(joint["language_modeling_loss"].item())


@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_add_up_to_one_batch(base: Path, tmp_path: Path, size: int) -> None:
    """Target tokens are counted over the step: an example has the same weight in any batch."""
    curves = []
    for batch in (4, size):
        trainer = {
            "max_steps": 3,
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": 4 // batch,
            "optim": "sgd",
        }
        recipe = write_recipe(tmp_path / f"batch-{batch}", base, contrastive="bpr", trainer=trainer)
        write_examples(recipe.train.parent)
        curves.append(losses_of(run(recipe)))
    for one, many in zip(*curves, strict=True):
        assert many == pytest.approx(one, abs=1e-4)


def write_examples(folder: Path) -> None:
    def plain(e: TrainingExample) -> dict[str, Any]:
        (first, last), target = e.segments, e.targets[0]
        names = {n: list(getattr(target, n)) for n in ("positives", "negatives", "inserted")}
        segments = [{"text": first.text, "target": names}, {"text": last.text}]
        return {"id": e.id, "question": e.question, "segments": segments}

    lines = "".join(json.dumps(plain(e)) + "\n" for e in examples())
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    corpus = "".join(json.dumps({"id": p.id, "text": p.text}) + "\n" for p in TOWNS.values())
    (folder / "passages.jsonl").write_text(corpus, encoding="utf-8")


@pytest.mark.parametrize(("contrastive", "negatives"), [("info_nce", 0), ("bpr", 1)])
def test_two_processes_compute_the_loss_of_one(
    renderer: Renderer, make_network: MakeNetwork, contrastive: Any, negatives: int
) -> None:
    """The same value and gradient for the same global batch, passages of both processes seen."""
    settings = LossSettings(contrastive=contrastive, cross_device_negatives=True)
    collator = Collator(renderer, TOWNS, CollatorSettings(num_negatives=negatives))
    rows = examples()
    # Both processes hold passages that are the other's positives.
    rows[3] = TrainingExample("3", "what is it?", (rows[0].segments[0], rows[3].segments[1]))
    loss, gradient = gradients(Objective(make_network("llama"), settings), collator(rows))
    batches = (collator(rows[:3]), collator(rows[3:]))
    objective = Objective(make_network("llama"), settings)
    shared_loss, shared_gradient = gradients_of_two(objective, batches)
    assert shared_loss == pytest.approx(loss, abs=1e-5)
    assert torch.allclose(shared_gradient, gradient, atol=1e-5)


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_examples(
    base: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(
        tmp_path / "run", base, trainer={"max_steps": 4, "learning_rate": 1e38, "max_grad_norm": 0}
    )
    with pytest.raises(
        OneGenError, match=r"_loss is (nan|inf) at step [2-4], in a batch of .*'\d'"
    ):
        run(recipe)


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_memory_that_runs_out_names_the_knobs(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise kind("no more")

    monkeypatch.setattr(Objective, "forward", fail)
    with pytest.raises(
        OneGenError, match=r"at step 1, .*halve trainer.per_device_train_batch_size"
    ):
        run(write_recipe(tmp_path / "run", base))
