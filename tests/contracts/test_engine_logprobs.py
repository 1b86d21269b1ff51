"""Log-probabilities of written tokens, on every engine."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from onegen_model.events import Event, Token
from onegen_model.request import Request
from tests.support.engines import QUESTIONS, MakeEngine, Player, World, check_logprobs, written


def test_log_probabilities_are_those_of_a_clean_forward(
    make_engine: MakeEngine, world: World, tiny_network: PreTrainedModel
) -> None:
    choices = (
        {"mode": "always", "logprobs": 3},
        {"temperature": 1.3, "top_k": 4, "repetition_penalty": 1.2, "seed": 5, "logprobs": 20},
        {},
        {"mode": "always", "temperature": 0.7, "top_p": 0.8, "seed": 6, "logprobs": 0},
    )

    def requests(**change: None) -> list[Request]:
        asked = enumerate(zip(QUESTIONS, choices, strict=True))
        return [world.request(n, question, **{**one, **change}) for n, (question, one) in asked]

    with_them, without = requests(), requests(logprobs=None)
    found = Player(make_engine(), world).run(*with_them)
    plain = Player(make_engine(), world).run(*without)
    for request, twin, events, others in zip(with_them, without, found, plain, strict=True):
        check_logprobs(tiny_network, request, events)
        check_logprobs(tiny_network, twin, others)
        assert written(events) == written(others)
        assert request.usage == twin.usage
    assert any(event.token_id == world.control.query for event in scored_tokens(found))
    assert any(event.token_id in world.control.end for event in scored_tokens(found))


def scored_tokens(found: Sequence[Sequence[Event]]) -> list[Token]:
    every = (event for events in found for event in events if isinstance(event, Token))
    return [token for token in every if token.logprob is not None]
