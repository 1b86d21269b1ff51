"""Queries with the paragraphs that answer them become examples of retrieval alone."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from onegen_model.cli import main

LONG = "The mill grinds rye. " * 40 + "In 1921 a lighthouse was built on its roof."
CORPUS = (
    {"id": "p-mill", "title": "Mill", "text": LONG},
    {"id": "p-rye", "title": "Rye", "text": "Rye is a cereal."},
    {"id": "p-sea", "title": "Sea", "text": "The lighthouse stands by the sea."},
)


@pytest.mark.weights
def test_the_positive_is_the_piece_that_answers(
    tmp_path: Path,
    training_script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    question = "When was the lighthouse built?"
    lines = [
        {"query": question, "pos": "p-mill", "neg": ["p-rye"]},
        {"query": question, "pos": "p-sea", "neg": ["p-rye", "p-mill"]},
    ]
    files = {"embed_pairs_train": lines, "multihop_corpus": CORPUS, "singlehop_corpus": []}
    for name, lines in files.items():
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)
    out = tmp_path / "pairs"
    monkeypatch.setattr("sys.argv", ["pairs", "--data", str(tmp_path), "--out", str(out)])
    training_script("prepare_pairs").main()
    passages = (out / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    pieces = [one for one in map(json.loads, passages) if one["title"] == "Mill"]
    assert len(pieces) > 1
    (line,) = (out / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (segment,) = json.loads(line)["segments"]
    positives = [pieces[-1]["id"], "p-sea#0"]
    assert segment["target"] == {"positives": positives, "negatives": ["p-rye#0"]}
    options = [str(out / "train.jsonl"), "--passages", str(out / "passages.jsonl")]
    assert main(["data", "check", *options]) == 0
    assert "Examples:    1, with 1 retrievals" in capsys.readouterr().out
