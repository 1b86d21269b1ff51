"""What the transformers engine does when a forward fails, and how it keeps to its memory."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from onegen_model.engine import forward
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.events import Finished
from onegen_model.network import read
from onegen_model.params import SamplingParams
from onegen_model.request import Request, State
from onegen_model.transcript.renderer import Renderer
from tests.support.engines import QUESTIONS, Player, World, check_clean, written


@pytest.fixture
def world(renderer: Renderer, tiny_network: PreTrainedModel) -> World:
    return World(renderer, tiny_network.config.hidden_size)


@pytest.mark.parametrize("failing", range(6))
def test_a_failed_forward_is_retried(
    world: World,
    tiny_network: PreTrainedModel,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
) -> None:
    player = Player(TransformersEngine(tiny_network), world)
    calls = iter(range(1000))

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        readout = read(*args, **kwargs)
        if next(calls) == failing:
            raise torch.OutOfMemoryError("full")
        return readout

    monkeypatch.setattr(forward, "read", sometimes)
    requests = [
        world.request(0, QUESTIONS[0], mode="never"),
        world.request(1, QUESTIONS[3], mode="always"),
    ]
    player.add(requests[0])
    for _ in range(3):
        player.step()
    player.add(requests[1])
    player.run()
    for request in requests:
        check_clean(tiny_network, world, request, player.events[request.id])


def test_a_forward_that_fails_is_retried_smaller_and_ends_only_what_still_fails(
    world: World, tiny_network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player(TransformersEngine(tiny_network), world)
    largest = 0

    def small_only(network: Any, *args: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        nonlocal largest
        if input_ids.numel() > 8:
            raise torch.OutOfMemoryError("full")
        largest = max(largest, input_ids.numel())
        return read(network, *args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(forward, "read", small_only)
    requests = [world.request(n, question, mode="never") for n, question in enumerate(QUESTIONS)]
    player.run(*requests)
    assert 1 < largest <= 8
    for request in requests:
        check_clean(tiny_network, world, request, player.events[request.id])


def test_a_row_that_no_forward_can_compute_ends_alone(
    world: World, tiny_network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player(TransformersEngine(tiny_network), world)
    bad = world.request(0, "Zzz?", mode="never")
    good = world.request(1, QUESTIONS[0], mode="never")
    poisoned = next(token for token in bad.ids if token not in good.ids)

    def fail(network: Any, *args: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        if (input_ids == poisoned).any():
            raise RuntimeError("this row")
        return read(network, *args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(forward, "read", fail)
    player.run(bad, good)
    last = player.events[0][-1]
    assert isinstance(last, Finished)
    assert (last.reason, str(bad.error)) == ("failed", "this row")
    check_clean(tiny_network, world, good, player.events[1])


def test_nothing_comes_after_the_end_of_an_interrupted_request(
    world: World, tiny_network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player(TransformersEngine(tiny_network), world)
    player.add(world.request(0, QUESTIONS[0], mode="never"))
    player.step()
    player.add(world.request(1, QUESTIONS[1], mode="never"))
    calls = iter(range(9))

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 1:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return read(*args, **kwargs)

    monkeypatch.setattr(forward, "read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        player.step()
    player.finish(0)
    player.run()
    assert isinstance(player.events[0][-1], Finished)
    assert isinstance(player.events[1][-1], Finished)


def test_an_interrupt_between_a_forward_and_its_results_stops_no_other_request(
    world: World, tiny_network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(tiny_network)
    requests = [world.request(at, QUESTIONS[at], mode="never") for at in range(2)]
    for request in requests:
        engine.add(request)

    def interrupt(*args: Any) -> Any:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Request, "receive_token", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    for _ in range(400):
        engine.step()
    assert [request.state for request in requests] == [State.FINISHED] * 2


def test_a_choice_lost_with_a_failed_forward_is_made_again(
    world: World, tiny_network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(fails: bool) -> list[int]:
        engine = TransformersEngine(tiny_network)
        choose, calls = engine.sampler, iter(range(1000))

        def fail_late(logits: torch.Tensor, choices: Sequence[Any]) -> list[int | None]:
            chosen = choose(logits, choices)
            if fails and next(calls) in (0, 3):
                raise torch.OutOfMemoryError("full")
            return chosen

        engine.sampler = fail_late  # type: ignore[assignment]
        request = world.request(0, QUESTIONS[0], mode="never")
        request.sampling = SamplingParams(temperature=1.5, seed=3, max_new_tokens=12)
        engine.add(request)
        while request.state is State.RUNNING:
            engine.step()
        return request.ids

    assert answer(True) == answer(False)


def test_logits_that_are_not_finite_fail_only_their_request(
    world: World, tiny_network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(tiny_network, max_cache_bytes=0)
    player = Player(engine, world)
    good = world.request(0, QUESTIONS[0], mode="never", max_new_tokens=30)
    bad = world.request(1, QUESTIONS[1], mode="never", max_new_tokens=30)
    poisoned = next(token for token in bad.ids if token not in good.ids)
    embed = tiny_network.get_input_embeddings()

    def poison(_: object, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return output.masked_fill((args[0] == poisoned)[..., None], float("nan"))

    hook = embed.register_forward_hook(poison)
    try:
        player.add(good)
        player.add(bad)
        player.step()
        player.step()
    finally:
        hook.remove()
    last = player.events[1][-1]
    assert isinstance(last, Finished)
    assert last.reason == "failed"
    # The next request gets the poisoned slot, next to a longer row that reads beyond its end.
    short = world.request(2, QUESTIONS[2], mode="never")
    player.add(short)
    player.run()
    for request in (good, short):
        assert len(written(player.events[request.id])) > 1
        check_clean(tiny_network, world, request, player.events[request.id])


def test_forgetting_after_the_weights_changed(world: World, tiny_network: PreTrainedModel) -> None:
    engine = TransformersEngine(tiny_network)
    player = Player(engine, world)
    player.run(world.request(0, QUESTIONS[0]))
    engine.forget()
    again = world.request(1, QUESTIONS[0])
    player.run(again)
    assert again.usage.reused == 0


def test_memory_stays_within_the_budget(world: World, tiny_network: PreTrainedModel) -> None:
    budget = 200_000
    engine = TransformersEngine(tiny_network, max_cache_bytes=budget)
    player = Player(engine, world)
    held: list[tuple[int, int]] = []  # bytes of the cache and of one of its slots

    def measure(_: object, __: object, options: dict[str, Any], ___: object) -> None:
        tensors = [one for layer in options["past_key_values"].layers for one in layer.tensors]
        held.append((sum(one.nbytes for one in tensors), sum(one[0].nbytes for one in tensors)))

    hook = tiny_network.get_decoder().register_forward_hook(measure, with_kwargs=True)
    try:
        for number in range(12):
            player.run(world.request(number, f"{QUESTIONS[number % 4]} {number}"))
    finally:
        hook.remove()
    assert held
    assert all(whole <= max(budget, slot) for whole, slot in held)
