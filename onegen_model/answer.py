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
from onegen_model.template import Template


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One hop: what was searched and what was put into the context."""

    hop: int
    query: str
    passages: tuple[ScoredPassage, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is what stands in the answer frame, `steps` the other lines the model wrote.

    `ids` is the whole context; as `history` of the next question it is not read again.
    """

    text: str
    steps: tuple[str, ...]
    retrievals: tuple[Retrieval, ...]
    usage: Usage
    finish_reason: FinishReason
    ids: tuple[int, ...]


def fold(events: Sequence[Event], ids: Sequence[int], template: Template) -> Answer:
    """The answer told by all events of one finished request."""
    spans = [""]
    retrievals: list[Retrieval] = []
    for event in events:
        match event:
            case Token():
                spans[-1] += event.text
            case RetrievalRequested():
                retrievals.append(Retrieval(event.hop, event.text))
            case PassagesInserted():
                retrievals[-1] = replace(retrievals[-1], passages=event.passages)
                spans.append("")
            case Finished():
                steps, text = template.parse(spans)
                return Answer(text, steps, tuple(retrievals), event.usage, event.reason, tuple(ids))
    raise ValueError("the events hold no Finished; expected all events of one request")
