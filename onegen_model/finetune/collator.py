"""Examples to tensors. Rows of like length share a chunk, so that little is padded."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.examples import RetrievalTarget, TrainingExample
from onegen_model.network import pad_rows
from onegen_model.template import Rendered, Renderer, Segment

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CollatorSettings:
    """`num_negatives` hard negatives are drawn per query; `max_length` bounds a transcript."""

    num_negatives: int = 1
    max_length: int = 2048
    chunk_tokens: int = 2048
    seed: int = 0


class Collator:
    """Renders a batch of examples and draws its positives and negatives.

    The batch: `transcripts` and `passages` are lists of chunks (dicts of tensors); `targets` (q,)
    and `excluded` (q, p) describe the queries in the order in which the chunks hold them.
    """

    def __init__(
        self,
        renderer: Renderer,
        passages: Mapping[str, Passage],
        settings: CollatorSettings = CollatorSettings(),
    ) -> None:
        self._renderer = renderer
        self._passages = passages
        self._settings = settings

    def render(self, example: TrainingExample) -> Rendered:
        """The transcript of one example; raises InvalidInputError where it cannot be used."""
        segments = [
            Segment(
                segment.text,
                segment.target is not None,
                self._find(example, segment.target.inserted) if segment.target else (),
            )
            for segment in example.segments
        ]
        rendered = self._renderer.transcript(example.question, segments)
        if len(rendered.ids) > self._settings.max_length:
            raise InvalidInputError(
                f"Example {example.id!r} has {len(rendered.ids)} tokens; expected at most "
                f"{self._settings.max_length}; shorten it or raise max_length"
            )
        return rendered

    def _find(self, example: TrainingExample, ids: Sequence[str]) -> tuple[Passage, ...]:
        missing = [i for i in ids if i not in self._passages]
        if missing:
            raise InvalidInputError(
                f"Example {example.id!r} names passage {missing[0]!r}; expected an id of the "
                "corpus; add the passage or mend the example"
            )
        return tuple(self._passages[i] for i in ids)

    def __call__(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        """One batch; examples are reordered by length."""
        pairs = sorted(
            ((self.render(example), example) for example in examples),
            key=lambda pair: len(pair[0].ids),
        )
        queries = [
            segment.target for _, e in pairs for segment in e.segments if segment.target is not None
        ]
        # Seeded by the batch itself: a resumed run, or another worker, draws the same.
        seed = "|".join([str(self._settings.seed), *(e.id for _, e in pairs)])
        drawn = draw(queries, self._settings.num_negatives, random.Random(seed))
        passages = self._find(pairs[0][1], drawn.passage_ids)
        rows = sorted(
            ((self._renderer.embed_ids(passage), passage.id) for passage in passages),
            key=lambda row: len(row[0]),
        )
        targets, excluded = relations(queries, drawn.targets, [row_id for _, row_id in rows])
        limit = self._settings.chunk_tokens
        transcripts = chunks([rendered for rendered, _ in pairs], lambda r: len(r.ids), limit)
        return {
            "transcripts": [_transcript_chunk(chunk) for chunk in transcripts],
            "passages": [
                _passage_chunk(chunk) for chunk in chunks([ids for ids, _ in rows], len, limit)
            ],
            "targets": targets,
            "excluded": excluded,
        }


@dataclass(frozen=True, slots=True)
class Draw:
    """The positive drawn for each query (None trains no retrieval) and all passages to embed."""

    targets: tuple[str | None, ...]
    passage_ids: tuple[str, ...]


def draw(queries: Sequence[RetrievalTarget], num_negatives: int, rng: random.Random) -> Draw:
    """Draw a positive and up to `num_negatives` unused hard negatives per query."""
    targets = tuple(rng.choice(q.positives) if q.positives else None for q in queries)
    chosen = dict.fromkeys(target for target in targets if target is not None)
    for query in queries:
        pool = [i for i in query.negatives if i not in chosen and i not in query.positives]
        chosen.update(dict.fromkeys(rng.sample(pool, min(num_negatives, len(pool)))))
    return Draw(targets, tuple(chosen))


def relations(
    queries: Sequence[RetrievalTarget], targets: Sequence[str | None], columns: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Target column of each query (-100: none) and which pairs are false negatives."""
    index = {passage_id: column for column, passage_id in enumerate(columns)}
    excluded = torch.zeros(len(queries), len(columns), dtype=torch.bool)
    labels = torch.full((len(queries),), -100)
    for row, (query, target) in enumerate(zip(queries, targets, strict=True)):
        for other in query.positives:
            if other in index:
                excluded[row, index[other]] = True
        if target is not None:
            labels[row] = index[target]
            excluded[row, index[target]] = False
    return labels, excluded


def chunks(items: Sequence[T], length: Callable[[T], int], limit: int) -> list[list[T]]:
    """Cut items, sorted by length, so that a chunk padded to its longest holds <= limit tokens."""
    cut: list[list[T]] = []
    for item in items:
        if cut and (len(cut[-1]) + 1) * length(item) <= limit:
            cut[-1].append(item)
        else:
            cut.append([item])
    return cut


def _transcript_chunk(rows: Sequence[Rendered]) -> dict[str, Tensor]:
    """Ids, and where to read: first the positions that predict `labels`, then the queries."""
    predict = [
        (row, column - 1)
        for row, rendered in enumerate(rows)
        for column, written in enumerate(rendered.written)
        if written
    ]
    queries = [(row, column) for row, r in enumerate(rows) for column in r.query_positions]
    labels = [rows[row].ids[column + 1] for row, column in predict]
    at_rows, at_columns = torch.tensor(predict + queries).T
    return {
        **pad_rows([rendered.ids for rendered in rows], pad_id=0),
        "rows": at_rows,
        "columns": at_columns,
        "labels": torch.tensor(labels),
    }


def _passage_chunk(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    padded = pad_rows(rows, pad_id=0)
    return {**padded, "rows": torch.arange(len(rows)), "columns": lengths - 1}
