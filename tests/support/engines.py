"""Helpers of the engine tests: passages to retrieve, a driver, and the clean forward."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from onegen_model.engine.base import StepEngine
from onegen_model.events import (
    Event,
    Finished,
    Passage,
    PassagesInserted,
    RetrievalRequested,
    ScoredPassage,
    Token,
)
from onegen_model.inputs import Candidate, ControlIds, Prompt
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.request import Request, State
from onegen_model.transcript.renderer import Renderer

QUESTIONS = (
    "Who wrote it?",
    "What is the capital of Kethmark?",
    "no",
    "Which band was formed first, and where did the two directors come from?",
)


def control_ids(renderer: Renderer) -> ControlIds:
    end = frozenset({renderer.end_id})
    masked = renderer.control_ids - end - {renderer.query_id}
    return ControlIds(renderer.query_id, end, masked, renderer.empty_frame)


class World:
    """Ten passages with a random unit vector each; the same query finds the same passages."""

    def __init__(self, renderer: Renderer, width: int) -> None:
        self.renderer = renderer
        self.control = control_ids(renderer)
        generator = torch.Generator().manual_seed(3)
        vectors = torch.randn(10, width, generator=generator, dtype=torch.float64)
        self._vectors = torch.nn.functional.normalize(vectors, dim=-1)
        self._passages = [
            Passage(str(n), "the river and the mill, " * (n % 4) + f"page {n}", f"P{n}")
            for n in range(10)
        ]

    def find(self, asked: RetrievalRequested, top_k: int) -> list[Candidate]:
        scores = self._vectors @ torch.tensor(asked.query_embedding, dtype=torch.float64)
        best = scores.topk(top_k)
        return [
            Candidate(
                ScoredPassage(self._passages[at], score),
                self.renderer.frame_ids(self._passages[at]),
            )
            for score, at in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def request(self, number: int, question: str | Sequence[int], **params: Any) -> Request:
        """`mode`, `top_k`, `max_retrievals` and `max_context`; the rest goes to sampling."""
        retrieval = {
            key: params.pop(key) for key in ("mode", "top_k", "max_retrievals") if key in params
        }
        ids = self.renderer.question_ids(question) if isinstance(question, str) else question
        forced = self.renderer.forced_query if retrieval.get("mode") == "always" else ()
        return Request(
            number,
            Prompt(ids, forced=forced),
            self.control,
            max_context=params.pop("max_context", 512),
            sampling=SamplingParams(**{"max_new_tokens": 16, **params}),
            retrieval=RetrievalParams(**{"max_retrievals": 3, **retrieval}),
        )


@dataclass(slots=True)
class Player:
    """Drives an engine; keeps each request's events."""

    engine: StepEngine
    world: World
    events: dict[int, list[Event]] = field(default_factory=dict)
    requests: dict[int, Request] = field(default_factory=dict)

    def add(self, request: Request) -> None:
        self.keep(self.engine.add(request))
        self.requests[request.id] = request

    def step(self) -> None:
        self.keep(self.engine.step())

    def finish(self, number: int) -> None:
        self.keep([self.engine.finish(number, "cancelled")])

    @property
    def awaiting(self) -> list[int]:
        return [
            number
            for number, request in self.requests.items()
            if request.state is State.AWAITING_PASSAGES
        ]

    def answer(self, number: int) -> None:
        asked = self.events[number][-1]
        assert isinstance(asked, RetrievalRequested)
        found = self.world.find(asked, self.requests[number].retrieval.top_k)
        self.keep(self.engine.insert(number, found))

    def run(self, *requests: Request) -> list[list[Event]]:
        """Add the requests, as soon as there is room, and play until all have finished."""
        waiting = deque(requests)
        while waiting or not self.engine.is_idle or self.awaiting:
            while waiting and self.engine.has_room:
                self.add(waiting.popleft())
            for number in self.awaiting:
                self.answer(number)
            self.step()
        return [self.events[request.id] for request in requests]

    def keep(self, events: Sequence[Event]) -> None:
        for event in events:
            self.events.setdefault(event.request_id, []).append(event)


def written(events: Sequence[Event]) -> list[int]:
    return [event.token_id for event in events if isinstance(event, Token)]


