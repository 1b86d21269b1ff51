"""Scores as Markdown tables, and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onegen_model.evaluation.score.cases import Columns
from onegen_model.evaluation.score.scores import Scores

_DIGITS = {"questions": ".0f", "forwarded": ".0f", "reused": ".0f", "peak MiB": ".0f"}
NOTES = """\
± is the standard error; everything that belongs to one question counts as one case, and so do the
seconds of one batch.

- recall@k: the gold paragraph of a hop is among the first k of that hop's retrieval. A hop for
  which the model wrote no query is missed; where the question is the query, it serves every hop.
  support@k: gold paragraphs among the first k of any retrieval of the question. any gold@k: the
  hop's retrieval has a gold paragraph of the question. all gold@k: the retrievals up to the hop
  have all gold paragraphs of these hops. Questions without gold paragraphs do not count.
- less the first run: the mean of the differences of each question. Its error is smaller than the
  errors of the two rows, because both rows have the same questions.
- MRR, MAP, nDCG: by trec_eval, over the first 10. In the tables by hop and by training, with the
  hop's gold paragraph alone; in the others with all gold paragraphs, over one list (the first
  paragraph of each retrieval, then the second of each, …).
- retrieves: requested passages at least once. well-formed: wrote both ends of the answer frame.
  repeated: retrievals that repeat an earlier query text. same first: retrievals that rank the first
  paragraph of an earlier one first again (a request itself excludes what it has read). gold
  inserted: gold paragraphs that the model read.
- forwarded: positions that the network computed. reused: positions taken from the cache. seconds:
  of a batch, divided by its questions. peak MiB: of the whole process, loading included; on a GPU,
  of its memory. A largest value has no error.
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
