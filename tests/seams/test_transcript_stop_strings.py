"""Stop strings of a request whose model writes tokens that are not shown."""

import pytest

from onegen_model.events import Token
from onegen_model.inputs import Prompt
from onegen_model.params import SamplingParams
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from tests.conftest import make_tokenizer
from tests.support.drivers import Library, Stage, of, reason


@pytest.fixture(scope="module")
def reflecting() -> Renderer:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["[Relevant]"])
    return Renderer(Template(reflection=("[Relevant]",)), tokenizer, max_passage_tokens=64)


@pytest.mark.parametrize(
    "written",
    [
        "[Relevant]the mill by the river",
        "the [Relevant]mill by the river",
        "the mi[Relevant]ll by the river",
    ],
)
def test_a_stop_string_behind_a_reflection_token_stops(reflecting: Renderer, written: str) -> None:
    stage = Stage(reflecting)
    prompt = reflecting.question_ids("q?")
    ids = reflecting.tokenizer(written, add_special_tokens=False).input_ids
    stage.lines[tuple(prompt)] = [*ids, reflecting.end_id]
    sampling = SamplingParams(stop=("mill",))
    events = list(stage.driver.drive(stage.driver.submit(Prompt(prompt, "q?"), sampling=sampling)))
    assert reason(events) == "stop"
    assert "".join(event.text for event in of(events, Token)) == "the "


def test_what_was_held_back_belongs_to_the_query_text(renderer: Renderer) -> None:
    library = Library()
    text = "Who wrote the mi[RQ]ll?"
    events = Stage(renderer).run(text, library, sampling=SamplingParams(stop=("mill",)))
    assert [query.text for (query,) in library.calls] == ["Who wrote the mi"]
    assert reason(events) == "end"
