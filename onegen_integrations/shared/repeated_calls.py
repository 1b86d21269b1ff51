"""Tool calls that a model repeats although their results are in the conversation.

A small model often repeats a call whose result it has just read, and its agent never ends. Both
adapters drop such a call. Where nothing else was written, the model is asked once more without
tools, so that it has to answer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onegen_model import ToolCall


@dataclass(frozen=True, slots=True)
class CallTurn:
    """The role of a message ("user", "assistant", "tool" or "system") and the calls it makes."""

    role: str
    calls: tuple[tuple[str, Any], ...] = ()  # name and arguments


def current_turns(turns: Sequence[CallTurn]) -> Sequence[CallTurn]:
    """The turns behind the last message of the user."""
    asked = (at for at in reversed(range(len(turns))) if turns[at].role == "user")
    return turns[next(asked, -1) + 1 :]


@dataclass(frozen=True, slots=True)
class AnsweredCalls:
    """`call_key` of each call of the current question whose result the model has read."""

    keys: frozenset[str] = frozenset()

    @classmethod
    def in_turns(cls, turns: Sequence[CallTurn]) -> "AnsweredCalls":
        """Calls of the current question that a tool's message follows."""
        keys: set[str] = set()
        is_answered = False
        for turn in reversed(current_turns(turns)):
            is_answered = is_answered or turn.role == "tool"
            if is_answered:
                keys.update(call_key(name, arguments) for name, arguments in turn.calls)
        return cls(frozenset(keys))

    def repeats(self, call: object) -> bool:
        """Whether `call`, a `ToolCall`, has the name and arguments of an answered one."""
        return isinstance(call, ToolCall) and call_key(call.name, call.arguments) in self.keys


def call_key(name: str, arguments: Any) -> str:
    """Equal for calls of one name and equal arguments, in any order and as JSON text or mapping."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return json.dumps([name, arguments])
    return json.dumps([name, _plain(arguments)], sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    # JSON has one kind of number: 3.0 is 3. `sort_keys` needs keys of one type.
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
