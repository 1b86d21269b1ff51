"""Tools in training data: rendered as inference renders them, made from real names."""

import json
import random
from collections.abc import Callable
from types import ModuleType

import pytest

from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.examples import TRANSCRIPT
from onegen_model.transcript.conversation import Conversation, Message, conversation_ids
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.tool_calls import ToolCallParser, render_tool_call


@pytest.fixture
def made(training_script: Callable[[str], ModuleType]) -> list[dict[str, object]]:
    fact = training_script("silver").Fact
    facts = {
        "p1": {"director": fact("Łódź: a story", "director", "Ada", "Łódź", "p1")},
        "p2": {
            "date of birth": fact("Ada Şen", "date of birth", "4 May 1921", "Ada", "p2"),
            "place of birth": fact("Ada Şen", "place of birth", "Łódź", "Ada", "p2"),
        },
    }
    return list(training_script("tool_questions").requests(facts, random.Random(0), 60))


def test_a_request_names_what_its_call_is_filled_with(made: list[dict[str, object]]) -> None:
    assert len(made) == 60
    for one in made:
        assert not list(TRANSCRIPT.problems(json.loads(json.dumps(one))))
        example = TRANSCRIPT.read(one)
        parser = ToolCallParser()
        (call,) = [*parser.feed(example.segments[0].text), *parser.flush()]
        assert render_tool_call(call) == example.segments[0].text
        assert all(value in example.question for value in call.arguments.values())
        functions = [tool["function"] for tool in example.tools]
        (called,) = (one for one in functions if one["name"] == call.name)
        assert called["parameters"]["required"] == list(call.arguments)


def test_tools_are_rendered_as_at_inference(
    renderer: Renderer, made: list[dict[str, object]]
) -> None:
    example = TRANSCRIPT.read(made[0])
    rendered = Collator(renderer, {}).render(example)
    asked = Conversation((Message("user", example.question),), example.tools)
    prompt = conversation_ids(renderer, asked)
    assert list(rendered.ids[: len(prompt)]) == prompt
    written = [*renderer.text_ids(example.segments[0].text), renderer.end_id]
    assert list(rendered.ids[len(prompt) :]) == written
    assert rendered.written == (False,) * len(prompt) + (True,) * len(written)
    assert len(prompt) > len(renderer.question_ids(example.question))


@pytest.mark.parametrize(
    ("tools", "field"),
    [("weekday", "tools"), (["weekday"], "tools[0]"), ([{"function": {}}], "tools[0]")],
)
def test_an_invalid_tool_is_named(tools: object, field: str) -> None:
    plain = {"id": "1", "question": "Who?", "tools": tools, "segments": [{"text": " Ada"}]}
    assert [problem.field for problem in TRANSCRIPT.problems(plain)] == [field]
