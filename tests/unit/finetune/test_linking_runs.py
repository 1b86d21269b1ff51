"""Runs with `format: entity_linking` on a tiny base: what learns, what is saved, what links."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from onegen_model import OneGenModel, Passage, PassageIndex, SamplingParams
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import load_checkpoint
from onegen_model.checkpoint.presets import ENTITY_LINKING
from onegen_model.cli import main
from onegen_model.errors import CheckpointError
from onegen_model.finetune.run.start import start
from onegen_model.finetune.run.trainable import save_trained, stack
from onegen_model.finetune.run.training import run
from onegen_model.transcript.linking_format import LinkingFormat
from onegen_model.transcript.template import Template
from tests.support.finetuning import LINKED, NAMES, losses_of, write_linking_recipe, write_recipe
from tests.support.published import publish
from tests.support.training_files import write

ADDED = {"<MENTION>", "</MENTION>", "[LK]"}


@pytest.fixture(scope="module")
def answering(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that was trained on questions."""
    return run(write_recipe(tmp_path_factory.mktemp("answering"), base, trainer={"max_steps": 2}))


def two_steps(folder: Path, base: Path, **changes: Any) -> Path:
    trainer = {"max_steps": 2, "save_steps": 2}
    return run(write_linking_recipe(folder, base, trainer=trainer, **changes))


def test_two_steps_train_a_model_that_links(base: Path, tmp_path: Path) -> None:
    output = two_steps(tmp_path, base)
    for losses in losses_of(output):
        assert losses["language_modeling_loss"] > 0
        assert losses["contrastive_loss"] > 0
    model = OneGenModel.from_pretrained(output)
    assert model.can_link
    assert model.template == Template(linking=LinkingFormat())
    entities = PassageIndex.build(model, [Passage(name, "a town", name) for name in NAMES])
    text = str(LINKED[0]["text"])
    linked = model.link(text, entities=entities)
    assert linked.text == text
    answer = model.generate("where is alba?", sampling=SamplingParams(max_new_tokens=3))
    assert len(answer.ids) > len(model.renderer.question_ids("where is alba?")), "it answers too"


def test_the_card_of_a_linker_says_how_to_link(base: Path, tmp_path: Path) -> None:
    card = (two_steps(tmp_path, base) / "README.md").read_text(encoding="utf-8")
    assert "A OneGen checkpoint that links entities" in card
    assert "query token" not in card
    assert "| Texts seen | 4 |" in card
    assert ModelCard(card).data.tags == ["onegen", "entity-linking", "lora"]
    (code,) = re.findall("```python\n(.*?)```", card, re.DOTALL)
    found: dict[str, Any] = {}
    exec(code.replace("'out'", repr(str(tmp_path / "out"))), found)
    assert found["linked"].text == "Adams wrote the Guide."


def test_linking_is_learnt_on_top_of_an_adapter_that_answers(
    base: Path, answering: Path, tmp_path: Path
) -> None:
    recipe = write_linking_recipe(tmp_path, base, adapter_from=str(answering))
    begun = start(recipe)
    tokenizer = begun.renderer.tokenizer
    first = load_checkpoint(answering, torch.float32, "cpu")
    assert ADDED.isdisjoint(first.tokenizer.get_added_vocab())
    assert tokenizer.get_added_vocab().keys() >= ADDED
    # Old rows have their trained values, new ones start as the mean of their words.
    ids = torch.tensor([tokenizer("where is alba? [RQ]").input_ids])
    with torch.no_grad():
        loaded = first.network(ids).logits
        before = begun.network.eval()(ids).logits[..., : loaded.shape[-1]]
    torch.testing.assert_close(before, loaded, atol=1e-4, rtol=1e-4)
    save_trained(begun.network, tmp_path / "saved")
    tensors = load_file(tmp_path / "saved" / "adapter_model.safetensors")
    old = load_file(answering / "adapter_model.safetensors")
    assert tensors.keys() == old.keys()
    for name, value in old.items():
        grown = 3 if name.endswith("trainable_tokens_delta") else 0
        assert tensors[name].shape[0] == value.shape[0] + grown


@pytest.mark.parametrize("frozen", [1])
def test_frozen_layers_keep_their_values_and_are_saved(
    base: Path, answering: Path, tmp_path: Path, frozen: int
) -> None:
    adapter = {"rank": 4, "alpha": 8, "frozen": frozen}
    output = two_steps(tmp_path, base, adapter_from=str(answering), adapter=adapter)
    before, after = (
        load_file(folder / "adapter_model.safetensors") for folder in (answering, output)
    )
    assert before.keys() == after.keys(), "the saved adapter is complete"
    layers = {
        name: int(name.split(".layers.")[1].split(".")[0]) for name in before if "lora" in name
    }
    assert set(layers.values()) == {0, 1}
    for name, layer in layers.items():
        is_same = torch.equal(before[name], after[name])
        assert is_same == (layer < frozen), name
    trained = OneGenModel.from_pretrained(output)
    plain = OneGenModel.from_pretrained(answering)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        own, other = (
            one.network(ids, output_hidden_states=True).hidden_states[frozen]
            for one in (trained, plain)
        )
    torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)