def clean_read(network: PreTrainedModel, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Hidden states (ids, width) and logits (ids, vocabulary) of one clean forward."""
    with torch.inference_mode():
        batch = torch.tensor([[*ids]])
        hidden = network.get_decoder()(batch, use_cache=False).last_hidden_state[0]
        return hidden, network(batch, use_cache=False).logits[0]


def check_clean(
    network: PreTrainedModel, world: World, request: Request, events: Sequence[Event]
) -> None:
    """Invariants 1 and 2: every greedy token and every embedding is that of a clean forward."""
    hidden, logits = clean_read(network, request.ids)
    twin = Request(
        request.id,
        request.prompt,
        world.control,
        max_context=request.max_context,
        sampling=request.sampling,
        retrieval=request.retrieval,
    )
    expected: list[Event] = twin.start()
    for event in events[len(expected) :]:
        if isinstance(event, PassagesInserted):
            candidates = [
                Candidate(item, world.renderer.frame_ids(item.passage)) for item in event.passages
            ]
            expected += twin.insert(candidates)
        elif twin.state is State.RUNNING and not isinstance(event, Finished):
            expected += _advance(twin, event, hidden, logits)
    if twin.state is not State.FINISHED:
        last = events[-1]
        assert isinstance(last, Finished)
        expected.append(twin.finish(last.reason))
    assert [_comparable(event) for event in expected] == [_comparable(event) for event in events]
    assert twin.ids == request.ids
    check_one_pass(request, events)


def _advance(twin: Request, event: Event, hidden: Tensor, logits: Tensor) -> list[Event]:
    at = len(twin.ids) - 1
    twin.mark_forwarded(len(twin.unread))
    if twin.reads_query:
        assert isinstance(event, RetrievalRequested)
        clean = torch.nn.functional.normalize(hidden[at], dim=-1)
        seen = torch.tensor(event.query_embedding, dtype=torch.float64)
        assert (clean - seen).abs().max() < 1e-6  # what array("f") can hold
        return twin.receive_query(event.query_embedding)
    allowed = logits[at].clone()
    allowed[sorted(twin.masked)] = -torch.inf
    return twin.receive_token(int(allowed.argmax()))


def _comparable(event: Event) -> object:
    if isinstance(event, Finished):
        return event.reason, event.usage.written, event.usage.inserted, event.usage.retrievals
    if isinstance(event, PassagesInserted):
        return event.hop, event.passages, event.num_tokens  # the twin never saw what was dropped
    return event


def check_logprobs(network: PreTrainedModel, request: Request, events: Sequence[Event]) -> None:
    """Log-probabilities are those of a clean forward, where asked for and nowhere else."""
    count = request.sampling.logprobs
    clean = clean_read(network, request.ids)[1].float().log_softmax(-1)
    at = len(request.prompt.ids)
    for event in events:
        if isinstance(event, PassagesInserted):
            at += event.num_tokens
        elif isinstance(event, Token):
            if count is None or event.forced:
                assert (event.logprob, event.top_logprobs) == (None, ())
            else:
                expected = clean[at - 1]
                assert event.logprob == pytest.approx(expected[event.token_id].item(), abs=1e-4)
                best = expected.topk(count)
                assert [one for one, _ in event.top_logprobs] == best.indices.tolist()
                found = [logprob for _, logprob in event.top_logprobs]
                assert found == pytest.approx(best.values.tolist(), abs=1e-4)
            at += 1
    assert at == len(request.ids)


def check_one_pass(request: Request, events: Sequence[Event]) -> None:
    """Invariant 1, on the request's own counters; tests compare those with a hook's."""
    last = events[-1]
    assert isinstance(last, Finished)
    read = last.usage.forwarded + last.usage.reused
    assert read == request.num_read
    if last.reason in ("end", "length", "stop"):
        assert read == len(request.ids) - 1


class PositionCounter:
    """Counts what really went through the first decoder layer: rows times positions."""

    def __init__(self, network: PreTrainedModel) -> None:
        self.positions = 0
        decoder = network.get_decoder()
        layers = decoder.layers if hasattr(decoder, "layers") else decoder.h
        self._hook = layers[0].register_forward_hook(self._count, with_kwargs=True)

    def _count(self, _: object, args: tuple[Tensor, ...], kwargs: dict[str, Any], __: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        self.positions += hidden.shape[0] * hidden.shape[1]

    def __enter__(self) -> "PositionCounter":
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


MakeEngine = Callable[..., StepEngine]
