"""Two questions over four paragraphs, and a random model that answers them by script."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onegen_model import OneGenModel
from onegen_model.cli import main
from tests.support.script import scripted

PARAGRAPHS = (
    ("p1", "Arden Mill", "Arden Mill belongs to Ada Berg."),
    ("p2", "Ada Berg", "She was born in Oslo."),
    ("p3", "Borg Tower", "Borg Tower stands in Rome."),
    ("p4", "Rome", "A city of many hills."),
)
ARDEN, BORG = "Where was the owner of Arden Mill born?", "What colour has the city?"
QUESTIONS: tuple[dict[str, Any], ...] = (
    {
        "id": "q1",
        "dataset": "2wiki",
        "type": "compositional",
        "question": ARDEN,
        "answer": "Oslo",
        "hops": [{"paragraph_id": "p1"}, {"paragraph_id": "p2"}],
        "candidates": ["p1", "p2", "p4"],
    },
    {
        "id": "q2",
        "dataset": "musique",
        "question": BORG,
        "answer": "red",
        "aliases": ["green"],
        "hops": [{"paragraph_id": "p3"}, {"paragraph_id": "p4"}],
        "candidates": ["p3", "p4"],
    },
)
# The second answer has one word too many, and its chain one retrieval too few.
SCRIPT = {
    ARDEN: "Who owns Arden Mill?[RQ] Ada\nAda Berg, where?[RQ] Oslo\n"
    "<FINAL-ANSWER> Oslo</FINAL-ANSWER>",
    BORG: "Where is Borg Tower?[RQ] x\n<FINAL-ANSWER> blue green</FINAL-ANSWER>",
}


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_world(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", QUESTIONS)
    rows = [{"id": i, "title": title, "text": text} for i, title, text in PARAGRAPHS]
    write_lines(folder / "corpus.jsonl", rows)


def evaluate(
    model: OneGenModel | None, *options: str, script: Mapping[str, str] | None = None
) -> int:
    """`onegen evaluate` in the working folder; without a model none may be loaded."""

    def load(_path: str | None, _dtype: str) -> OneGenModel:
        assert model is not None, "a model was loaded"
        return model

    argv = ["evaluate", "--questions", "questions.jsonl", *options]
    if model is None:
        return main(argv, load)
    with scripted(model, SCRIPT if script is None else script):
        return main(argv, load)


def read_scores(path: str | Path) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Table, row, column, value."""
    found: dict[str, Any] = json.loads((Path(path) / "scores.json").read_text())
    return found


def values(table: str, row: str, path: str = "run") -> dict[str, float]:
    """What a row of a saved table holds, by column."""
    columns = read_scores(path)[table][row]
    return {name: round(column["value"], 3) for name, column in columns.items()}
