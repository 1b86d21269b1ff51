"""Question files for evaluation: JSON Lines, as `.jsonl` or `.jsonl.gz`, one question per line.

| field | type | meaning |
| --- | --- | --- |
| `question` | text, required | the question as it is asked |
| `answer` | text, required | the gold answer |
| `id` | text | unique within the file; the number of the line if missing |
| `aliases` | list of texts | other answers that count as right |
| `hops` | list of `{"paragraph_id": text}` | gold paragraphs in the order of the hops |
| `candidates` | list of texts | ids of the paragraphs that `--pool own` searches |
| `dataset` | text | names a row of the table by kind of question |
| `type` | text | names a finer row of that table |
| `answerable` | true or false | `false`: the line is skipped and counted |

Question and answer are enough:

```json
{"question": "Who wrote the report?", "answer": "Ada"}
```

Recall and the other measures of retrieval need `hops`; a question without them is left out of
these columns. `paragraph_id` and `candidates` name paragraphs of the corpus by their `id`. Other
fields are ignored. With everything:

```json
{"id": "q1", "question": "Where was the writer of the report born?", "answer": "Oslo",
 "aliases": ["Oslo, Norway"], "hops": [{"paragraph_id": "p1"}, {"paragraph_id": "p2"}],
 "candidates": ["p1", "p2", "p7"], "dataset": "own", "type": "bridge"}
```

(A line break inside an object is for reading only; each object takes one line of the file.)
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from onegen_model.errors import InvalidInputError
from onegen_model.jsonl import JsonLines

logger = logging.getLogger(__name__)

# A pattern makes pydantic refuse lone surrogates too, which neither tokenizers nor files can hold.
_Text = Annotated[str, StringConstraints(pattern="^")]
_SomeText = Annotated[str, StringConstraints(pattern=r"\S")]


@dataclass(frozen=True, slots=True)
class GoldQuestion:
    """A question with its gold answers and gold paragraphs.

    `hops` are the gold paragraphs in order, empty where they are unknown; one paragraph may serve
    two hops. A question that has no answer has no `answers`.
    """

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


class _HopRecord(BaseModel):
    model_config = ConfigDict(strict=True)
    paragraph_id: _SomeText = Field(description="the id of a gold paragraph")


class _QuestionRecord(BaseModel):
    """One line of the file; the descriptions are what an error message says was expected."""

    model_config = ConfigDict(strict=True)
    id: _SomeText | None = Field(None, description="some text")
    question: _SomeText = Field(description="some text")
    answer: _SomeText = Field(description="some text")
    dataset: _Text | None = Field(None, description="text")
    type: _Text | None = Field(None, description="text")
    aliases: list[_SomeText] | None = Field(None, description="a list of texts")
    candidates: list[_SomeText] | None = Field(None, description="a list of texts")
    hops: list[_HopRecord] | None = Field(None, description="a list of gold paragraphs")


class _UnanswerableRecord(_QuestionRecord):
    answer: _Text | None = Field(None, description="text")  # type: ignore[assignment]


_EXPECTED = {
    name: field.description
    for record in (_QuestionRecord, _HopRecord)
    for name, field in record.model_fields.items()
}


def read_questions(
    path: str | PathLike[str], *, single_hop: bool = False, unanswerable: bool = False
) -> list[GoldQuestion]:
    """All answerable questions of a file, and with `unanswerable` the others as well.

    Raises InvalidInputError with line and field.
    """
    lines = JsonLines(Path(path))
    questions: dict[str, GoldQuestion] = {}
    skipped = 0
    for index, row in enumerate(lines):
        if row.get("answerable") is False and not unanswerable:
            skipped += 1
            continue
        try:
            question = parse_question(row, str(index + 1))
            _check(question, questions, single_hop)
        except InvalidInputError as error:
            raise InvalidInputError(f"{lines.where(index)}: {error}; correct the line") from error
        questions[question.id] = question
    if skipped:
        logger.warning("%d unanswerable questions of %s are left out", skipped, path)
    if not questions:
        raise InvalidInputError(
            f"{path} holds no question; expected at least one; name another file"
        )
    return list(questions.values())


def _check(question: GoldQuestion, earlier: Mapping[str, GoldQuestion], single_hop: bool) -> None:
    if question.id in earlier:
        raise InvalidInputError(f"id: {question.id!r} is used above; expected each id once")
    if single_hop and len(question.hops) > 1:
        raise InvalidInputError(
            f"hops: {len(question.hops)} paragraphs; expected one in a single-hop task"
        )


def parse_question(row: Mapping[str, Any], default_id: str = "") -> GoldQuestion:
    """The question of one line; raises InvalidInputError that names the first wrong field."""
    kind = _UnanswerableRecord if row.get("answerable") is False else _QuestionRecord
    try:
        record = kind.model_validate(row)
    except ValidationError as error:
        raise InvalidInputError(_first_problem(error)) from error
    return GoldQuestion(
        record.id or default_id,
        record.dataset or "",
        record.type or "",
        record.question,
        tuple(answer for answer in (record.answer, *(record.aliases or ())) if answer),
        tuple(hop.paragraph_id for hop in record.hops or ()),
        tuple(record.candidates or ()),
    )


def _first_problem(error: ValidationError) -> str:
    """`hops[0].paragraph_id: missing; expected the id of a gold paragraph`."""
    first = error.errors()[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    field = [part for part in first["loc"] if isinstance(part, str)][-1]
    is_missing = first["type"] == "missing" or first["input"] is None
    shown = "missing" if is_missing else repr(first["input"])
    if len(shown) > 60:
        shown = f"{shown[:59]}…"
    return f"{place.removeprefix('.')}: {shown}; expected {_EXPECTED[field]}"


def spaced(rows: Sequence[GoldQuestion], limit: int | None) -> list[GoldQuestion]:
    """At most `limit` of `rows`, evenly spaced."""
    count = min(limit or len(rows), len(rows))
    return [rows[at * len(rows) // count] for at in range(count)]
