"""What every engine must do, on the fp64 test model, without exception."""

import pytest
import torch
from transformers import PreTrainedModel

from onegen_model.errors import InvalidInputError, OneGenError, ProtocolError
from onegen_model.events import Finished, PassagesInserted, RetrievalRequested, Token
from tests.support.engines import (
    QUESTIONS,
    MakeEngine,
    Player,
    PositionCounter,
    World,
    check_clean,
    written,
)


def test_a_request_is_one_clean_pass(
    player: Player, world: World, tiny_network: PreTrainedModel
) -> None:
    request = world.request(0, QUESTIONS[0], mode="always")
    with PositionCounter(tiny_network) as counter:
        (events,) = player.run(request)
    kinds = [type(event) for event in events]
    assert kinds[:3] == [Token, RetrievalRequested, PassagesInserted]
    assert kinds[-1] is Finished
    assert counter.positions == len(request.ids) - 1
    check_clean(tiny_network, world, request, events)


def test_the_model_retrieves_by_itself(
    player: Player, world: World, tiny_network: PreTrainedModel
) -> None:
    requests = [world.request(n, q, max_new_tokens=40) for n, q in enumerate(QUESTIONS)]
    all_events = player.run(*requests)
    retrievals = sum(request.usage.retrievals for request in requests)
    assert retrievals >= 3, "the test model should write [RQ] now and then"
    for request, events in zip(requests, all_events, strict=True):
        check_clean(tiny_network, world, request, events)


def mixed(world: World, first: int = 0) -> list:
    modes = ("always", "auto", "never", "always")
    return [
        world.request(first + n, question, mode=mode, top_k=1 + n % 3, max_new_tokens=12 + 5 * n)
        for n, (question, mode) in enumerate(zip(QUESTIONS, modes, strict=True))
    ]


def test_batch_mates_change_nothing(
    make_engine: MakeEngine, world: World, tiny_network: PreTrainedModel
) -> None:
    together, player = mixed(world), Player(make_engine(), world)
    with PositionCounter(tiny_network) as counter:
        batched = player.run(*together)
    usages = [request.usage for request in together]
    assert counter.positions == sum(usage.forwarded + usage.padded for usage in usages)
    for request, twin, events in zip(together, mixed(world), batched, strict=True):
        (alone,) = Player(make_engine(), world).run(twin)
        assert written(alone) == written(events)
        assert request.ids == twin.ids
        check_clean(tiny_network, world, request, events)


@pytest.mark.parametrize(
    "options", [{"max_chunk_tokens": 5}, {"max_requests": 1}, {"max_requests": 2}]
)
def test_small_forwards_and_queues_change_nothing(
    make_engine: MakeEngine, world: World, tiny_network: PreTrainedModel, options: dict[str, int]
) -> None:
    requests = mixed(world)
    for request, events in zip(
        requests, Player(make_engine(**options), world).run(*requests), strict=True
    ):
        check_clean(tiny_network, world, request, events)


def test_sampling_is_a_matter_of_the_seed(make_engine: MakeEngine, world: World) -> None:
    def sampled(number: int) -> object:
        return world.request(
            number, QUESTIONS[1], seed=5, temperature=1.3, top_p=0.9, repetition_penalty=1.2
        )

    (alone,) = Player(make_engine(), world).run(sampled(0))
    among = Player(make_engine(), world).run(*mixed(world, 1), sampled(9))[-1]
    assert written(alone) == written(among)
    other = world.request(0, QUESTIONS[1], seed=6, temperature=1.3, top_p=0.9)
    assert written(Player(make_engine(), world).run(other)[0]) != written(alone)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_cancelled_request_leaves_the_others_alone(
    player: Player, world: World, tiny_network: PreTrainedModel, steps: int
) -> None:
    requests = mixed(world)
    for request in requests:
        player.add(request)
    for _ in range(steps):
        player.step()
    for number in (0, 2):
        player.finish(number)
    player.run()
    for request in requests:
        check_clean(tiny_network, world, request, player.events[request.id])
    assert player.events[0][-1].reason == "cancelled"


def test_a_finished_request_stays_finished(player: Player, world: World) -> None:
    request = world.request(0, QUESTIONS[0], mode="always")
    player.add(request)
    player.step()
    player.finish(0)
    with pytest.raises(ProtocolError):
        player.engine.finish(0, "cancelled")
    with pytest.raises(ProtocolError):
        player.engine.insert(0, [])
    assert player.engine.is_idle
    assert player.engine.step() == []


def test_the_context_limit_ends_a_request(
    player: Player, world: World, tiny_network: PreTrainedModel
) -> None:
    prompt = len(world.renderer.question_ids(QUESTIONS[0]))
    request = world.request(
        0, QUESTIONS[0], mode="never", max_new_tokens=400, max_context=prompt + 9
    )
    (events,) = player.run(request)
    assert len(request.ids) <= prompt + 9
    assert events[-1].reason in ("length", "end")
    check_clean(tiny_network, world, request, events)


def test_passages_that_do_not_fit_are_dropped(
    player: Player, world: World, tiny_network: PreTrainedModel
) -> None:
    prompt = len(world.renderer.question_ids(QUESTIONS[0]))
    request = world.request(
        0, QUESTIONS[0], mode="always", top_k=10, max_context=prompt + 120, max_new_tokens=30
    )
    (events,) = player.run(request)
    assert 0 < request.usage.dropped_passages < 10
    check_clean(tiny_network, world, request, events)


def test_a_request_may_not_outgrow_the_engine(player: Player, world: World) -> None:
    request = world.request(0, QUESTIONS[0], max_context=player.engine.max_context + 1)
    with pytest.raises(InvalidInputError):
        player.engine.add(request)


def test_ids_are_unique(player: Player, world: World) -> None:
    player.add(world.request(0, QUESTIONS[0]))
    with pytest.raises(ProtocolError):
        player.engine.add(world.request(0, QUESTIONS[1]))
    player.step()
    with pytest.raises(ProtocolError):
        player.engine.add(world.request(0, QUESTIONS[1]))


def test_an_unknown_request_is_an_error(player: Player) -> None:
    with pytest.raises(OneGenError):
        player.engine.finish(77, "stop")


def test_an_idle_engine_does_nothing(player: Player, world: World) -> None:
    assert player.engine.is_idle
    player.add(world.request(0, QUESTIONS[0], mode="always"))
    assert not player.engine.is_idle
    player.step()
    assert player.awaiting == [0]
    assert player.engine.is_idle
    assert player.engine.step() == []


def test_a_step_keeps_the_events_of_a_request_together(player: Player, world: World) -> None:
    for request in mixed(world):
        player.add(request)
    for _ in range(12):
        for number in player.awaiting:
            player.answer(number)
        events = player.engine.step()
        order = [event.request_id for event in events]
        assert order == sorted(order, key=order.index)
        per_request = [
            sum(isinstance(e, Token) for e in events if e.request_id == n) for n in order
        ]
        assert all(count <= 1 for count in per_request)
        player.keep(events)


def test_no_gradient_is_kept(player: Player, world: World, tiny_network: PreTrainedModel) -> None:
    player.run(world.request(0, QUESTIONS[0]))
    assert all(parameter.grad is None for parameter in tiny_network.parameters())
    assert not torch.is_inference_mode_enabled()
