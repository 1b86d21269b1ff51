"""Events of one request, folded into an answer."""

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
    """One hop: the query text, and the passages that were inserted."""

    hop: int
    query: str
    passages: tuple[ScoredPassage, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is the text of the answer frame, `steps` are the other lines that the model wrote.

    `ids` is the whole context; as `history` of the next question it is not read again. `written`
    holds the ids of the written text, cut where passages were inserted: no query token, end token
    or reflection token. `passage_ids` name all passages that `ids` hold, those of earlier turns
    included.
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
    begun = [span.text for span in opening]
    spans = [*begun]
    written = [list(span.ids) for span in opening]
    retrievals: list[Retrieval] = []
    new = ""
    for event in events:
        match event:
            case Token():
                spans[-1] += event.text
                new += event.text
                written[-1] += [event.token_id] * renderer.roles.is_text(event.token_id)
            case RetrievalRequested():
                retrievals.append(Retrieval(event.hop, event.text))
            case PassagesInserted():
                retrievals[-1] = replace(retrievals[-1], passages=event.passages)
                spans.append("")
                written.append([])
            case Finished():
                steps, text = renderer.template.parse(spans)
                if constrained:
                    steps, text = renderer.template.parse([*begun, ""])[0], new
                known = (*passage_ids, *_inserted(retrievals))
                parsed = (text, steps, tuple(retrievals), event.usage, event.reason)
                return Answer(*parsed, tuple(ids), tuple(map(tuple, written)), known)
    raise ValueError("the events hold no Finished; expected all events of one request")


def _inserted(retrievals: Sequence[Retrieval]) -> list[str]:
    return [scored.passage.id for one in retrievals for scored in one.passages]
