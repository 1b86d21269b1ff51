"""A request over a toy vocabulary, and what engines and drivers do to one."""

from array import array

from onegen_model.events import Event, Passage, PassagesInserted, ScoredPassage
from onegen_model.inputs import Candidate, ControlIds, Prompt
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.request import Request

QUERY, END, START, STOP = 10, 11, 12, 13
FRAME = (START, STOP)
CONTROL = ControlIds(QUERY, frozenset({END}), frozenset({START, STOP}), FRAME)
EMBEDDING = array("f", [1.0, 0.0])


def make(
    num_prompt: int = 3,
    max_context: int = 400,
    mode: str = "auto",
    max_new_tokens: int = 100,
    max_retrievals: int = 6,
) -> Request:
    return Request(
        0,
        Prompt([1] * num_prompt, forced=[QUERY] if mode == "always" else []),
        CONTROL,
        max_context=max_context,
        sampling=SamplingParams(max_new_tokens=max_new_tokens),
        retrieval=RetrievalParams(mode=mode, max_retrievals=max_retrievals),  # type: ignore[arg-type]
    )


def read(request: Request) -> None:
    request.mark_forwarded(len(request.unread))


def write(request: Request, token_id: int) -> list[Event]:
    read(request)
    return request.receive_token(token_id)


def ask(request: Request) -> list[Event]:
    write(request, QUERY)
    read(request)
    return request.receive_query(EMBEDDING)


def candidate(name: str, length: int, score: float) -> Candidate:
    scored = ScoredPassage(Passage(name, "text"), score)
    return Candidate(scored, (START, *[2] * (length - 2), STOP))


def insert(request: Request, *candidates: Candidate) -> PassagesInserted:
    """The only event of an insertion behind which nothing is forced."""
    (event,) = request.insert(candidates)
    assert isinstance(event, PassagesInserted)
    return event


def awaiting() -> Request:
    request = make()
    ask(request)
    return request
