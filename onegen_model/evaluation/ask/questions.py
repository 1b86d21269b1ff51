"""Question files: one JSON object a line, as .jsonl or .jsonl.gz.

{"id": "q1", "question": "Who …?", "answer": "Ada", "aliases": ["A. L."], "dataset": "2wiki",
 "type": "comparison", "hops": [{"paragraph_id": "p1"}, {"paragraph_id": "p2"}],
 "candidates": ["p1", "p2", "p7"]}

`aliases`, `dataset`, `type` and `candidates` may be missing. A row with `"answerable": false` is
left out: nothing is gold in it.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.jsonl import JsonLines

logger = logging.getLogger(__name__)

_PIECE = re.compile(r"(?<=.)#\d+$")


@dataclass(frozen=True, slots=True)
class Question:
    """`hops` are the gold paragraphs in order; one may serve two hops."""

    id: str
    dataset: str
    type: str
    text: str
    answers: tuple[str, ...]
    hops: tuple[str, ...]
    candidates: tuple[str, ...]

    @property
    def gold(self) -> frozenset[str]:
        return frozenset(self.hops)


def read_questions(path: Path, *, single_hop: bool = False) -> list[Question]:
    """All answerable questions of a file; raises InvalidInputError with line and field."""
    lines = JsonLines(path)
    questions: dict[str, Question] = {}
    unanswerable = 0
    for number, row in enumerate(lines):
        if row.get("answerable") is False:
            unanswerable += 1
            continue
        problem = next(_problems(row, single_hop), None)
        if problem is None and row["id"] in questions:
            problem = f"id: {row['id']!r} stands above already; expected each once"
        if problem is not None:
            raise InvalidInputError(f"{lines.where(number)}: {problem}; mend the line")
        questions[row["id"]] = parse_question(row)
    if unanswerable:
        logger.warning("%d unanswerable questions of %s are left out", unanswerable, path)
    if not questions:
        raise InvalidInputError(
            f"{path} holds no question; expected at least one; name another file"
        )
    return list(questions.values())


def parse_question(row: Mapping[str, Any]) -> Question:
    """A question from a sound row."""
    return Question(
        row["id"],
        row.get("dataset") or "",
        row.get("type") or "",
        row["question"],
        (row["answer"], *(row.get("aliases") or ())),
        tuple(hop["paragraph_id"] for hop in row["hops"]),
        tuple(row.get("candidates") or ()),
    )


def _problems(row: Mapping[str, Any], single_hop: bool) -> Iterator[str]:
    for name in ("id", "question", "answer"):
        if not _is_text(row.get(name)):
            yield f"{name}: {_shown(row.get(name))}; expected some text"
    for name in ("dataset", "type"):
        value = row.get(name) or ""
        if not isinstance(value, str) or not _is_utf8(value):
            yield f"{name}: {_shown(row[name])}; expected text"
    for name in ("aliases", "candidates"):
        values = row.get(name) or []
        if not isinstance(values, list) or not all(map(_is_text, values)):
            yield f"{name}: {_shown(values)}; expected a list of texts"
    yield from _hop_problems(row.get("hops"), single_hop)


def _hop_problems(hops: object, single_hop: bool) -> Iterator[str]:
    if not isinstance(hops, list) or not hops:
        yield f"hops: {_shown(hops)}; expected a gold paragraph for each hop"
        return
    for at, hop in enumerate(hops):
        if not isinstance(hop, dict) or not _is_text(hop.get("paragraph_id")):
            yield f"hops[{at}].paragraph_id: {_shown(hop)}; expected the id of its gold paragraph"
    if single_hop and len(hops) != 1:
        yield f"hops: {len(hops)} of them; expected one in a single-hop task"


def _is_text(value: object) -> bool:
    """A lone half of a surrogate pair is none: neither tokenizers nor files take it."""
    return isinstance(value, str) and bool(value.strip()) and _is_utf8(value)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def spaced(rows: Sequence[Question], limit: int | None) -> list[Question]:
    """At most `limit` of `rows`, evenly spaced."""
    count = min(limit or len(rows), len(rows))
    return [rows[at * len(rows) // count] for at in range(count)]


def gold_of_training(paths: Iterable[Path]) -> frozenset[str]:
    """Paragraphs that were gold in training, from question files or training transcripts."""
    return frozenset(paragraph for path in paths for paragraph in _gold_of(path))


def _gold_of(path: Path) -> Iterator[str]:
    lines = JsonLines(path)
    for number, row in enumerate(lines):
        try:
            yield from _gold_of_row(row)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{lines.where(number)}: no gold paragraphs ({type(error).__name__}: {error}); "
                "expected `supporting`, `hops` or `segments` with positives; name another file"
            ) from error


def _gold_of_row(row: Mapping[str, Any]) -> list[str]:
    if row.get("answerable") is False:
        return []
    if "segments" not in row:
        found = row.get("supporting") or [hop["paragraph_id"] for hop in row["hops"]]
        return [str(paragraph) for paragraph in found]
    targets = [segment["target"] for segment in row["segments"] if segment.get("target")]
    # Where no retrieval is trained, what was inserted holds the gold, among distractors.
    names = [n for one in targets for n in one.get("positives") or one.get("inserted", ())]
    # A transcript names pieces of paragraphs: "<paragraph>#<n>".
    return [_PIECE.sub("", name) for name in names if isinstance(name, str)]
