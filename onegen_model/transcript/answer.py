"""Events of one request, folded into an answer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from onegen_model.citations import Citation, cite
from onegen_model.events import (
    Event,
    Finished,
    FinishReason,
    PassagesInserted,
    RetrievalRequested,
    ScoredPassage,
    Token,
    Usage,
)
from onegen_model.places import held_ids
from onegen_model.transcript.renderer import Renderer


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One hop: the query text, and the passages that were inserted."""

    hop: int
    query: str
    passages: tuple[ScoredPassage, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is the text of the answer frame, `steps` are the other lines that the model wrote.

    `ids` is the whole context; as `history` of the next question it is not read again. `written`
    holds the ids of the written text, cut where passages were inserted: no query token, end token
    or reflection token. `passage_ids` name all passages that `ids` hold, neighbours of a hit and
    those of earlier turns included. `sources` are the places of what this answer has read. `reason`
    says in a sentence which search found nothing, and under which limits; it is empty where every
    search found something, and where there was none. `tokens` are all written tokens where
    `SamplingParams.logprobs` asked for their log-probabilities, and empty elsewhere.
    """

    text: str
    steps: tuple[str, ...]
    retrievals: tuple[Retrieval, ...]
    usage: Usage
    finish_reason: FinishReason
    ids: tuple[int, ...]
    written: tuple[tuple[int, ...], ...] = ()
    passage_ids: tuple[str, ...] = ()
    reason: str = ""
    tokens: tuple[Token, ...] = ()

    @property
    def found(self) -> bool:
        """Whether every search of this answer found something, or there was none."""
        return not self.reason

    @property
    def sources(self) -> tuple[Citation, ...]:
        """Each passage of `retrievals` once, in the order in which it was read."""
        return cite(scored for one in self.retrievals for scored in one.passages)


@dataclass(frozen=True, slots=True)
class Span:
    """Text and ids that were written between two insertions."""

    text: str = ""
    ids: tuple[int, ...] = ()


def fold(
    events: Sequence[Event],
    ids: Sequence[int],
    renderer: Renderer,
    opening: Sequence[Span] = (Span(),),
    passage_ids: Sequence[str] = (),
    *,
    constrained: bool = False,
) -> Answer:
    """The answer that all events of one finished request add up to.

    `opening` is the unfinished answer that the request continued; `passage_ids` are the passages
    that its prompt held. `constrained`: the request had a grammar, whose text is the answer as it
    was written.
    """
    new = written_spans(events, renderer.roles.is_text)
    last = opening[-1]
    spans = [*opening[:-1], Span(last.text + new[0].text, last.ids + new[0].ids), *new[1:]]
    retrievals: list[Retrieval] = []
    for event in events:
        match event:
            case RetrievalRequested():
                retrievals.append(Retrieval(event.hop, event.text))
            case PassagesInserted():
                retrievals[-1] = replace(retrievals[-1], passages=event.passages)
            case Finished():
                steps, text = renderer.template.parse([span.text for span in spans])
                if constrained:
                    begun = [*(span.text for span in opening), ""]
                    steps = renderer.template.parse(begun)[0]
                    text = "".join(span.text for span in new)
                known = (*passage_ids, *_inserted(retrievals))
                parsed = (text, steps, tuple(retrievals), event.usage, event.reason)
                written = tuple(span.ids for span in spans)
                rest = (_reason(events), _scored_tokens(events))
                return Answer(*parsed, tuple(ids), written, known, *rest)
    raise ValueError("the events hold no Finished; expected all events of one request")


def written_spans(
    events: Iterable[Event], is_text: Callable[[int], bool] = lambda _: True
) -> list[Span]:
    """Text and ids of a request's tokens, cut where passages were inserted; at least one span.

    `is_text` decides which ids belong to a span; the text of a token is kept in any case.
    """
    texts: list[list[str]] = [[]]
    ids: list[list[int]] = [[]]
    for event in events:
        if isinstance(event, Token):
            texts[-1].append(event.text)
            ids[-1] += [event.token_id] * is_text(event.token_id)
        elif isinstance(event, PassagesInserted):
            texts.append([])
            ids.append([])
    return [Span("".join(text), tuple(some)) for text, some in zip(texts, ids, strict=True)]


def _reason(events: Sequence[Event]) -> str:
    reasons = (event.reason for event in events if isinstance(event, PassagesInserted))
    return next(filter(None, reasons), "")


def _scored_tokens(events: Sequence[Event]) -> tuple[Token, ...]:
    """All tokens, where some have log-probabilities: forced ones have none in any case."""
    tokens = tuple(event for event in events if isinstance(event, Token))
    return tokens if any(token.logprob is not None for token in tokens) else ()


def _inserted(retrievals: Sequence[Retrieval]) -> list[str]:
    return list(held_ids(scored.passage for one in retrievals for scored in one.passages))
