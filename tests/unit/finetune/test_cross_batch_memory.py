"""Passages of earlier batches as negatives."""

from pathlib import Path

import pytest
import torch

from onegen_model.events import Passage
from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.examples import RetrievalTarget, TrainingExample, TrainingSegment
from onegen_model.finetune.loss.cross_batch_memory import CrossBatchMemory
from onegen_model.finetune.loss.losses import LossSettings, info_nce
from onegen_model.finetune.loss.objective import Objective
from onegen_model.transcript.renderer import Renderer
from tests.conftest import MakeNetwork

NAMES = ("alba", "brig", "cary", "dorn")
TOWNS = {name: Passage(name, f"{name} is a town, number {n}") for n, name in enumerate(NAMES)}


def asked(name: str) -> TrainingExample:
    target = RetrievalTarget((name,), (), (name,))
    text = f"where is {name}?"
    return TrainingExample(name, "q?", (TrainingSegment(text, target), TrainingSegment(" here")))


def test_the_newest_passages_are_remembered_without_their_gradient() -> None:
    memory = CrossBatchMemory(3)
    first = torch.eye(2, requires_grad=True)
    memory.keep(first, torch.tensor([1, 2]))
    memory.keep(*memory.behind(2 * torch.eye(2), torch.tensor([3, 4])))
    vectors, keys = memory.behind(torch.zeros(1, 2), torch.tensor([9]))
    assert keys.tolist() == [9, 3, 4, 1]
    assert vectors.tolist() == [[0, 0], [2, 0], [0, 2], [1, 0]]
    assert not vectors.requires_grad
    assert len(memory) == 3


def test_what_was_remembered_comes_back(tmp_path: Path) -> None:
    memory, again = CrossBatchMemory(3), CrossBatchMemory(3)
    memory.save(tmp_path / "memory.pt")
    again.load(tmp_path / "memory.pt")
    assert len(again) == 0
    memory.keep(torch.eye(2), torch.tensor([1, 2]))
    memory.save(tmp_path / "memory.pt")
    again.load(tmp_path / "memory.pt")
    nothing = (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))
    for one, two in zip(memory.behind(*nothing), again.behind(*nothing), strict=True):
        assert torch.equal(one, two)


def test_passages_of_the_batch_before_are_negatives(
    renderer: Renderer, make_network: MakeNetwork
) -> None:
    collator = Collator(renderer, TOWNS)
    before = collator([asked("alba"), asked("brig")])
    now = collator([asked("alba"), asked("cary")])  # Nobody is a negative of itself.
    settings = LossSettings(cross_batch_negatives=8)
    objective = Objective(make_network("llama"), settings).train()
    alone = Objective(objective.network, LossSettings()).train()
    reported, first = alone(**now), objective(**before)
    assert first["contrastive_loss"] == alone(**before)["contrastive_loss"]
    loss = objective(**now)["contrastive_loss"].item()
    queries, passages = reported["queries"], torch.cat([reported["passages"], first["passages"]])
    keys = torch.cat([now["passage_keys"], before["passage_keys"]])
    repeated = torch.tensor([key in keys[:at] for at, key in enumerate(keys)])
    assert repeated.sum() == 1
    expected = info_nce(queries, passages, now["targets"], repeated.expand(2, 4), 0.05)
    assert loss == pytest.approx(expected.mean().item(), abs=1e-5)
    assert loss > reported["contrastive_loss"].item()


def test_evaluation_remembers_nothing(renderer: Renderer, make_network: MakeNetwork) -> None:
    batch = Collator(renderer, TOWNS)([asked("alba"), asked("brig")])
    objective = Objective(make_network("llama"), LossSettings(cross_batch_negatives=8)).eval()
    once, again = objective(**batch), objective(**batch)
    assert len(objective.memory) == 0
    assert once["contrastive_loss"] == again["contrastive_loss"]
