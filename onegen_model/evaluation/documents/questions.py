"""Questions about your own documents: JSON Lines (`.jsonl` or `.jsonl.gz`), one question a line.

| field | type | meaning |
| --- | --- | --- |
| `question` | text, required | the question as it is asked; each one once |
| `answer` | text, number, list of texts or null, required | the accepted answer or answers; `null`: the documents do not answer the question |
| `aliases`, `answerable` | list of texts; `false` | further accepted answers; the same as `null` |
| `source` | text | where the answer is: a file as `onegen index --list` names it (the end of its path will do), or a passage id |
| `passage` | text | a passage id, used where there is no `source`; `onegen synthesize` writes it |

```json
{"question": "How long is the notice period?", "answer": ["six weeks", "6 weeks"], "source": "handbook/leaving.md"}
{"question": "Who was the first caretaker?", "answer": null}
```

Other fields are ignored. All wrong lines are named at once.
"""  # noqa: E501

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.jsonl import JsonLines, Problem
from onegen_model.places import PassageNames

# Of a run: its task in settings.json, and its file of ranks.
TASK = "documents"
RANKS = "ranks.jsonl"
_MAX_SHOWN = 10


@dataclass(frozen=True, slots=True)
class DocumentQuestion:
    """A question with its accepted `answers`; without one the documents do not answer it.

    `source` is a file or a passage id, "" where it is unknown; `place` is `file:line`.
    """

    text: str
    answers: tuple[str, ...] = ()
    source: str = ""
    place: str = ""

    @property
    def id(self) -> str:
        """The text: a question occurs once in a file, and lines may move."""
        return self.text


def read_document_questions(path: str | PathLike[str]) -> list[DocumentQuestion]:
    """All questions of a file; raises InvalidInputError that names each wrong line."""
    lines = JsonLines(Path(path))
    questions: dict[str, DocumentQuestion] = {}
    problems: list[str] = []
    for number, row in enumerate(lines.scan()):
        place = lines.where(number)
        found = row if isinstance(row, Problem) else _parse(row, place)
        if isinstance(found, Problem):
            problems.append(f"{place}: {found}")
        elif (earlier := questions.setdefault(found.text, found)) is not found:
            problems.append(f"{place}: question: the same as in {earlier.place}")
    if problems:
        raise InvalidInputError(
            f"{listed(problems)}; expected a question and its answer a line, each question once; "
            "correct the lines"
        )
    if not questions:
        raise InvalidInputError(
            f"{path} holds no question; expected at least one; name another file"
        )
    return list(questions.values())


def listed(problems: Sequence[str]) -> str:
    """The first problems, and how many more there are."""
    more = len(problems) - _MAX_SHOWN
    return "; ".join(problems[:_MAX_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _parse(row: Mapping[str, Any], place: str) -> DocumentQuestion | Problem:
    text = _text(row.get("question"))
    if text is None:
        return Problem("question", _expected(row, "question", "some text"))
    if "answer" not in row:
        return Problem("answer", "missing; expected a text, or null for a question without one")
    if not isinstance(row.get("aliases") or [], list):
        return Problem("aliases", _expected(row, "aliases", "a list of texts"))
    answers = _answers(row)
    if answers is None:
        what = _expected(row, "answer", "some text, a list of such texts, or null")
        return Problem("answer", what)
    name = "passage" if row.get("source") is None else "source"
    source = row.get(name)
    if source is not None and _text(source) is None:
        return Problem(name, _expected(row, name, "a file, or a passage id"))
    return DocumentQuestion(text, answers, _text(source) or "", place)


def _answers(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """None where one of them is no text."""
    given, aliases = row["answer"], row.get("aliases") or []
    if given is None or row.get("answerable") is False:
        return ()
    many = [*(given if isinstance(given, list) else [given]), *aliases]
    texts = [_text(one) for one in many]
    known = tuple(text for text in texts if text is not None)
    return known if known and len(known) == len(many) else None


def _text(value: object) -> str | None:
    """Some text that can be written to a file; a number is its digits."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    return None if any("\ud800" <= mark <= "\udfff" for mark in value) else value.strip()


def _expected(row: Mapping[str, Any], name: str, what: str) -> str:
    shown = repr(row[name]) if row.get(name) is not None else "missing"
    return f"{shown if len(shown) <= 60 else f'{shown[:59]}…'}; expected {what}"


def gold_passages(
    questions: Iterable[DocumentQuestion], passages: Iterable[Passage]
) -> dict[str, frozenset[str]]:
    """The ids of the passages of each question's source, by the question's text.

    Raises InvalidInputError that names each source without a passage.
    """
    names = PassageNames(passages)
    found = {one: names.find(one.source) for one in questions if one.source}
    if lost := [question for question, ids in found.items() if not ids]:
        problems = [f"{one.place}: source: {one.source!r}{_near(one, names)}" for one in lost]
        raise InvalidInputError(
            f"{listed(problems)}; expected a source with a passage in the index; name a file as "
            "the index does (relative to the folder that the index lies in), or a passage id"
        )
    return {question.text: frozenset(ids) for question, ids in found.items()}


def _near(question: DocumentQuestion, names: PassageNames) -> str:
    near = names.nearest(question.source)
    return f" (did you mean {near!r}?)" if near else ""
