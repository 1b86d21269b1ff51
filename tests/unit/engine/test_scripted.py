"""The toy engine itself."""

import pytest

from onegen_model.engine.scripted import ScriptedEngine
from onegen_model.errors import ProtocolError
from onegen_model.events import Event, Token
from onegen_model.generation.driver import Driver
from onegen_model.inputs import Prompt
from onegen_model.params import SamplingParams
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import Library, of


def test_the_default_script_is_deterministic(renderer: Renderer) -> None:
    def run() -> list[Event]:
        engine = ScriptedEngine(len(renderer.tokenizer))
        driver = Driver(engine, renderer)
        ticket = driver.submit(Prompt(renderer.question_ids("Why?"), "Why?"), Library())
        return list(driver.drive(ticket))

    assert run() == run()


def test_masked_ids_give_way_to_the_next(renderer: Renderer) -> None:
    passage = renderer.passage_id
    engine = ScriptedEngine(len(renderer.tokenizer), lambda ids: passage, dimension=3)
    driver = Driver(engine, renderer)
    ticket = driver.submit(Prompt([5], "q"), sampling=SamplingParams(max_new_tokens=3))
    written = [event.token_id for event in of(driver.drive(ticket), Token)]
    assert not {*written} & ticket.request.masked
    assert {event.logprob for event in ticket.stream.events if isinstance(event, Token)} == {None}
    embedding = engine.embed([1, 2])
    assert abs(sum(x * x for x in embedding) - 1) < 1e-6
    assert len(embedding) == 3
    with pytest.raises(ProtocolError, match="is not here"):
        engine.finish(7, "cancelled")


@pytest.mark.parametrize("count", [0, 3])
def test_a_script_is_certain(renderer: Renderer, count: int) -> None:
    driver = Driver(ScriptedEngine(len(renderer.tokenizer), lambda ids: 6), renderer)
    sampling = SamplingParams(max_new_tokens=3, logprobs=count)
    ticket = driver.submit(Prompt([5], "q", forced=[7]), sampling=sampling)
    forced, *written = of(driver.drive(ticket), Token)
    assert (forced.logprob, forced.top_logprobs) == (None, ())
    assert [(token.logprob, token.top_logprobs) for token in written] == [
        (0.0, ((6, 0.0),)[:count])
    ] * 2
