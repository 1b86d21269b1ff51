"""A deterministic toy language model in pure Python: for docs, and for tests without weights."""

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import sqrt

from onegen_model.errors import InvalidInputError, ProtocolError
from onegen_model.events import Event, Finished, FinishReason
from onegen_model.inputs import Candidate, EmptySearch
from onegen_model.request import Request, State

Script = Callable[[Sequence[int]], int]


class ScriptedEngine:
    """`script` sees all ids of a request and names the next one; by default it hashes them.

    A masked id gives way to the next id that is allowed. `chunk_size` bounds the ids that a row
    reads in one step, as real engines do with long prompts. A script is certain: the token that is
    written has the log-probability 0, and there is no other one beside it.
    """

    def __init__(
        self,
        vocabulary_size: int,
        script: Script | None = None,
        *,
        dimension: int = 16,
        max_context: int = 2048,
        chunk_size: int = 512,
        max_requests: int = 1024,
    ) -> None:
        self.vocabulary_size = vocabulary_size
        self.dimension = dimension
        self.chunk_size = chunk_size
        self.max_requests = max_requests
        self._script = script or (lambda ids: _hash(ids) % vocabulary_size)
        self._max_context = max_context
        self._requests: dict[int, Request] = {}

    @property
    def max_context(self) -> int:
        """Longest sequence of one request, in tokens."""
        return self._max_context

    @property
    def has_room(self) -> bool:
        """Whether fewer than `max_requests` are here, finished ones not counted."""
        return len(self._requests) < self.max_requests

    @property
    def is_idle(self) -> bool:
        """Whether no request is RUNNING."""
        return all(request.state is not State.RUNNING for request in self._requests.values())

    def add(self, request: Request) -> list[Event]:
        """Admit a request; returns the events of what is forced at its start."""
        if request.sampling.grammar is not None:
            raise InvalidInputError(
                "A grammar with the scripted engine; expected none, because a script writes what "
                "it wants; leave it out"
            )
        self._requests[request.id] = request
        events = request.start()
        self._forget_finished()
        return events

    def step(self) -> list[Event]:
        """Advance every RUNNING request by one chunk or one token."""
        running = [item for item in self._requests.values() if item.state is State.RUNNING]
        # The script is foreign code: it runs to the end before any request changes, so that an
        # interrupt loses no event.
        planned = [(request, self._try(request)) for request in running]
        events: list[Event] = []
        for request, outcome in planned:
            if isinstance(outcome, Exception):
                events.append(request.fail(outcome))
                continue
            request.mark_forwarded(min(len(request.unread), self.chunk_size))
            if isinstance(outcome, array):
                events += request.receive_query(outcome)
            elif outcome is not None:
                events += _receive(request, outcome)
        self._forget_finished()
        return events

    def _try(self, request: Request) -> "array[float] | int | Exception | None":
        try:
            return self._plan(request)
        except Exception as error:
            return error

    def _plan(self, request: Request) -> "array[float] | int | None":
        """A query embedding, the next id, or nothing while a chunk is left to read."""
        if len(request.unread) > self.chunk_size:
            return None
        if request.reads_query:
            return self.embed(request.ids)
        token_id = self._script(tuple(request.ids))
        masked = request.masked
        for offset in range(self.vocabulary_size):
            allowed = (token_id + offset) % self.vocabulary_size
            if allowed not in masked:
                return allowed
        raise ProtocolError(
            f"request {request.id}: all {self.vocabulary_size} ids are masked; expected one to "
            "write; mask fewer"
        )

    def embed(self, ids: Sequence[int]) -> "array[float]":
        """The unit vector of a query token that is read behind `ids[:-1]`."""
        values = [_hash((*ids, axis)) / 2**63 - 1 for axis in range(self.dimension)]
        norm = sqrt(sum(value * value for value in values))
        return array("f", (value / norm for value in values))

    def insert(
        self, request_id: int, candidates: Sequence[Candidate], empty: EmptySearch | None = None
    ) -> list[Event]:
        """Answer a RetrievalRequested; the passages are read by the next steps."""
        events = self._find(request_id).insert(candidates, empty)
        self._forget_finished()
        return events

    def finish(self, request_id: int, reason: FinishReason) -> Finished:
        """End a request from outside."""
        event = self._find(request_id).finish(reason)
        self._forget_finished()
        return event

    def _find(self, request_id: int) -> Request:
        request = self._requests.get(request_id)
        if request is None:
            raise ProtocolError(
                f"request {request_id} is not here; expected one that is added and not finished; "
                "add it first"
            )
        return request

    def _forget_finished(self) -> None:
        self._requests = {
            key: item for key, item in self._requests.items() if item.state is not State.FINISHED
        }


def _receive(request: Request, token_id: int) -> list[Event]:
    count = request.sampling.logprobs
    if count is None:
        return request.receive_token(token_id)
    return request.receive_token(token_id, 0.0, ((token_id, 0.0),)[:count])


def _hash(ids: Sequence[int]) -> int:
    digest = blake2b(array("q", ids).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
