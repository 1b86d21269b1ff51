"""A development set: what is measured on it, what is kept, and what cannot be measured."""

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import TrainingArguments

from onegen_model.cli import main
from onegen_model.errors import InvalidInputError
from onegen_model.finetune.data.datasets import open_data
from onegen_model.finetune.loss.objective import Objective
from onegen_model.finetune.run.dev_set import own_batches
from onegen_model.finetune.run.dry_run import preview
from onegen_model.finetune.run.start import start
from onegen_model.finetune.run.trainer import JointTrainer
from onegen_model.finetune.run.training import open_development, run
from tests.support.development_sets import (
    EVERY_STEP,
    dev_values,
    recipe_with_dev,
    state_of,
    write_dev,
)
from tests.support.finetuning import PASSAGES, write_recipe


def test_both_losses_and_recall_are_over_the_whole_development_set(
    base: Path, tmp_path: Path
) -> None:
    recipe = recipe_with_dev(
        tmp_path, base, language_modeling_weight=0.5,
        trainer={"max_steps": 1, "learning_rate": 0.0, "per_device_eval_batch_size": 2},
    )  # fmt: skip
    output = run(recipe)
    (measured,) = (log for log in state_of(output)["log_history"] if "eval_loss" in log)
    begun = start(recipe)
    development = open_development(recipe, open_data("transcripts", recipe.train, recipe.passages),
                                   begun.renderer)  # fmt: skip
    assert development is not None
    objective = Objective(begun.network, recipe.losses).eval()
    sums, queries, keys, found = torch.zeros(4), [], [], []
    with torch.no_grad():
        for rows in ([0, 1], [2, 3], [4]):
            batch = development.collator([development.examples[n] for n in rows])
            one = objective(**batch, divisors=torch.ones(2))
            labels = sum(len(chunk["labels"]) for chunk in batch["transcripts"])
            losses = one["language_modeling_loss"], one["contrastive_loss"]
            sums += torch.tensor([*losses, labels, len(rows)])
            queries.append(one["queries"])
            keys += batch["positive_keys"][:, 0].tolist()
            found += zip(batch["passage_keys"].tolist(), one["passages"], strict=True)
    passages = dict(found)
    vectors = torch.stack(list(passages.values()))
    nearest = [list(passages)[n] for n in (torch.cat(queries) @ vectors.T).argmax(dim=1).tolist()]
    writing, searching = float(sums[0] / sums[2]), float(sums[1] / sums[3])
    assert measured["eval_language_modeling_loss"] == pytest.approx(writing, abs=1e-4)
    assert measured["eval_contrastive_loss"] == pytest.approx(searching, abs=1e-4)
    assert measured["eval_loss"] == pytest.approx(0.5 * writing + searching, abs=1e-4)
    hits = sum(one == two for one, two in zip(nearest, keys, strict=True))
    assert measured["eval_recall@1"] == pytest.approx(hits / 5)
    assert measured["eval_passages"] == len(passages) == 6


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_the_batches_of_one_and_are_called_equally_often(
    world: int, size: int
) -> None:
    (alone, count) = own_batches(7, size, 0, 1)
    assert (list(chain(*alone)), len(alone)) == (list(range(7)), count)
    shares = [own_batches(7, size, rank, world) for rank in range(world)]
    assert len({len(batches) for batches, _ in shares}) == 1
    counted = [batch for batches, own in shares for batch in batches[:own]]
    assert sorted(counted) == alone


@pytest.mark.parametrize(
    ("method", "rate"), [("lora", 0.02), ("full", 0.003), ("top_layers", 0.003)]
)
def test_the_best_step_is_what_ends_up_in_output(
    base: Path, tmp_path: Path, method: str, rate: float
) -> None:
    adapter = {"rank": 4, "alpha": 8, "top_layers": 1 if method == "top_layers" else 0}
    recipe = recipe_with_dev(
        tmp_path / "run", base, method=method, adapter=adapter,
        trainer={"learning_rate": rate, "save_total_limit": 2},
    )  # fmt: skip
    output = run(recipe)
    values = dev_values(output)
    best = values.index(min(values)) + 1
    assert best < len(values) == 12, "there is something worse behind it"
    assert {p.name for p in output.glob("checkpoint-*")} == {f"checkpoint-{best}", "checkpoint-12"}
    if method == "lora":
        file = "adapter_model.safetensors"
        kept, saved, last = (load_file(f / file) for f in (output, output / f"checkpoint-{best}",
                                                           output / "checkpoint-12"))  # fmt: skip
    else:
        kept = load_file(output / "model.safetensors")
        saved, last = (
            {name.removeprefix("base_model.model."): value
             for name, value in load_file(output / f"checkpoint-{n}/trained.safetensors").items()
             if "token_adapter" not in name and "trainable_tokens" not in name}
            for n in (best, 12)
        )  # fmt: skip
    assert saved
    assert all(torch.equal(kept[name], value) for name, value in saved.items())
    assert not all(torch.equal(kept[name], value) for name, value in last.items())
    card = (output / "README.md").read_text(encoding="utf-8")
    assert f"| Step that was kept | {best}, by contrastive_loss on dev |" in card
    assert f"{min(values):.4f} |" in card


