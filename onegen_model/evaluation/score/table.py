"""Scores as Markdown tables, and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onegen_model.evaluation.score.cases import Columns
from onegen_model.evaluation.score.scores import Scores

_DIGITS = {
    "questions": ".0f",
    "mentions": ".0f",
    "forwarded": ".0f",
    "reused": ".0f",
    "peak MiB": ".0f",
}
NOTES = """\
± is the standard error over questions (of seconds: over batches). recall@k: the gold paragraph of a
hop is among the first k of its retrieval. support@k, any gold@k, all gold@k: gold paragraphs found
by any retrieval; one of them by the hop's; all of them up to the hop. docs/guides/evaluation.md
explains every column.
"""


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with one column of text and further columns of numbers."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def table(first: str, rows: Mapping[str, Columns]) -> str:
    """A table of all columns that any row has; "-" where a row lacks one."""
    names = list(dict.fromkeys(name for columns in rows.values() for name in columns))
    cells = [
        [row.replace("|", "\\|")]
        + [
            format(columns[name], _DIGITS.get(name, ".2f")) if name in columns else "-"
            for name in names
        ]
        for row, columns in rows.items()
    ]
    return markdown([first, *names], cells)


def report(scores: Scores) -> str:
    """All tables under their titles, and the meaning of their columns."""
    parts = [f"### {title}\n\n{table('run', rows)}\n" for title, rows in scores.items()]
    return "\n".join([*parts, NOTES])


def scores_to_dict(scores: Scores) -> dict[str, Any]:
    """A JSON-able form."""
    return {
        title: {
            row: {name: value.to_dict() for name, value in columns.items()}
            for row, columns in rows.items()
        }
        for title, rows in scores.items()
    }
