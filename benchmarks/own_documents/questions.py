"""The questions about the documents, and when an answer to one is right."""

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

QUESTIONS = Path(__file__).parent / "questions.jsonl"


@dataclass(frozen=True, slots=True)
class OwnQuestion:
    """One fact of one file; without `answers` it cannot be answered from the documents.

    `source` is relative to the folder of the documents. `needs` says what has to stand beside a
    fact that is not understood alone: its "heading", or the header of its "table".
    """

    id: str
    question: str
    answers: tuple[str, ...]
    source: str | None
    kind: str
    needs: str | None = None


def read_own_questions(path: Path = QUESTIONS) -> list[OwnQuestion]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        OwnQuestion(
            row["id"],
            row["question"],
            tuple(filter(None, (row["answer"], *row.get("aliases", ())))),
            row["source"],
            row["kind"],
            row.get("needs"),
        )
        for row in rows
    ]


def holds(text: str, answers: tuple[str, ...]) -> bool:
    """Whether one of the answers stands in the text, as whole words, in any case and spacing."""
    plain = _plain(text)
    return any(re.search(rf"(?<!\w){re.escape(_plain(one))}(?!\w)", plain) for one in answers)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
