"""What a searcher ranks for each retrieval of a question: paragraphs, best first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onegen_model.evaluation.ask.questions import Question
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.events import Passage, Query
from onegen_model.retrieval.protocol import Retriever

DEPTH = 10
# Several pieces of one paragraph count once, so more pieces than paragraphs are asked for.
PIECES = 100
PARAGRAPH = "paragraph"  # the name, in a passage's metadata, of the paragraph it is a piece of

QueryOf = Callable[[Question, Trace | None], list[Query]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """`hops[h]` are the best paragraphs for retrieval `h`, at most `DEPTH`.

    `query` is "span" (what the model wrote; of our own searcher, its state there) or "question";
    `asked` are the texts.
    """

    question_id: str
    searcher: str
    query: str
    hops: tuple[tuple[str, ...], ...]
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranker:
    """A searcher, and what it is asked for a question."""

    searcher: str
    query: str
    retriever: Retriever
    queries: QueryOf

    def rank(self, question: Question, trace: Trace | None) -> Ranking:
        """The same query is asked once."""
        queries = self.queries(question, trace)
        answers = self.retriever.retrieve(queries)
        hops = [paragraphs(hit.passage for hit in hits) for hits in answers]
        if self.query == "question":  # the same for every hop
            hops *= len(question.hops)
        asked = asked_texts(self.query, question, trace)
        return Ranking(question.id, self.searcher, self.query, tuple(hops), asked)


def asked_texts(query: str, question: Question, trace: Trace | None) -> tuple[str, ...]:
    """What a ranker of this `query` is asked."""
    if query == "question":
        return (question.text,)
    return tuple(event.text for event in trace.requested) if trace else ()


def queries_of_spans(filter_of: "FilterOf") -> QueryOf:
    """One query for each retrieval that the model asked for."""

    def queries(question: Question, trace: Trace | None) -> list[Query]:
        wanted = filter_of(question)
        return [
            Query(event.query_embedding, event.text, PIECES, wanted)
            for event in (trace.requested if trace else ())
        ]

    return queries


def queries_of_questions(filter_of: "FilterOf", embed: "Embed") -> QueryOf:
    """The question itself, once."""

    def queries(question: Question, _: Trace | None) -> list[Query]:
        return [Query(embed(question.text), question.text, PIECES, filter_of(question))]

    return queries


FilterOf = Callable[[Question], Mapping[str, Any] | None]
Embed = Callable[[str], Any]


def everywhere(_: Question) -> None:
    """The filter of a question that may find any passage."""


def among_candidates(question: Question) -> Mapping[str, Any]:
    """The filter of a question that may find pieces of its own candidates only."""
    return {PARAGRAPH: list(question.candidates)}


def paragraph_of(passage: Passage) -> str:
    """The paragraph that a passage is a piece of: "<paragraph>#<n>", unless it is one itself."""
    if PARAGRAPH in passage.metadata:
        return str(passage.metadata[PARAGRAPH])
    return passage.id.rpartition("#")[0] if "chunk" in passage.metadata else passage.id


def paragraphs(passages: Iterable[Passage], depth: int = DEPTH) -> tuple[str, ...]:
    """Each paragraph once, at the place of its best piece."""
    return tuple(dict.fromkeys(map(paragraph_of, passages)))[:depth]


def ranking_to_dict(ranking: Ranking) -> dict[str, Any]:
    """A JSON-able form."""
    return asdict(ranking)


def ranking_from_dict(plain: Mapping[str, Any]) -> Ranking:
    """Inverse of `ranking_to_dict`; raises KeyError or TypeError."""
    hops: Sequence[Sequence[str]] = plain["hops"]
    return Ranking(
        str(plain["question_id"]),
        str(plain["searcher"]),
        str(plain["query"]),
        tuple(tuple(map(str, hop)) for hop in hops),
        tuple(map(str, plain.get("asked", ()))),
    )
