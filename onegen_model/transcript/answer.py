"""One request's events folded into an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from onegen_model.transcript.renderer import Renderer


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One hop: what was searched and what was put into the context."""

    hop: int
    query: str
    passages: tuple[ScoredPassage, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is what stands in the answer frame, `steps` the other lines the model wrote.

    `ids` is the whole context; as `history` of the next question it is not read again. `written`
    holds the model's own ids, cut where passages were inserted, without query and end tokens.
    `passage_ids` name all passages that `ids` hold, those of earlier turns included.
    """

    text: str
    steps: tuple[str, ...]
    retrievals: tuple[Retrieval, ...]
    usage: Usage
    finish_reason: FinishReason
    ids: tuple[int, ...]
    written: tuple[tuple[int, ...], ...] = ()
    passage_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """Text and ids of what was written between two insertions."""

    text: str = ""
    ids: tuple[int, ...] = ()


def fold(
    events: Sequence[Event],
    ids: Sequence[int],
    renderer: Renderer,
    opening: Sequence[Span] = (Span(),),
    passage_ids: Sequence[str] = (),
) -> Answer:
    """The answer that all events of one finished request add up to.

    `opening` is the unfinished answer that the request continued; `passage_ids` are the passages
    that its prompt held.
    """
    spans = [span.text for span in opening]
    written = [list(span.ids) for span in opening]
    retrievals: list[Retrieval] = []
    for event in events:
        match event:
            case Token():
                spans[-1] += event.text
                written[-1] += [event.token_id] * renderer.is_text(event.token_id)
            case RetrievalRequested():
                retrievals.append(Retrieval(event.hop, event.text))
            case PassagesInserted():
                retrievals[-1] = replace(retrievals[-1], passages=event.passages)
                spans.append("")
                written.append([])
            case Finished():
                steps, text = renderer.template.parse(spans)
                return Answer(
                    text,
                    steps,
                    tuple(retrievals),
                    event.usage,
                    event.reason,
                    tuple(ids),
                    tuple(map(tuple, written)),
                    (*passage_ids, *_inserted(retrievals)),
                )
    raise ValueError("the events hold no Finished; expected all events of one request")


def _inserted(retrievals: Sequence[Retrieval]) -> list[str]:
    return [scored.passage.id for one in retrievals for scored in one.passages]
