"""Messages in OpenAI's form, read as role and text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.transcript.chat_template import Role
from onegen_model.transcript.text_checks import require_text, require_texts_in
from onegen_model.transcript.tool_calls import CLOSE, OPEN, ToolCall, render_tool_call

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_TEXT_PARTS = ("text", "input_text", "output_text")


def read_message(message: object, at: int) -> tuple[Role, str]:
    """Role and text of message `at`, tool calls included; raises InvalidInputError."""
    if not isinstance(message, Mapping):
        raise InvalidInputError(
            f"Message {at} is of type {type(message).__name__}; expected a mapping such as "
            '{"role": "user", "content": "…"}; convert it'
        )
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidInputError(
            f"Message {at} has the role {role!r}; expected one of {', '.join(ROLES)}; change it"
        )
    calls = message.get("tool_calls") or ()
    if calls and role != "assistant":
        raise InvalidInputError(
            f"Message {at} has tool calls and the role {role!r}; expected them in a message of an "
            "assistant; leave them out"
        )
    name = f"The content of message {at} ({role})"
    content = "" if calls and message.get("content") is None else message.get("content")
    text = _read_content(content, name)
    return ROLES[role], "\n".join(filter(None, (text, *_read_calls(calls, at))))


def _read_content(content: object, name: str) -> str:
    if not isinstance(content, list | tuple):
        return require_text(content, name)
    return "".join(_read_part(part, name) for part in content)


def _read_part(part: object, name: str) -> str:
    if isinstance(part, str):
        return require_text(part, name)
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if not isinstance(part, Mapping) or kind not in _TEXT_PARTS:
        raise InvalidInputError(
            f"{name} has a part of type {kind!r}; expected text; this model reads nothing else"
        )
    return require_text(part.get("text"), name)


def _read_calls(calls: object, at: int) -> list[str]:
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise InvalidInputError(
            f"The tool calls of message {at} are of type {type(calls).__name__}; expected a list; "
            "pass one"
        )
    return [_read_call(call, at) for call in calls]


def _read_call(call: Any, at: int) -> str:
    """The text of a call, as the model writes it; arguments that are not JSON stay unchanged."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidInputError(
            f"Message {at} has a tool call without the name of a function; expected "
            '{"type": "function", "function": {"name": "…", "arguments": "{…}"}}; write it so'
        )
    arguments = function.get("arguments") or "{}"
    if isinstance(arguments, str):
        written = require_text(arguments, f"A tool call of message {at}")
        try:
            arguments = json.loads(written)
            # Half a surrogate pair has no other form than its escape.
            require_texts_in(arguments, "The arguments")
        except (ValueError, RecursionError):  # InvalidInputError is a ValueError.
            name = json.dumps(function["name"], ensure_ascii=False)
            return f'{OPEN}\n{{"name": {name}, "arguments": {written}}}\n{CLOSE}'
    if not isinstance(arguments, Mapping):
        raise InvalidInputError(
            f"A tool call of message {at} has arguments of type {type(arguments).__name__}; "
            "expected a JSON object; correct them"
        )
    try:
        return render_tool_call(ToolCall(function["name"], dict(arguments)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"The arguments of a tool call of message {at} cannot be written as JSON ({error}); "
            "expected a JSON object; correct them"
        ) from error
