"""Scores as Markdown tables, and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onegen_model.evaluation.score.cases import Columns
from onegen_model.evaluation.score.scores import Scores

_DIGITS = {"questions": ".0f", "forwarded": ".0f", "reused": ".0f", "peak MiB": ".0f"}
NOTES = """\
± is the standard error; what belongs to one question counts as one case, and so do the seconds of
one batch.

- recall@k: the gold paragraph of a hop is among the first k of that hop's retrieval (a hop for
  which the model wrote no query is missed; a question, where it is the query, stands for each hop).
  support@k: gold paragraphs that any retrieval of the question has among its first k. any gold@k:
  the hop's retrieval has any gold paragraph of the question. all gold@k: the retrievals up to the
  hop have all gold of these hops.
- less the first run: the mean of each question's difference, so two rows are told apart by it more
  finely than by their own errors.
- MRR, MAP, nDCG: by trec_eval, over the first 10. By hop (and by what was gold in training) with
  the hop's gold paragraph alone; else with all gold paragraphs, over one list (the first of each
  retrieval, then the second of each, …).
- retrieves: asked for passages at least once. well-formed: wrote an answer frame, both ends.
  repeated: retrievals with an earlier query text. same first: retrievals that rank the first
  paragraph of an earlier one first, where what was read is not left out (in a request it is). gold
  inserted: gold paragraphs that were read.
- forwarded: positions that the network computed; reused: taken from the cache. seconds: of a
  batch, divided by its questions. peak MiB: of the whole process, loading included; on a GPU, of
  its memory. A largest value has no error.
"""


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def table(first: str, rows: Mapping[str, Columns]) -> str:
    """Columns in the order in which rows have them; "-" where a row has none."""
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
    """All tables under their titles, and what their columns mean."""
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
