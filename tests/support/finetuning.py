"""Six examples, a base and a recipe to train on them, and the losses of a run."""

import json
from pathlib import Path
from typing import Any

import yaml

from onegen_model.events import Passage
from onegen_model.finetune.data.examples import RetrievalTarget, TrainingExample, TrainingSegment
from onegen_model.finetune.run.recipe import Recipe
from tests.conftest import MakeNetwork, make_tokenizer
from tests.support.training_files import write

NAMES = ("alba", "brig", "cary", "dorn", "elva", "fink")
PASSAGES = {name: Passage(name, f"{name} is a small town by the sea") for name in NAMES}


def example(number: int) -> TrainingExample:
    positive, negative = NAMES[number % 6], NAMES[(number + 1) % 6]
    target = RetrievalTarget((positive,), (negative,), (negative, positive))
    end = TrainingSegment(" by the sea\n<FINAL-ANSWER> the sea</FINAL-ANSWER>")
    return TrainingExample(
        str(number),
        f"what is number {number}?",
        (TrainingSegment(f"where is {positive}?", target), end),
    )


EXAMPLES = [example(number) for number in range(6)]


def make_base(folder: Path, make_network: MakeNetwork, **overrides: Any) -> Path:
    tokenizer = make_tokenizer(control=False)
    network = make_network("llama", **overrides)
    network.resize_token_embeddings(len(tokenizer))
    network.float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plain(example: TrainingExample) -> dict[str, Any]:
    segments = [
        {"text": s.text}
        | (
            {
                "target": {
                    n: list(getattr(s.target, n)) for n in ("positives", "negatives", "inserted")
                }
            }
            if s.target
            else {}
        )
        for s in example.segments
    ]
    return {"id": example.id, "question": example.question, "segments": segments}


def write_recipe(folder: Path, base: Path, **changes: Any) -> Recipe:
    """A recipe of six examples in batches of two; `changes` replace its keys."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(plain(e)) + "\n" for e in EXAMPLES)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    corpus = "".join(json.dumps({"id": p.id, "text": p.text}) + "\n" for p in PASSAGES.values())
    (folder / "passages.jsonl").write_text(corpus, encoding="utf-8")
    trainer = {
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.01,
        "save_steps": 3,
        "logging_steps": 1,
        "use_cpu": True,
        **changes.pop("trainer", {}),
    }
    keys = {
        "train": str(folder / "train.jsonl"),
        "passages": str(folder / "passages.jsonl"),
        "output": str(folder / "out"),
        "base": str(base),
        "max_passage_tokens": 64,
        "adapter": {"rank": 4, "alpha": 8},
        "trainer": trainer,
        **changes,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return Recipe.read(file)


LINKED = [
    {
        "id": f"t{number}",
        "text": f"The town {name} is by the sea.",
        "mentions": [
            {"start": 9, "end": 13, "entity_id": name, "negatives": [NAMES[(number + 1) % 6]]}
        ],
    }
    for number, name in enumerate(NAMES)
]


def write_linking_recipe(folder: Path, base: Path, **changes: Any) -> Recipe:
    """A recipe of six texts with one mention each; `changes` replace its keys."""
    recipe = write_recipe(folder, base, **{"format": "entity_linking", **changes})
    write(folder / "train.jsonl", *LINKED)
    entities = ({"id": name, "name": name, "description": "a small town"} for name in NAMES)
    write(folder / "passages.jsonl", *entities)
    return recipe


def losses_of(output: Path) -> list[dict[str, float]]:
    last = max(output.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    names = ("loss", "language_modeling_loss", "contrastive_loss")
    return [{name: log[name] for name in names} for log in history if "loss" in log]
