"""`onegen demo`: questions about the bundled encyclopaedia of an invented world."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onegen_model.cli.ask import Session
from onegen_model.cli.display import open_display
from onegen_model.cli.index import grow
from onegen_model.cli.interrupts import INTERRUPTED
from onegen_model.errors import OneGenError, PassageIndexError
from onegen_model.indexing.reading import Reading, read_passages
from onegen_model.indexing.sync import open_or_create
from onegen_model.jsonl import JsonLines
from onegen_model.retrieval.index import PassageIndex

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.model import OneGenModel

DEMO = Path(__file__).parents[1] / "demo"
_BATCH = 32


def run_demo(options: Namespace, load_model: "LoadModel") -> int:
    corpus, questions = _find_data()
    model = load_model(options.model, options.dtype)
    reading = read_passages(model, [corpus], corpus.parent)
    index = _prepare_index(model, reading)
    if index is None:
        sys.stderr.write("onegen: stopped; run the same command again to continue\n")
        return INTERRUPTED
    session = Session(model, index, open_display(as_json=options.json, template=model.template))
    for question in questions:
        session.display.question(question["question"], question.get("answer", ""))
        if session.answer(question["question"]) is None:
            sys.stderr.write("\nonegen: cancelled\n")
            return INTERRUPTED
    return 0


def _find_data() -> tuple[Path, list[dict[str, Any]]]:
    """The corpus, and the questions marked `"demo": true`."""
    corpus, questions = DEMO / "corpus.jsonl", DEMO / "questions.jsonl"
    if not corpus.is_file() or not questions.is_file():
        raise OneGenError(
            f"{DEMO} lacks the demo's corpus or questions; expected corpus.jsonl and "
            "questions.jsonl; install onegen again"
        )
    return corpus, [row for row in JsonLines(questions) if row.get("demo")]


def _prepare_index(model: "OneGenModel", reading: Reading) -> PassageIndex | None:
    """The index of the corpus, built once per model; None after Ctrl-C."""
    from onegen_model.checkpoint.default_base import cache_dir

    folder = cache_dir() / f"demo-{model.fingerprint[:16]}.index"
    try:
        index = open_or_create(model, folder)
    except PassageIndexError:
        index = PassageIndex(model)  # a damaged index is replaced: it can be built again
    if {passage.id: passage for passage in index.passages} == {
        passage.id: passage for passage in reading.passages
    }:
        return index
    return index if grow(index, folder, reading, _BATCH).is_whole else None
