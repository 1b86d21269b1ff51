"""Adapt the default checkpoint to a handbook; measure it before and after on held-back questions.

    $ python examples/10_adapt_to_a_handbook.py --steps 1 --limit 2
    before: exact match 0.50, recall@1 1.00 (2 questions)
    after 1 steps: exact match 0.50, recall@1 1.00 (2 questions)

Without options it takes all steps of the recipe and asks all questions: about half an hour on two
cores. docs/guides/fine-tuning.md has the result. Each step is a command that you could type.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
HANDBOOK = ROOT / "examples" / "handbook"
RECIPE = ROOT / "training" / "recipes" / "handbook.yaml"

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, help="training steps (default: those of the recipe)")
parser.add_argument("--limit", type=int, help="held-back questions (default: all)")
parser.add_argument("--out", type=Path, help="folder of the run, to continue (default: a new one)")
options = parser.parse_args()
folder = options.out or Path(tempfile.mkdtemp())
folder.mkdir(parents=True, exist_ok=True)


def onegen(*arguments: object) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "onegen_model.cli", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(name: str, *model: object) -> None:
    """Embed the handbook, ask the questions, and print two of the measures."""
    index = folder / f"{name.partition(' ')[0]}.index"
    onegen("index", *sorted(HANDBOOK.glob("*.md")), "--out", index, *model)
    limit = ("--limit", options.limit) if options.limit else ()
    out = index.with_suffix(".run")
    asked = ("--questions", HANDBOOK / "questions.jsonl", "--index", index, "--out", out)
    [scores] = json.loads(onegen("evaluate", *asked, *limit, *model, "--json")).values()
    shown = (f"{key} {scores[key]['value']:.2f}" for key in ("exact match", "recall@1"))
    print(f"{name}: {', '.join(shown)} ({scores['exact match']['n']} questions)")


measure("before")
recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8")) | {
    "train": str(HANDBOOK / "train.jsonl"),
    "passages": str(folder / "before.index"),
    "output": str(folder / "model"),
}
recipe["trainer"]["max_steps"] = steps = options.steps or recipe["trainer"]["max_steps"]
(folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
onegen("train", folder / "recipe.yaml")
measure(f"after {steps} steps", "--model", folder / "model")
