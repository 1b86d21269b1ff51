"""LlamaIndex messages to a conversation of the core, and answers back. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from onegen_integrations.shared.json_values import json_metadata
from onegen_integrations.shared.repeated_calls import CallTurn
from onegen_model import (
    Conversation,
    Message,
    Passage,
    Segment,
    ToolCall,
    render_tool_call,
)
from onegen_model.errors import InvalidInputError

ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
REPLAY = "onegen"
# Tokens around a message and around a passage, at most.
TURN, FRAME = 12, 4


def to_conversation(
    messages: Sequence[ChatMessage],
    tools: Sequence[Mapping[str, Any]] = (),
) -> Conversation:
    """Raises InvalidInputError for anything but text, and for messages without a question.

    An assistant's message at the end is continued, unless this model has finished it.
    """
    if messages and (replay := _replay(messages[-1])) and replay.get("finished", True):
        raise InvalidInputError(
            "The conversation ends in a finished answer of this model; expected something to "
            "answer; add a message of the user"
        )
    return Conversation(tuple(map(_to_message, messages)), tuple(tools))


def to_call_turns(messages: Sequence[ChatMessage]) -> list[CallTurn]:
    """Roles and calls of messages."""
    return [CallTurn(ROLES[one.role], tuple(_calls(one))) for one in messages]


def _to_message(message: ChatMessage) -> Message:
    role = ROLES[message.role]
    if role == "assistant":
        return Message("assistant", segments=_segments(message))
    return Message(role, text_of(message))  # type: ignore[arg-type]


def text_of(message: ChatMessage) -> str:
    """Raises InvalidInputError for an image or anything else that is not text."""
    texts = []
    for block in message.blocks:
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif not isinstance(block, ToolCallBlock | ThinkingBlock):
            raise InvalidInputError(
                f"A message with a {type(block).__name__}; expected text; this model reads "
                "nothing else"
            )
    return "".join(texts)


def _segments(message: ChatMessage) -> tuple[Segment, ...]:
    """The turn as it was written, if the message was not changed."""
    if replay := _replay(message):
        try:
            return tuple(map(_to_segment, replay["segments"]))
        except (KeyError, TypeError) as error:
            raise InvalidInputError(
                f"additional_kwargs[{REPLAY!r}] of a message was changed; expected what this model "
                "has put there; send the message back as it was, or without it"
            ) from error
    calls = (_call_text(name, arguments) for name, arguments in _calls(message))
    return (Segment("\n".join(filter(None, (text_of(message), *calls)))),)


def _replay(message: ChatMessage) -> Mapping[str, Any] | None:
    """The data that `remember` stored, if the message was not changed."""
    replay: Mapping[str, Any] | None = message.additional_kwargs.get(REPLAY)
    return replay if replay and replay.get("shown") == _shown(message) else None


def _shown(message: ChatMessage) -> list[Any]:
    """The visible text of a message, stripped because chat engines strip it."""
    return [text_of(message).strip(), *map(list, _calls(message))]


def _calls(message: ChatMessage) -> list[tuple[str, Any]]:
    """Names and arguments."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    return [(block.tool_name, block.tool_kwargs) for block in blocks]


def _call_text(name: str, arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else render_tool_call(ToolCall(name, arguments))


def _to_segment(plain: Mapping[str, Any]) -> Segment:
    passages = tuple(Passage(**passage) for passage in plain["passages"])
    ids = None if plain["ids"] is None else tuple(plain["ids"])
    return Segment(plain["text"], plain["retrieves"], passages, ids)


def remember(message: ChatMessage, segments: Sequence[Segment], *, finished: bool) -> None:
    """Stores the segments of the turn in a message, as JSON, so that it can be replayed exactly."""
    message.additional_kwargs[REPLAY] = {
        "shown": _shown(message),
        "segments": [_to_plain(segment) for segment in segments],
        "finished": finished,
    }


def _to_plain(segment: Segment) -> dict[str, Any]:
    passages = (replace(one, metadata=json_metadata(one.metadata)) for one in segment.passages)
    return asdict(replace(segment, passages=tuple(passages)))


def count_tokens(message: ChatMessage, count: Callable[[str], int]) -> int:
    """Tokens of a message in the context, with its passages; `count` is for text."""
    segments = _segments(message) if ROLES[message.role] == "assistant" else ()
    written = sum(len(one.ids) if one.ids else count(one.text) for one in segments)
    found = [passage for one in segments for passage in one.passages]
    inserted = sum(count(passage.text) + FRAME for passage in found)
    return TURN + written + inserted + (0 if segments else count(text_of(message)))