def test_a_frozen_network_computes_what_the_whole_one_does(
    base: Path, answering: Path, tmp_path: Path
) -> None:
    ids = torch.tensor([[5, 6, 7]])
    logits = []
    for frozen in (0, 1):
        adapter = {"rank": 4, "alpha": 8, "frozen": frozen}
        recipe = write_linking_recipe(
            tmp_path / str(frozen), base, adapter_from=str(answering), adapter=adapter
        )
        network = start(recipe).network
        layers, _ = stack(network)
        learns = [any(one.requires_grad for one in layer.parameters()) for layer in layers]
        assert learns == [not frozen, True]
        with torch.no_grad():
            logits.append(network.eval()(ids).logits)
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)


def test_a_trained_linker_is_trained_on(base: Path, tmp_path: Path) -> None:
    first = two_steps(tmp_path / "first", base)
    recipe = write_linking_recipe(tmp_path / "second", base, adapter_from=str(first))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        begun = start(recipe).network.eval()(ids).logits
        loaded = load_checkpoint(first, torch.float32, "cpu").network(ids).logits
    torch.testing.assert_close(begun, loaded, atol=1e-4, rtol=1e-4)


def test_published_texts_train_a_linker(base: Path, tmp_path: Path) -> None:
    recipe = write_linking_recipe(tmp_path, base, trainer={"max_steps": 1, "save_steps": 1})
    lines, entities = [], []
    for one, name in zip(LINKED, NAMES, strict=True):
        marked = str(one["text"]).replace(name, f"<MENTION>{name}</MENTION>[LK][_CONTINUE_]")
        asked = {
            "role": "user",
            "content": ENTITY_LINKING.prompt.replace("{question}", one["text"]),
        }
        reply = {"role": "assistant", "content": marked, "positive": [name], "negative": [[]]}
        lines.append({"messages": [asked, reply]})
        said = [{"role": "user", "content": f"{name}: a town"}]
        entities.append(
            {"uid": name, "messages": [*said, {"role": "assistant", "content": "[SE]"}]}
        )
    write(recipe.train, *lines)
    assert recipe.passages is not None
    write(recipe.passages, *entities)
    output = run(recipe)
    assert OneGenModel.from_pretrained(output).can_link
    (losses,) = losses_of(output)
    assert losses["contrastive_loss"] > 0


def test_the_published_checkpoint_is_trained_on(tmp_path: Path) -> None:
    tokens = ("[SE]", "[LK]", "[_CONTINUE_]")
    published = OneGenModel.from_pretrained(publish(tmp_path / "published", tokens))
    whole = tmp_path / "whole"
    published.save_pretrained(whole)
    trained = OneGenModel.from_pretrained(two_steps(tmp_path / "run", whole))
    assert trained.template == published.template, "its tags stay text"
    size = len(published.renderer.tokenizer)
    assert len(trained.renderer.tokenizer) == size
    entities = PassageIndex.build(trained, [Passage(name, "a town", name) for name in NAMES])
    text = str(LINKED[0]["text"])
    assert trained.link(text, entities=entities).text == text
    with pytest.raises(CheckpointError, match="answers no questions; expected one that does"):
        run(write_recipe(tmp_path / "questions", whole))


def test_a_dry_run_shows_what_of_a_text_is_learnt(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_linking_recipe(tmp_path, base)
    assert main(["train", str(tmp_path / "recipe.yaml"), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["example"] == "t0"
    spans = [(one["role"], "".join(one["tokens"])) for one in found["transcript"]]
    assert spans[0][0] == "prompt"
    assert str(LINKED[0]["text"]) in spans[0][1]
    assert {role for role, _ in spans[1:]} == {"written", "no target", "link token"}
    assert [text for role, text in spans if role == "link token"] == ["[LK]"]
    behind = "".join(text for role, text in spans[1:])
    assert behind.startswith("The town<MENTION> alba</MENTION>[LK] is by the sea.")
    assert not recipe.output.exists()


def edited(folder: Path, **changes: Any) -> Path:
    file = folder / "onegen.json"
    plain = json.loads(file.read_text(encoding="utf-8"))
    plain["template"]["linking"].update(changes)
    file.write_text(json.dumps(plain), encoding="utf-8")
    return folder


def test_the_format_of_linking_is_kept_in_onegen_json(tmp_path: Path) -> None:
    formats = [
        None,
        LinkingFormat(),
        LinkingFormat(after_link="[_CONTINUE_]", tags="text", lead=" ", prompt="Link {question}"),
    ]
    for one in formats:
        config = CheckpointConfig(Template(linking=one), 64)
        config.write(tmp_path)
        assert CheckpointConfig.read(tmp_path) == config
    assert "linking" not in Template().to_dict(), "older fingerprints stay the same"
    assert LinkingFormat().to_dict().keys() == {
        *("system", "prompt", "open", "close", "link", "after_link")
    }


@pytest.mark.parametrize(
    "changes",
    [{"open": 5}, {"link": None}, {"after_link": ["[X]"]}, {"tags": "words"}, {"colour": "red"}],
)
def test_a_damaged_format_of_linking_is_one_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    CheckpointConfig(Template(linking=LinkingFormat()), 64).write(tmp_path)
    with pytest.raises(CheckpointError, match=r"onegen.json cannot be read \("):
        CheckpointConfig.read(edited(tmp_path, **changes))
