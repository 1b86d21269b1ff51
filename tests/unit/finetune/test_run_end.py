"""The plot and the model card beside the checkpoint of a run."""

import hashlib
import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from onegen_model.finetune.run import training as run_module
from onegen_model.finetune.run.model_card import (
    RunFacts,
    describe_run,
    hub_id,
    questions_seen,
    write_card,
)
from onegen_model.finetune.run.plot import draw_run, series
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.trainer import JointTrainer
from onegen_model.finetune.run.training import export, run
from tests.support.finetuning import write_recipe

PNG = b"\x89PNG\r\n\x1a\n"
HISTORY = [
    {"step": 1, "loss": 3.0, "language_modeling_loss": 2.0, "contrastive_loss": 1.0},
    {"step": 2, "eval_language_modeling_loss": 2.5, "eval_recall@1": 0.5},
    {"step": 2, "train_runtime": 1.0},
]


@pytest.fixture(autouse=True)
def no_picture() -> None:
    """Here pictures are drawn."""


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Six steps of two questions, of which the checkpoint after the third is kept too."""
    recipe = write_recipe(tmp_path_factory.mktemp("finished"), base, license="apache-2.0")
    run(recipe)
    return recipe


def cells(card: str) -> dict[str, str]:
    """The tables of a card, by the first cell of each row."""
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {row[0]: " | ".join(row[1:]) for row in rows}


def history_of(checkpoint: Path) -> list[dict[str, float]]:
    history: list[dict[str, float]] = json.loads(
        (checkpoint / "trainer_state.json").read_text(encoding="utf-8")
    )["log_history"]
    return history


def test_the_picture_shows_every_step_also_those_before_a_kill(
    base: Path, finished: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (finished.output / "run.png").read_bytes().startswith(PNG)
    cut = write_recipe(tmp_path, base)
    shutil.copytree(finished.output / "checkpoint-3", cut.output / "checkpoint-3")
    drawn: list[Any] = []
    monkeypatch.setattr(run_module, "draw_run", lambda history, *_: drawn.append(history))
    run(cut)
    for name in ("language_modeling_loss", "contrastive_loss"):
        steps, values = series(drawn[0], name)
        assert steps == [1, 2, 3, 4, 5, 6]
        assert values == pytest.approx(
            series(history_of(finished.output / "checkpoint-6"), name)[1], abs=1e-5
        )


def test_a_picture_has_a_panel_for_each_of_what_was_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    assert draw_run(HISTORY, tmp_path / "new" / "run.png", kept_step=2)
    assert (tmp_path / "new" / "run.png").read_bytes().startswith(PNG)
    axes = {one.get_title(): one for one in figures[0].axes}
    assert list(axes) == ["language modeling loss", "contrastive loss", "recall@1"]
    lines = {
        line.get_label(): list(line.get_ydata())
        for line in axes["language modeling loss"].get_lines()
    }
    assert (lines["train"], lines["dev"]) == ([2.0], [2.5])
    assert "kept" in lines
    assert "matplotlib.pyplot" not in sys.modules, "it keeps figures, and asks for a display"


def test_without_matplotlib_a_run_succeeds_and_names_what_to_install(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    output = run(write_recipe(tmp_path, base, trainer={"max_steps": 1}))
    assert 'matplotlib is not installed; run `pip install "onegen[train]"`' in caplog.text
    assert not (output / "run.png").exists()
    assert (output / "onegen.json").is_file()
    assert (output / "README.md").is_file()


def test_a_run_that_logged_nothing_has_no_picture(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = {"max_steps": 1, "logging_steps": 5}
    output = run(write_recipe(tmp_path, base, trainer=trainer))
    assert "no loss was logged; lower trainer.logging_steps" in caplog.text
    assert not (output / "run.png").exists()
    assert "No loss was logged." in (output / "README.md").read_text(encoding="utf-8")


def test_the_card_names_the_base_and_the_data(finished: Recipe, base: Path) -> None:
    card = (finished.output / "README.md").read_text(encoding="utf-8")
    reported = cells(card)
    sha256 = json.loads((finished.output / "onegen.json").read_text())["base"]["sha256"]
    assert reported["Base"] == f"{base.name}, sha256 `{sha256}`"
    assert reported["Steps"] == "6 of 6"
    assert reported["Questions seen"] == "12"
    assert reported["Method"] == "lora"
    assert "1 process" in reported["On"]
    assert "torch " in reported["With"]
    digest = hashlib.sha256(finished.train.read_bytes()).hexdigest()
    assert reported["train"] == f"`train.jsonl` | 6 | `{digest}`"
    last = history_of(finished.output / "checkpoint-6")[-1]
    assert reported["language_modeling_loss"] == f"{last['language_modeling_loss']:.4f}"
    assert reported["contrastive_loss"] == f"{last['contrastive_loss']:.4f}"
    assert "OneGenModel.from_pretrained('out')" in card
    assert "learning_rate: 0.01" in card
    assert "at most 64 tokens" in card
    assert str(base.parent) not in card, "the card holds no folder of the machine"
    assert "More Information Needed" not in card, "that would be the card of PEFT"


def test_the_metadata_of_the_card_is_what_the_hub_reads(finished: Recipe) -> None:
    data = ModelCard.load(finished.output / "README.md").data
    assert (data.license, data.library_name) == ("apache-2.0", "onegen")
    assert data.base_model is None, "a folder is no model of the hub"
    assert "lora" in data.tags
    assert data.pipeline_tag == "text-generation"


def test_a_base_is_named_as_the_hub_names_it(tmp_path: Path) -> None:
    assert hub_id("default") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    snapshot = tmp_path / "hub" / "models--Some--Model-1B" / "snapshots" / "0a1b"
    assert hub_id(str(snapshot)) == "Some/Model-1B"
    assert hub_id(str(tmp_path)) is None


@pytest.mark.parametrize("name", ["default", "entity-linking"])
def test_a_card_names_the_shipped_checkpoint_that_a_run_went_on_from(
    finished: Recipe, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    written: list[RunFacts] = []
    monkeypatch.setattr(run_module, "describe", written.append)
    run(finished)
    (facts,) = written
    recipe = replace(finished, base="default", adapter_from=name)
    card = describe_run(replace(facts, recipe=recipe), "mine")
    assert cells(card)["Went on from"] == f"the checkpoint `{name}` of OneGen"
    assert f"adapter_from: {name}\n" in card
    other = replace(finished, adapter_from=str(finished.output))
    assert cells(describe_run(replace(facts, recipe=other), "mine"))["Went on from"] == "out"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_card_written_by_hand_stays_and_our_own_is_renewed(
    base: Path, tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = write_recipe(tmp_path, base, method=method, trainer={"max_steps": 1})
    card = recipe.output / "README.md"
    card.parent.mkdir()
    card.write_text("---\nlicense: mit\n---\nMine.\n", encoding="utf-8")
    run(recipe)
    assert card.read_text(encoding="utf-8") == "---\nlicense: mit\n---\nMine.\n"
    assert "was written by hand and is kept" in caplog.text
    card.unlink()
    run(recipe)
    assert "| Steps | 1 of 1 |" in card.read_text(encoding="utf-8")
    run(write_recipe(tmp_path, base, method=method, trainer={"max_steps": 2}))
    assert "| Steps | 2 of 2 |" in card.read_text(encoding="utf-8")


def test_export_takes_card_and_picture_along(finished: Recipe, tmp_path: Path) -> None:
    for name in ("first", "second"):
        target = tmp_path / name
        export(finished.output, target)
        assert (target / "run.png").read_bytes() == (finished.output / "run.png").read_bytes()
        assert (target / "README.md").read_text() == (finished.output / "README.md").read_text()
    (tmp_path / "first" / "README.md").write_text("Mine.", encoding="utf-8")
    export(finished.output, tmp_path / "first")
    assert (tmp_path / "first" / "README.md").read_text() == "Mine."
    (finished.output / "run.png").rename(tmp_path / "away.png")
    export(finished.output, tmp_path / "third")
    assert not (tmp_path / "third" / "run.png").exists()
    (tmp_path / "away.png").rename(finished.output / "run.png")


def test_whole_weights_are_no_adapter_to_export(
    finished: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "whole"
    shutil.copytree(finished.output, source, ignore=shutil.ignore_patterns("adapter_*", "check*"))
    script = Path(__file__).parents[3] / "training" / "export.py"
    monkeypatch.setattr(sys, "argv", ["export.py", str(source), str(tmp_path / "target")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert str(ended.value).startswith(f"error: {source} holds no adapter; expected")
    assert not (tmp_path / "target").exists()


def test_the_seconds_of_a_killed_run_count_too(
    base: Path, finished: Recipe, tmp_path: Path
) -> None:
    cut = write_recipe(tmp_path, base)
    folder = cut.output / "checkpoint-3"
    shutil.copytree(finished.output / "checkpoint-3", folder)
    state = json.loads((folder / "trainer_state.json").read_text())
    state["log_history"][-1]["seconds"] = 5000.0
    (folder / "trainer_state.json").write_text(json.dumps(state))
    run(cut)
    reported = cells((cut.output / "README.md").read_text(encoding="utf-8"))
    assert 5000 <= int(reported["Seconds"].replace(",", "")) < 5600


@pytest.mark.parametrize(
    "trainer",
    [
        {"max_steps": 4},
        {"max_steps": 7, "per_device_train_batch_size": 4},
        {"max_steps": 3, "gradient_accumulation_steps": 2},
        {"max_steps": 5, "per_device_train_batch_size": 4, "dataloader_drop_last": True},
    ],
)
def test_questions_are_counted_as_they_were_seen(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any]
) -> None:
    seen: list[str] = []
    step = JointTrainer.training_step

    def counted(self: JointTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        seen.extend(inputs["ids"])
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(JointTrainer, "training_step", counted)
    output = run(write_recipe(tmp_path, base, trainer={"save_steps": 100, **trainer}))
    reported = cells((output / "README.md").read_text(encoding="utf-8"))
    assert reported["Questions seen"] == str(len(seen))


def test_questions_of_all_processes_are_counted() -> None:
    arguments: Any = SimpleNamespace(
        per_device_train_batch_size=2, world_size=2, gradient_accumulation_steps=1,
        dataloader_drop_last=False,
    )  # fmt: skip
    state: Any = SimpleNamespace(global_step=5)
    assert questions_seen(state, arguments, num_examples=10) == 10 + 2 * 4


def test_a_card_that_is_not_text_is_kept(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff\xfe card")
    assert not write_card(tmp_path, "ours")
    assert (tmp_path / "README.md").read_bytes() == b"\xff\xfe card"
