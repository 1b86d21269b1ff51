"""Tool calls as text, by the Hermes convention: the prompt, the writer and the parser.

    <tool_call>
    {"name": "search", "arguments": {"query": "Ada Wrenfield"}}
    </tool_call>

A tool is a mapping as OpenAI writes it: `{"type": "function", "function": {"name": …,
"description": …, "parameters": {JSON schema}}}`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.transcript.text_checks import require_texts_in

TAGS = OPEN, CLOSE = "<tool_call>", "</tool_call>"

_TAG = re.compile("|".join(TAGS))
# Up to the first closing tag outside a JSON string.
_BODY = re.compile(rf'((?:"(?:[^"\\]|\\.)*+"|[^"])*?){CLOSE}', re.DOTALL)
# How a call without tags begins, without white space; the model may write a list of them.
_BARE = tuple(f'{bracket}{{"{key}":' for bracket in ("", "[") for key in ("name", "arguments"))
_BARE += tuple(f'{bracket}{{"parameters":' for bracket in ("", "["))
_BROKEN = re.compile(r'[\[\s]*\{\s*"name"\s*:\s*"[^"]+"\s*,\s*"(arguments|parameters)"\s*:')


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that the model wrote."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """Text in place of a call that cannot be parsed, with the reason for the model."""

    text: str
    error: str


Piece = str | ToolCall | InvalidToolCall


class ToolCallParser:
    """Written text in, text and calls out, as soon as each is certain. One parser per message.

    A call is between tags, or it (or a list of calls) is the whole text. A text that begins like
    the latter is held back until `flush`.
    """

    def __init__(self) -> None:
        self._held = ""
        self._is_in_call = False
        self._may_be_bare = True

    def feed(self, text: str) -> list[Piece]:
        """Pieces that became certain with `text`."""
        self._held += text
        self._may_be_bare = self._may_be_bare and _begins_bare(self._held)
        return [] if self._may_be_bare else self._drain()

    def flush(self) -> list[Piece]:
        """The rest, at the end of the message. A whole call needs no closing tag there."""
        if self._may_be_bare and (calls := _read_bare(self._held)):
            self._held = ""
            return calls
        self._may_be_bare = False
        pieces = self._drain()
        while self._is_in_call:
            # A call with no closing tag outside its strings is broken: the next tag ends it.
            body, _, self._held = self._held.partition(CLOSE)
            self._is_in_call = False
            pieces += [_read_call(body), *self._drain()]
        rest, self._held = self._held, ""
        return [*pieces, rest] if rest else pieces

    def _drain(self) -> list[Piece]:
        pieces: list[Piece] = []
        while True:
            if self._is_in_call:
                found = _BODY.match(self._held) if CLOSE in self._held else None
                if found is None:
                    return pieces
                pieces.append(_read_call(found[1]))
                self._is_in_call = False
            else:
                found = _TAG.search(self._held)
                end = found.start() if found else len(self._held) - _begun_tag(self._held)
                pieces += [self._held[:end]] if end else []
                if found is None:
                    self._held = self._held[end:]
                    return pieces
                self._is_in_call = found[0] == OPEN  # A closing tag alone means nothing.
            self._held = self._held[found.end() :]


def split_calls(text: str) -> tuple[list[str], list[ToolCall | InvalidToolCall]]:
    """(texts, calls) of a whole message."""
    parser = ToolCallParser()
    pieces = [*parser.feed(text), *parser.flush()]
    calls = [piece for piece in pieces if not isinstance(piece, str)]
    return [piece for piece in pieces if isinstance(piece, str)], calls


def render_tool_call(call: ToolCall) -> str:
    """The text of a call, tags included, as `Grammar.tool_call` makes a model write it."""
    plain = {"name": call.name, "arguments": call.arguments}
    return f"{OPEN}\n{json.dumps(plain, ensure_ascii=False)}\n{CLOSE}"


def tools_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """Text for the system message where the chat template has no place for `tools`."""
    listed = "\n".join(json.dumps(one, ensure_ascii=False, default=dict) for one in tools)
    example = '{"name": "<function>", "arguments": {"<parameter>": "<value>"}}'
    return (
        "You can call functions. Each line below describes one; its parameters are given as a "
        f"JSON schema.\n<tools>\n{listed}\n</tools>\n"
        "To call a function, write its name and its arguments as one JSON object between tags:\n"
        f"{OPEN}\n{example}\n{CLOSE}\n"
        "What it returned is then shown to you between <tool_response> and </tool_response>. "
        "Call a function only if you need it."
    )


def tool_function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function of a tool; raises InvalidInputError where it has no name."""
    function = tool.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidInputError(
            f'The tool {tool!r} has no function with a name; expected {{"type": "function", '
            '"function": {"name": …, "parameters": {…}}}; write it in that form'
        )
    return function


def _read_call(text: str) -> ToolCall | InvalidToolCall:
    try:
        return _to_call(json.loads(text))
    except InvalidInputError as error:
        problem = str(error)
    except (ValueError, RecursionError) as error:
        problem = f"The call is not JSON ({error}); expected one object; write it again"
    return InvalidToolCall(text.strip(), problem)


def _read_bare(text: str) -> list[Piece] | None:
    """The calls that make up the whole of `text`; None if it is something else."""
    text = text.strip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return [_read_call(text)] if _BROKEN.match(text) and OPEN not in text else None
    if end < len(text):
        return None
    try:
        return [_to_call(item) for item in (value if isinstance(value, list) else [value])]
    except InvalidInputError:
        return None


def _to_call(value: Any) -> ToolCall:
    """Raises InvalidInputError."""
    if isinstance(value, dict) and isinstance(name := value.get("name"), str) and name:
        arguments = value.get("arguments", value.get("parameters"))
        if isinstance(arguments, dict):
            # JSON can escape half a surrogate pair, which no tool can encode.
            require_texts_in(value, "A text of the call")
            return ToolCall(name, arguments)
    raise InvalidInputError(
        'The JSON is not a call; expected an object with a "name" and an object of "arguments"; '
        "write both"
    )


def _begins_bare(text: str) -> bool:
    squeezed = "".join(text.split())
    return any(start.startswith(squeezed) or squeezed.startswith(start) for start in _BARE)


def _begun_tag(text: str) -> int:
    """How many characters at the end of `text` may be the start of a tag."""
    longest = range(min(len(text), len(CLOSE) - 1), 0, -1)
    return next((n for n in longest if any(tag.startswith(text[-n:]) for tag in TAGS)), 0)
