"""What one request has read, no other one reads again, on every engine."""

import pytest
from transformers import PreTrainedModel

from onegen_model.request import Request
from tests.support.engines import (
    QUESTIONS,
    MakeEngine,
    Player,
    PositionCounter,
    World,
    check_clean,
    check_one_pass,
    written,
)


def test_a_second_turn_reads_only_what_is_new(
    player: Player, world: World, tiny_network: PreTrainedModel
) -> None:
    first = world.request(0, QUESTIONS[0], mode="always")
    player.run(first)
    follow_up = world.renderer.next_question_ids(QUESTIONS[1], first.ids)
    second = world.request(1, [*first.ids, *follow_up])
    with PositionCounter(tiny_network) as counter:
        (events,) = player.run(second)
    assert second.usage.reused == len(first.ids) - 1
    assert counter.positions == len(second.ids) - 1 - second.usage.reused
    check_clean(tiny_network, world, second, events)


def test_the_same_question_again_reads_only_what_it_writes(
    player: Player, world: World, tiny_network: PreTrainedModel
) -> None:
    first, second = (world.request(n, QUESTIONS[0], mode="always") for n in range(2))
    (before,) = player.run(first)
    with PositionCounter(tiny_network) as counter:
        (after,) = player.run(second)
    assert written(before) == written(after)
    assert first.ids == second.ids
    # The prompt and the forced [RQ] come from the cache except for its last id; so do the
    # passages, and everything written behind them.
    assert counter.positions == second.usage.forwarded < second.usage.written + 2
    assert second.usage.reused > second.usage.prompt
    check_clean(tiny_network, world, second, after)


def test_requests_share_a_prompt_that_one_of_them_still_uses(
    player: Player, world: World, tiny_network: PreTrainedModel
) -> None:
    first = world.request(0, QUESTIONS[3], mode="never", max_new_tokens=30)
    player.add(first)
    player.step()
    second = world.request(1, QUESTIONS[3], mode="never")
    player.run(second)
    assert second.usage.reused == second.usage.prompt - 1
    for request in (first, second):
        check_clean(tiny_network, world, request, player.events[request.id])


@pytest.mark.parametrize("options", [{}, {"max_chunk_tokens": 20}])
def test_many_requests_of_one_prompt_read_it_once(
    make_engine: MakeEngine, world: World, tiny_network: PreTrainedModel, options: dict[str, int]
) -> None:
    def choice(seed: int) -> Request:
        return world.request(seed, QUESTIONS[3], mode="always", temperature=1.0, seed=seed)

    choices = [choice(seed) for seed in range(4)]
    player = Player(make_engine(**options), world)
    with PositionCounter(tiny_network) as counter:
        found = player.run(*choices)
    usages = [request.usage for request in choices]
    assert counter.positions == sum(usage.forwarded + usage.padded for usage in usages)
    first, *others = usages
    assert first.reused == 0
    assert all(usage.reused >= usage.prompt for usage in others)
    assert len({tuple(written(events)) for events in found}) == 4
    for request, events in zip(choices, found, strict=True):
        (alone,) = Player(make_engine(), world).run(choice(request.id))
        assert written(alone) == written(events)
        check_one_pass(request, events)


def test_who_waits_for_a_prompt_reads_it_where_its_reader_is_cancelled(
    make_engine: MakeEngine, world: World, tiny_network: PreTrainedModel
) -> None:
    player = Player(make_engine(max_chunk_tokens=20), world)
    requests = [world.request(n, QUESTIONS[3], mode="never") for n in range(3)]
    for request in requests:
        player.add(request)
    player.step()
    player.finish(0)
    player.run()
    for request in requests[1:]:
        check_clean(tiny_network, world, request, player.events[request.id])
    assert requests[1].usage.reused == requests[0].usage.forwarded == 20
    assert requests[2].usage.reused == requests[2].usage.prompt - 1
