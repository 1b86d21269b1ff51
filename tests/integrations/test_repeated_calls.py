"""Which calls of tools are repetitions, by name and arguments, within one question."""

import pytest

from onegen_integrations.shared.repeated_calls import AnsweredCalls, CallTurn
from onegen_model import InvalidToolCall, ToolCall

CALL = ToolCall("weather", {"place": "Alba", "days": 3})
ASKED = CallTurn("user")
MADE = CallTurn("assistant", (("weather", {"place": "Alba", "days": 3}),))
RESULT = CallTurn("tool")


def test_a_call_whose_result_was_read_is_a_repetition() -> None:
    assert AnsweredCalls.in_turns([ASKED, MADE, RESULT]).repeats(CALL)


@pytest.mark.parametrize(
    "arguments", [{"days": 3.0, "place": "Alba"}, '{"days": 3, "place": "Alba"}']
)
def test_order_and_notation_of_arguments_make_no_difference(arguments: object) -> None:
    made = CallTurn("assistant", (("weather", arguments),))
    assert AnsweredCalls.in_turns([ASKED, made, RESULT]).repeats(CALL)


@pytest.mark.parametrize(
    "call",
    [
        ToolCall("weather", {"place": "Alba", "days": 4}),
        ToolCall("forecast", {"place": "Alba", "days": 3}),
        InvalidToolCall("{", "no JSON"),
        "text",
    ],
)
def test_another_call_is_none(call: object) -> None:
    assert not AnsweredCalls.in_turns([ASKED, MADE, RESULT]).repeats(call)


def test_every_turn_of_the_question_counts_and_those_before_it_do_not() -> None:
    other = CallTurn("assistant", (("add", {"a": 1}),))
    assert AnsweredCalls.in_turns([ASKED, MADE, RESULT, other, RESULT]).repeats(CALL)
    assert not AnsweredCalls.in_turns([ASKED, MADE, RESULT, ASKED]).repeats(CALL)


def test_a_call_without_a_result_may_be_made_again() -> None:
    assert not AnsweredCalls.in_turns([ASKED, MADE]).repeats(CALL)


def test_arguments_that_are_no_json_are_compared_as_text() -> None:
    made = CallTurn("assistant", (("weather", "{broken"),))
    assert not AnsweredCalls.in_turns([ASKED, made, RESULT]).repeats(CALL)
