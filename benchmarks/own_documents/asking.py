"""Asks the questions about the documents, and keeps what was found for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from benchmarks.own_documents.questions import OwnQuestion, holds
from onegen_model import (
    Answer,
    OneGenModel,
    Passage,
    PassageIndex,
    Query,
    RetrievalParams,
    ScoredPassage,
)
from onegen_model.places import place_of

# How far down the passage that holds the answer is looked for.
DEPTH = 50


@dataclass(slots=True)
class WatchedIndex:
    """An index that keeps the queries it was asked."""

    index: PassageIndex
    queries: list[Query] = field(default_factory=list)

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        self.queries += queries
        return self.index.retrieve(queries)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question.

    `found`: the answer does not say that nothing was found. `source_first`:
    the first passage of the first retrieval is of the right file. `source_inserted`: one of all
    inserted passages is. `passage_inserted`: one of these holds the answer. `rank` is the best rank
    of a passage of the right file that holds the answer, over all queries, None beyond `DEPTH`.
    `scores` are the best ones of each search, whatever the context held already.
    """

    question: OwnQuestion
    answer: Answer
    seconds: float
    found: bool
    right: bool
    scores: tuple[float, ...] = ()
    readable: bool = False
    indexed: bool = False
    source_first: bool = False
    source_inserted: bool = False
    passage_inserted: bool = False
    rank: int | None = None

    @property
    def verdict(self) -> str:
        """Whether the answer is right, and if not, why; of one that the documents lack, whether
        it was refused.
        """
        if not self.found:
            return "refused"
        if not self.question.answers:
            return "answered"
        if self.right:
            return "right"
        if self.passage_inserted:
            return "read wrongly"
        if not self.readable:
            return "file not read"
        if not self.indexed:
            return "in no passage"
        return f"rank {self.rank}" if self.rank else f"beyond rank {DEPTH}"


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks with the defaults of the library, but for `retrieval` if it is given; `root` is what
    sources in the index stand for.
    """

    model: OneGenModel
    index: PassageIndex
    folder: Path
    root: Path
    retrieval: RetrievalParams | None = None

    def ask(self, questions: Sequence[OwnQuestion], batch: int = 8) -> Iterator[Outcome]:
        """In batches, whose answers are those of each question alone."""
        for start in tqdm(range(0, len(questions), batch), desc="Asking", unit="batch"):
            some = questions[start : start + batch]
            watched = WatchedIndex(self.index)
            started = perf_counter()
            answers = self.model.generate(
                [one.question for one in some], retriever=watched, retrieval=self.retrieval
            )
            seconds = (perf_counter() - started) / len(some)
            for question, answer in zip(some, answers, strict=True):
                own = [one for one in watched.queries if one.question == question.question]
                yield self._outcome(question, answer, seconds, own)

    def _outcome(
        self, question: OwnQuestion, answer: Answer, seconds: float, queries: Sequence[Query]
    ) -> Outcome:
        found = answer.found
        hits = [some for one in queries for some in self.index.search([one.embedding], DEPTH)]
        scores = tuple(some[0].score for some in hits if some)
        if question.source is None:
            return Outcome(question, answer, seconds, found, not found, scores)
        inserted = [[hit.passage for hit in one.passages] for one in answer.retrievals]
        flat = [passage for some in inserted for passage in some]
        right = holds(answer.text, question.answers)
        return Outcome(
            question,
            answer,
            seconds,
            found,
            right,
            scores,
            readable=any(self.source(one) == question.source for one in self.index.passages),
            indexed=any(self._answers(one, question) for one in self.index.passages),
            source_first=any(self.source(one) == question.source for one in flat[:1]),
            source_inserted=any(self.source(one) == question.source for one in flat),
            passage_inserted=any(self._answers(one, question) for one in flat),
            rank=self._rank(question, hits),
        )

    def source(self, passage: Passage) -> str | None:
        """The file of a passage, relative to the folder of the documents."""
        place = place_of(passage)
        if place is None:
            return None
        path = (self.root / place.source).resolve()
        folder = self.folder.resolve()
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else None

    def _answers(self, passage: Passage, question: OwnQuestion) -> bool:
        text = f"{passage.title}\n{passage.text}"
        return holds(text, question.answers) and self.source(passage) == question.source

    def _rank(
        self, question: OwnQuestion, searches: Sequence[Sequence[ScoredPassage]]
    ) -> int | None:
        ranks = [
            rank
            for hits in searches
            for rank, hit in enumerate(hits, start=1)
            if self._answers(hit.passage, question)
        ]
        return min(ranks, default=None)


def to_dict(outcome: Outcome) -> dict[str, Any]:
    """JSON-able, with the beginning of the answer."""
    return {
        "id": outcome.question.id,
        "kind": outcome.question.kind,
        "verdict": outcome.verdict,
        "answer": outcome.answer.text[:80],
        "found": outcome.found,
        "source_first": outcome.source_first,
        "source_inserted": outcome.source_inserted,
        "passage_inserted": outcome.passage_inserted,
        "rank": outcome.rank,
        "retrievals": len(outcome.answer.retrievals),
        "scores": [round(score, 3) for score in outcome.scores],
        "seconds": round(outcome.seconds, 2),
    }
