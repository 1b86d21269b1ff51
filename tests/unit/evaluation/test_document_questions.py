"""Files of questions about one's own documents."""

import gzip
import json
from pathlib import Path

from onegen_model.evaluation import read_document_questions


def test_every_form_of_an_answer_and_a_source_is_read(tmp_path: Path) -> None:
    rows = [
        {"question": " Who? ", "answer": 6, "aliases": ["six"], "source": None, "passage": "a#1"},
        {"question": "Why?", "answer": ["x", 1.5], "source": " a.md ", "passage": "a#1"},
        {"question": "When?", "answer": "x", "answerable": False, "kind": "other"},
        {"question": "Where?", "answer": None, "source": 7},
    ]
    lines = "\r\n".join(json.dumps(row) for row in rows)
    (tmp_path / "qa.jsonl.gz").write_bytes(gzip.compress(f"\ufeff{lines}".encode()))
    read = read_document_questions(tmp_path / "qa.jsonl.gz")
    assert [(one.text, one.answers, one.source) for one in read] == [
        ("Who?", ("6", "six"), "a#1"),
        ("Why?", ("x", "1.5"), "a.md"),
        ("When?", (), ""),
        ("Where?", (), "7"),
    ]
