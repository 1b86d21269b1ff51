"""The items of an input: as they are listed later, and as messages of the core."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onegen_integrations.server.errors import ParameterError, blaming
from onegen_integrations.server.responses.items import Plain, new_id
from onegen_model import Conversation, Message

_ROLES = ("user", "system", "developer", "assistant")
# Kind of a part -> the field with its text.
_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
# What an answer of this or another server holds besides its text. The model does not read it again:
# where `previous_response_id` is given the server knows what the model has read.
_SKIPPED = ("reasoning", "file_search_call")
# The core reads no conversation without a question.
_FILLER = {"role": "user", "content": "?"}


@dataclass(frozen=True, slots=True)
class InputItem:
    """An item with its id; None for a message: the model does not read it."""

    plain: Plain
    message: Message | None


def read_items(given: object, earlier: Iterable[Mapping[str, Any]] = ()) -> list[InputItem]:
    """A text, or a list of items, behind `earlier` ones; raises ParameterError."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise ParameterError(
            "input is no text and no list of items; expected one of them, which is not empty; ask "
            "something",
            param="input",
        )
    items = [_read_item(one, f"input.{at}") for at, one in enumerate(given)]
    known = {one.get("call_id") for one in earlier if one.get("type") == "function_call"}
    for at, item in enumerate(items):
        _require_call(item.plain, known, f"input.{at}.call_id")
    return items


def _read_item(item: object, param: str) -> InputItem:
    if not isinstance(item, Mapping):
        raise _wrong(param, f"is of type {type(item).__name__}", "an item with a type", "wrap it")
    kind = item.get("type", "message" if "role" in item else None)
    match kind:
        case "message":
            return _read_message(item, param)
        case "function_call":
            return _read_call(item, param)
        case "function_call_output":
            return _read_output(item, param)
    if kind in _SKIPPED:
        return InputItem(_listed(item, kind, "item"), None)
    known = ", ".join(("message", "function_call", "function_call_output", *_SKIPPED))
    advice = "leave it out; what a stored response holds is read by previous_response_id"
    raise _wrong(f"{param}.type", f"is {str(kind)[:80]!r}", f"one of {known}", advice)


def _read_message(item: Mapping[str, Any], param: str) -> InputItem:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        expected = f"one of {', '.join(_ROLES)}"
        raise _wrong(f"{param}.role", f"is {str(role)[:80]!r}", expected, "change it")
    text = _read_text(content, f"{param}.content")
    usual = "output_text" if role == "assistant" else "input_text"
    parts = [{"type": usual, "text": content}] if isinstance(content, str) else content
    listed = {**_listed(item, "message", "msg"), "role": role, "content": parts}
    return InputItem(listed, _message({"role": role, "content": text}, param))


def _read_call(item: Mapping[str, Any], param: str) -> InputItem:
    for name in ("name", "arguments", "call_id"):
        _require_text(item, name, param)
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    return InputItem(_listed(item, "function_call", "fc"), _message(call, param))


def _read_output(item: Mapping[str, Any], param: str) -> InputItem:
    _require_text(item, "call_id", param)
    text = _read_text(item.get("output"), f"{param}.output")
    listed = _listed(item, "function_call_output", "fco")
    return InputItem(listed, _message({"role": "tool", "content": text}, param))


def _read_text(content: object, param: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        what = f"is of type {type(content).__name__}"
        raise _wrong(param, what, "a text, or a list of parts", "change it")
    return "".join(_read_part(part, f"{param}.{at}") for at, part in enumerate(content))


def _read_part(part: object, param: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if not isinstance(part, Mapping) or kind not in _PARTS:
        advice = "send text; a file is read in a vector store"
        raise _wrong(
            f"{param}.type", f"is {str(kind)[:80]!r}", f"one of {', '.join(_PARTS)}", advice
        )
    name = _PARTS[kind]
    _require_text(part, name, param)
    return str(part[name])


def _message(plain: Plain, param: str) -> Message:
    with blaming(param):
        return Conversation.from_messages([plain, _FILLER]).messages[0]


def _listed(item: Mapping[str, Any], kind: str, prefix: str) -> Plain:
    known = item.get("id")
    own = known if isinstance(known, str) and known else new_id(prefix)
    return {"status": "completed", **item, "type": kind, "id": own}


def _require_call(plain: Plain, known: set[Any], param: str) -> None:
    """An output follows its call, else the model reads an answer to nothing."""
    if plain["type"] == "function_call":
        known.add(plain["call_id"])
    elif plain["type"] == "function_call_output" and plain["call_id"] not in known:
        expected = "that of a function_call before it"
        advice = "send the call too, or its response's id as previous_response_id"
        raise _wrong(param, f"is {plain['call_id'][:80]!r}, which nothing called", expected, advice)


def _require_text(item: Mapping[str, Any], name: str, param: str) -> None:
    if not isinstance(item.get(name), str):
        raise _wrong(f"{param}.{name}", "is no text", "one", "correct it")


def _wrong(param: str, what: str, expected: str, advice: str) -> ParameterError:
    return ParameterError(f"{param} {what}; expected {expected}; {advice}", param=param)
