"""Rows to Markdown tables."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from onegen_model.documents.failures import FileProblem

_SAMPLE = 1 << 16
_DELIMITERS = ",;\t|"
_BREAKS = re.compile(r"\s*[\r\n]+\s*")


def table_of(text: str, delimiter: str | None = None) -> str:
    """A .csv text as a Markdown table, whose first row is the header; raises FileProblem."""
    try:
        delimiter = delimiter or _delimiter(text)
        # The limit of a field is one of the module, and shared with the program around us.
        return markdown_table(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise FileProblem(f"it is not a table of text ({error})") from error


def _delimiter(text: str) -> str:
    """The sign that most lines have equally often; a comma where there is none."""
    lines = [line for line in text[:_SAMPLE].split("\n")[:50] if line.strip()]
    rows = {sign: [len(row) for row in csv.reader(lines, delimiter=sign)] for sign in _DELIMITERS}
    widths = {sign: max(set(row), key=row.count) for sign, row in rows.items() if row}
    usable = [sign for sign, width in widths.items() if width > 1]
    return max(usable, key=lambda sign: rows[sign].count(widths[sign]), default=",")


def markdown_table(rows: Iterable[Sequence[object]]) -> str:
    """A table; rows and columns without content are left out, short rows are filled."""
    filled = [cells for cells in map(_cells, rows) if any(cells)]
    if not filled:
        return ""
    # One stray cell, far to the right, makes no wide table of a narrow one.
    used = sorted({column for row in filled for column, cell in enumerate(row) if cell})
    return "\n".join(_lines(filled, used))


def _lines(rows: list[list[str]], used: list[int]) -> Iterator[str]:
    for number, row in enumerate(rows):
        cells = (row[column] if column < len(row) else "" for column in used)
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{' --- |' * len(used)}"


def _cells(row: Sequence[object]) -> list[str]:
    cells = ["" if cell is None else _cell(str(cell)) for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _cell(text: str) -> str:
    return _BREAKS.sub(" ", text).strip().replace("|", "\\|")