def test_what_a_run_does_not_embed_is_not_called_found_or_missed(
    base: Path, tmp_path: Path
) -> None:
    changes = {"contrastive_weight": 0.0, "dev_metric": "language_modeling_loss"}
    output = run(recipe_with_dev(tmp_path, base, **changes, trainer={"max_steps": 1}))
    (measured,) = (log for log in state_of(output)["log_history"] if "eval_loss" in log)
    assert measured["eval_language_modeling_loss"] > 0
    assert {"eval_recall@1", "eval_passages"}.isdisjoint(measured)
    assert "recall@1" not in (output / "README.md").read_text(encoding="utf-8")


def test_recall_is_better_when_it_is_larger(base: Path, tmp_path: Path) -> None:
    output = run(recipe_with_dev(tmp_path, base, dev_metric="recall@1"))
    values = dev_values(output, "recall@1")
    assert state_of(output)["best_metric"] == max(values) > min(values)
    assert state_of(output)["best_global_step"] == values.index(max(values)) + 1


def test_an_evaluation_may_follow_each_epoch(base: Path, tmp_path: Path) -> None:
    trainer = {"eval_strategy": "epoch", "max_steps": 6}
    output = run(recipe_with_dev(tmp_path, base, trainer=trainer))
    assert len(dev_values(output)) == 2


def test_development_passages_may_have_their_own_file(base: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "dev_passages.jsonl"
    corpus.write_text(
        "".join(json.dumps({"id": i, "text": f"{i} lies on a hill"}) + "\n" for i in PASSAGES)
    )
    recipe = recipe_with_dev(tmp_path, base, dev_passages=str(corpus), trainer={"max_steps": 1})
    begun = start(recipe)
    data = open_data(recipe.format, recipe.train, recipe.passages)
    development = open_development(recipe, data, begun.renderer)
    assert development is not None
    found = development.collator.find(development.examples[0], ["alba"])
    assert found[0].text == "alba lies on a hill"
    assert data.passages["alba"].text == PASSAGES["alba"].text


def test_evaluating_leaves_training_as_it_was(base: Path, tmp_path: Path) -> None:
    trainer = {"max_steps": 4, "save_steps": 4}
    quiet = run(write_recipe(tmp_path / "one", base, trainer={**EVERY_STEP, **trainer}
                             | {"eval_steps": 4}))  # fmt: skip
    often = run(recipe_with_dev(tmp_path / "two", base, trainer={"max_steps": 4}))
    one, two = (
        [log["loss"] for log in state_of(output)["log_history"] if "loss" in log]
        for output in (quiet, often)
    )
    assert two == pytest.approx(one, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dev": None, "early_stopping": {}}, "has early_stopping and no dev; expected the"),
        ({"dev": None, "dev_passages": "x.jsonl"}, "has dev_passages and no dev"),
        ({"dev": None, "trainer": {"eval_strategy": "steps"}}, "has trainer.eval_strategy and no"),
        ({"dev": "nowhere.jsonl"}, "No file nowhere.jsonl"),
        ({"dev_metric": "recall"}, "dev_metric is 'recall'; expected one of loss, "),
        ({"early_stopping": {"patience": 0}}, "is patience 0, min_delta 0.0; expected at least 1"),
        ({"early_stopping": {"min_delta": -1}}, "is patience 3, min_delta -1.0; expected"),
        ({"early_stopping": {"patients": 2}}, "early_stopping has the key 'patients'.*'patience'"),
        ({"early_stopping": 3}, "early_stopping is not a mapping"),
        ({"trainer": {"eval_steps": 2, "save_steps": 4}}, "eval_steps is 2 and trainer.save_steps"),
        ({"trainer": {"save_strategy": "no"}}, "trainer: --load_best_model_at_end requires"),
        ({"trainer": {"eval_strategy": "no"}}, "has dev, and trainer.eval_strategy no; expected"),
        ({"contrastive_weight": 0.0, "dev_metric": "recall@1"}, "contrastive_weight is 0 with dev"),
        ({"trainer": {"load_best_model_at_end": False}}, "has the key 'load_best_model_at_end'"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_measured_is_one_line(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    write_recipe(tmp_path, base, dev=str(write_dev(tmp_path)))
    file = tmp_path / "recipe.yaml"
    keys = yaml.safe_load(file.read_text())
    changes = {**changes, "trainer": {"max_steps": 1, **changes.get("trainer", {})}}
    file.write_text(yaml.safe_dump(keys | changes), encoding="utf-8")
    assert main(["train", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("onegen: error: ")
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("format", "metric", "row", "message"),
    [
        ("transcripts", "recall@1", {"segments": [{"text": "x"}]}, "a retrieval with positives"),
        ("pairs", "language_modeling_loss", {"query": "a", "positive": "b"}, "a written token"),
    ],
)
def test_a_metric_that_nothing_measures_is_refused_before_a_step_is_run(
    base: Path, tmp_path: Path, format: str, metric: str, row: dict[str, Any], message: str
) -> None:
    row = {"id": "1", "question": "q", **row} if format == "transcripts" else row
    for name in ("train.jsonl", "dev.jsonl"):
        (tmp_path / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
    recipe = write_recipe(
        tmp_path / "run", base, format=format, dev_metric=metric,
        train=str(tmp_path / "train.jsonl"), dev=str(tmp_path / "dev.jsonl"),
    )  # fmt: skip
    for look in (run, preview):
        with pytest.raises(InvalidInputError, match=message):
            look(recipe)
    assert not recipe.output.exists()


def test_a_trainer_without_a_development_set_has_nothing_to_evaluate(
    tmp_path: Path,
) -> None:
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    trainer = JointTrainer(model=torch.nn.Linear(1, 1), args=arguments)
    with pytest.raises(ValueError, match="no development set"):
        trainer.get_eval_dataloader()
