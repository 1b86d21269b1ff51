"""Rankings of paragraphs: what a retriever finds for each retrieval of a question."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onegen_model.evaluation.ask.questions import GoldQuestion
from onegen_model.evaluation.ask.settings import QueryKind
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.events import Passage, Query
from onegen_model.places import place_of
from onegen_model.retrieval.protocol import Retriever

DEPTH = 10
# Pieces of one paragraph count once, so more pieces than paragraphs are requested.
PIECES = 100
PARAGRAPH = "paragraph"  # where a passage's metadata holds the id of its paragraph

QueryOf = Callable[[GoldQuestion, Trace | None], list[Query]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Paragraphs that one retriever ranks for one question.

    `hops[h]` are the best paragraphs for retrieval `h`, at most `DEPTH`. `query` is what the
    retriever was asked with: "span" (what the model wrote; the model's own index is asked with its
    state there) or "question". `asked` are the texts.
    """

    question_id: str
    retriever: str
    query: str
    hops: tuple[tuple[str, ...], ...]
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranker:
    """A retriever with its name, and the queries that it is asked for a question."""

    name: str
    query: QueryKind
    retriever: Retriever
    queries: QueryOf

    def rank(self, question: GoldQuestion, trace: Trace | None) -> Ranking:
        """The ranking for one question; `trace` holds what the model wrote."""
        queries = self.queries(question, trace)
        answers = self.retriever.retrieve(queries)
        hops = [paragraphs(hit.passage for hit in hits) for hits in answers]
        if self.query == "question":  # one query serves every hop
            hops *= max(1, len(question.hops))
        asked = asked_texts(self.query, question, trace)
        return Ranking(question.id, self.name, self.query, tuple(hops), asked)


def asked_texts(query: QueryKind, question: GoldQuestion, trace: Trace | None) -> tuple[str, ...]:
    """The query texts of a ranker with this `query`."""
    if query == "question":
        return (question.text,)
    return tuple(event.text for event in trace.requested) if trace else ()


def queries_of_spans(filter_of: "FilterOf") -> QueryOf:
    """One query for each retrieval that the model requested."""

    def queries(question: GoldQuestion, trace: Trace | None) -> list[Query]:
        wanted = filter_of(question)
        return [
            Query(event.query_embedding, event.text, PIECES, wanted)
            for event in (trace.requested if trace else ())
        ]

    return queries


def queries_of_questions(filter_of: "FilterOf", embed: "Embed") -> QueryOf:
    """One query: the question itself."""

    def queries(question: GoldQuestion, _: Trace | None) -> list[Query]:
        return [Query(embed(question.text), question.text, PIECES, filter_of(question))]

    return queries


FilterOf = Callable[[GoldQuestion], Mapping[str, Any] | None]
Embed = Callable[[str], Any]


def everywhere(_: GoldQuestion) -> None:
    """No filter: a question may retrieve any passage."""


def among_candidates(question: GoldQuestion) -> Mapping[str, Any]:
    """The filter that leaves pieces of a question's own candidates."""
    return {PARAGRAPH: list(question.candidates)}


def paragraph_of(passage: Passage) -> str:
    """The id of the paragraph that a passage is a piece of (or is, as a whole)."""
    if PARAGRAPH in passage.metadata:
        return str(passage.metadata[PARAGRAPH])
    place = place_of(passage)
    return place.document if place else passage.id


def paragraphs(passages: Iterable[Passage], depth: int = DEPTH) -> tuple[str, ...]:
    """Ids of paragraphs, each once, at the rank of its best piece."""
    return tuple(dict.fromkeys(map(paragraph_of, passages)))[:depth]


def ranking_to_dict(ranking: Ranking) -> dict[str, Any]:
    """A JSON-able form; the file calls the retriever "searcher", as its first release did."""
    plain = asdict(ranking)
    return {"searcher" if name == "retriever" else name: plain[name] for name in plain}


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
