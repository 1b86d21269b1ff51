"""Histories in OpenAI's form, and the errors that name a message."""

from typing import Any

import pytest

from onegen_model import Conversation, Message, Segment
from onegen_model.errors import InvalidInputError
from onegen_model.transcript.conversation import conversation_ids
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.tool_calls import ToolCall, render_tool_call

USER = {"role": "user", "content": "Where is Alba?"}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"at": "Alba"}'},
}


def test_a_history_is_read() -> None:
    read = Conversation.from_messages(
        [
            {"role": "system", "content": "Be kind."},
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, "brief."]},
            {"role": "user", "name": "ann", "content": [{"type": "input_text", "text": "Who?"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "by the sea"},
            {"role": "assistant", "content": "By the sea.", "tool_calls": []},
            USER,
        ],
        tools=[{"type": "function", "function": {"name": "look"}}],
    )
    call = render_tool_call(ToolCall("look", {"at": "Alba"}))
    assert read.messages == (
        Message("system", "Be kind."),
        Message("system", "Be brief."),
        Message("user", "Who?"),
        Message("assistant", segments=(Segment(call),)),
        Message("tool", "by the sea"),
        Message("assistant", segments=(Segment("By the sea."),)),
        Message("user", "Where is Alba?"),
    )
    assert read.question == "Where is Alba?"
    assert len(read.tools) == 1


def test_text_and_a_call_that_is_not_json_stay_as_they_are() -> None:
    broken = {"type": "function", "function": {"name": "look", "arguments": '{"at": '}}
    message = {"role": "assistant", "content": "I look.", "tool_calls": [broken, CALL]}
    (_, said) = Conversation.from_messages([USER, message]).messages
    calls = '<tool_call>\n{"name": "look", "arguments": {"at": }\n</tool_call>\n'
    calls += render_tool_call(ToolCall("look", {"at": "Alba"}))
    assert said.segments == (Segment(f"I look.\n{calls}"),)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("Where?", "Message 1 is of type str; expected a mapping"),
        ({"content": "x"}, "Message 1 has the role None; expected one of system, developer"),
        ({"role": "robot", "content": "x"}, "Message 1 has the role 'robot'"),
        ({"role": "user"}, r"The content of message 1 \(user\) is None of type NoneType"),
        ({"role": "user", "content": 3}, r"The content of message 1 \(user\) is 3 of type int"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            r"content of message 1 \(user\) has a part of type 'image_url'; expected text",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, r"message 1 \(user\) is None"),
        ({"role": "user", "content": [7]}, "has a part of type 'int'"),
        ({"role": "tool", "content": "a\ud800"}, r"message 1 \(tool\) holds the lone surrogate"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "Message 1 has tool calls and"),
        ({"role": "assistant", "tool_calls": "look"}, "tool calls of message 1 are of type str"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "Message 1 has a tool call without"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "[]"}}]},
            "A tool call of message 1 has arguments of type list",
        ),
    ],
)
def test_an_error_names_the_message(message: Any, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        Conversation.from_messages([USER, message])


@pytest.mark.parametrize("messages", ["Where?", USER, None, 3, (one for one in [USER])])
def test_anything_but_a_list_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"The messages are of type .* expected a list"):
        Conversation.from_messages(messages)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ((Message("user", "Who?"), "x"), "Message 1 of the conversation is of type str"),
        ((Message("user", None),), r"The text of message 0 \(user\) is None of type NoneType"),
        ((Message("robot", "x"),), "Message 0 has the role 'robot'; expected one of system, user"),
        ((Message("assistant", segments=("x",)),), "Message 0 has a segment of type str"),
        ((Message("assistant", segments=(Segment(3),)),), r"message 0 \(assistant\) is 3 of type"),
        ((Message("tool", "\udfff"),), r"message 0 \(tool\) holds the lone surrogate"),
        ((one for one in ()), "messages of a conversation are of type generator; expected a tuple"),
    ],
)
def test_a_conversation_names_the_message_that_is_no_text(messages: Any, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        Conversation(messages)


def test_a_list_of_messages_is_a_conversation() -> None:
    listed: Any = [Message("user", "Who?")]
    assert Conversation(listed) == Conversation(tuple(listed))
    assert hash(Conversation(listed)) == hash(Conversation(tuple(listed)))


PRIVATE = "\ue000x\ue001 \ue000m0\ue001 \ue001\ue000 \uf8ff"


@pytest.mark.parametrize("template", ["native", "text"])
def test_private_characters_of_a_tool_or_a_message_arrive_unchanged(
    renderer: Renderer, template: str
) -> None:
    from tests.unit.transcript.test_conversation import WITH_TOOLS, other

    bound = other(WITH_TOOLS) if template == "native" else renderer
    parameters = {"type": "object", "properties": {PRIVATE: {"enum": [PRIVATE]}}}
    described = {"name": "look", "description": PRIVATE, "parameters": parameters}
    read = Conversation.from_messages(
        [
            {"role": "system", "content": f"s {PRIVATE}"},
            {"role": "user", "content": f"u {PRIVATE}"},
            {"role": "assistant", "content": f"a {PRIVATE}"},
            {"role": "tool", "content": f"t {PRIVATE}"},
            USER,
        ],
        [{"type": "function", "function": described}],
    )
    text = bound.tokenizer.decode(conversation_ids(bound, read))
    for begin in ("s ", "u ", "a ", "t ", '"description": "', '"enum": ["'):
        assert f"{begin}{PRIVATE}" in text
    assert f'"{PRIVATE}": ' in text
    assert text.count("\ue000m0\ue001") == 7


def test_a_text_of_a_tool_that_is_no_text_is_named() -> None:
    tool = {"type": "function", "function": {"name": "a", "description": "\ud800"}}
    with pytest.raises(InvalidInputError, match="A text of tool 0 holds the lone surrogate"):
        Conversation.from_messages([USER], [tool])
    with pytest.raises(InvalidInputError, match="Tool 0 is of type str; expected a mapping"):
        Conversation.from_messages([USER], ["look"])  # type: ignore[list-item]


def test_half_a_surrogate_pair_in_the_arguments_of_a_call_does_not_end_the_conversation() -> None:
    function = {"name": "look", "arguments": r'{"at": "\ud83d"}'}
    message = {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
    (_, said) = Conversation.from_messages([USER, message]).messages
    call = '{"name": "look", "arguments": {"at": "\\ud83d"}}'
    assert said.segments == (Segment(f"<tool_call>\n{call}\n</tool_call>"),)


def test_arguments_of_a_call_that_json_cannot_hold_are_refused_by_message() -> None:
    function = {"name": "look", "arguments": {"at": {"Alba"}}}
    message = {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
    with pytest.raises(InvalidInputError, match="of message 1 cannot be written as JSON"):
        Conversation.from_messages([USER, message])


@pytest.mark.parametrize("value", [{"Alba"}, b"Alba", object()])
def test_a_tool_that_json_cannot_hold_is_refused_by_position(value: object) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": value}}
    with pytest.raises(InvalidInputError, match="Tool 0 cannot be written as JSON"):
        Conversation.from_messages([USER], [tool])


def test_a_tool_that_holds_itself_is_refused_by_position() -> None:
    tool: dict[str, Any] = {"type": "function", "function": {"name": "look"}}
    tool["function"]["parameters"] = tool
    with pytest.raises(InvalidInputError, match="Tool 0 cannot be written as JSON"):
        Conversation.from_messages([USER], [tool])
