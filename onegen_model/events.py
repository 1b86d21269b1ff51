"""Events of one request, and the plain data in them: frozen, comparable, JSON-able.

Embeddings are `array('f')`: compact, and free of torch and numpy.
"""

from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

FinishReason = Literal["end", "length", "stop", "cancelled", "failed"]
FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit that is embedded, retrieved and inserted; a document is its source."""

    id: str
    text: str
    title: str = ""
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def titled_text(self) -> str:
        """Title and text as others read them: word search, sentence encoders, chat prompts.

        What the model itself reads is `Template.passage_text`.
        """
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class ScoredPassage:
    """`score` is the cosine of query and passage embedding, unless a foreign retriever set it."""

    passage: Passage
    score: float


@dataclass(frozen=True, slots=True)
class FragmentHit(ScoredPassage):
    """A passage that was embedded in several fragments; `fragment` numbers the best one from 0."""

    fragment: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """A query to a retriever: a vector, and the text written before the query token.

    `exclude` are the ids of passages that the context holds already. `question` is the user's, and
    `hop` counts the retrievals of this answer from 0.
    """

    embedding: "array[float]" = field(hash=False, repr=False)
    text: str
    top_k: int
    filter: Mapping[str, Any] | None = field(default=None, hash=False)
    exclude: tuple[str, ...] = ()
    question: str = ""
    hop: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters of one request, in tokens; `forwarded` are real positions the network computed.

    `forwarded + reused` is the number of ids read; `padded` positions carry no token.
    `empty_retrievals` are those of the `retrievals` that found nothing or failed.
    """

    prompt: int = 0
    written: int = 0
    inserted: int = 0
    forwarded: int = 0
    reused: int = 0
    padded: int = 0
    retrievals: int = 0
    dropped_passages: int = 0
    empty_retrievals: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """One written token. `text` is what became printable with it (empty for control tokens).

    `logprob` and `top_logprobs` are there where `SamplingParams.logprobs` asks for them: the
    natural logarithm of the probability of this token, and the ids that are most probable at its
    place with theirs, best first, this token among them if it is one of them. The probabilities
    are the softmax of what the network computed: at temperature 1, and before everything that
    decides about the choice (masks, grammar, `top_k`, `top_p`, repetition penalty), so that an id
    in `top_logprobs` may be one that could not be written. Query tokens and end tokens have them,
    too. A forced token has None and (): it is written before the model has read what is before it.
    """

    request_id: int
    token_id: int
    forced: bool = False
    text: str = ""
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RetrievalRequested:
    """The model has read a query token; `text` is the line it wrote before it."""

    request_id: int
    hop: int
    query_embedding: "array[float]" = field(hash=False, repr=False)
    text: str = ""


@dataclass(frozen=True, slots=True)
class PassagesInserted:
    """Passages were inserted, in this order; `num_tokens` includes their frames.

    `reason` says in a sentence why nothing was found; it is empty for any other insertion.
    """

    request_id: int
    hop: int
    passages: tuple[ScoredPassage, ...]
    num_tokens: int
    dropped: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a request, always exactly one."""

    request_id: int
    reason: FinishReason
    usage: Usage


Event = Token | RetrievalRequested | PassagesInserted | Finished
EVENT_TYPES: Mapping[str, type[Event]] = {
    cls.__name__: cls for cls in (Token, RetrievalRequested, PassagesInserted, Finished)
}


def event_to_dict(event: Event) -> dict[str, Any]:
    """A JSON-able form with the event's type under `"event"`.

    A token without log-probabilities has no keys for them.
    """
    plain = asdict(event)
    if isinstance(event, RetrievalRequested):
        plain["query_embedding"] = list(event.query_embedding)
    elif isinstance(event, Token) and event.logprob is None:
        del plain["logprob"], plain["top_logprobs"]
    return {"event": type(event).__name__, **plain}


def event_from_dict(plain: Mapping[str, Any]) -> Event:
    """Inverse of `event_to_dict`; raises KeyError for an unknown event name."""
    values = dict(plain)
    cls = EVENT_TYPES[values.pop("event")]
    if cls is RetrievalRequested:
        values["query_embedding"] = array("f", values["query_embedding"])
    elif cls is PassagesInserted:
        values["passages"] = tuple(
            ScoredPassage(Passage(**item["passage"]), item["score"]) for item in values["passages"]
        )
    elif cls is Finished:
        values["usage"] = Usage(**values["usage"])
    elif cls is Token:
        values["top_logprobs"] = tuple(
            (token_id, logprob) for token_id, logprob in values.get("top_logprobs", ())
        )
    return cls(**values)
