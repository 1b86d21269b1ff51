"""LlamaIndex messages to a conversation of the core, and answers back. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

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
# Tokens around a message, and around a passage: more than templates have, because they bound.
TURN, FRAME = 12, 4


def to_conversation(
    messages: Sequence[ChatMessage],
    tools: Sequence[Mapping[str, Any]] = (),
) -> Conversation:
    """Raises InvalidInputError for what a text model cannot read, or where nothing is asked.

    An assistant's message at the end is gone on with, unless this model has finished it.
    """
    if messages and (replay := _replay(messages[-1])) and replay.get("finished", True):
        raise InvalidInputError(
            "The conversation ends in a finished answer of this model; expected something to "
            "answer; add a message of the user"
        )
    return Conversation(tuple(map(_to_message, messages)), tuple(tools))


def _to_message(message: ChatMessage) -> Message:
    role = ROLES[message.role]
    if role == "assistant":
        return Message("assistant", segments=_segments(message))
    return Message(role, text_of(message))  # type: ignore[arg-type]


def text_of(message: ChatMessage) -> str:
    """Raises InvalidInputError for an image or whatever else is no text."""
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
    """The turn as it was written, while the message still says the same."""
    if replay := _replay(message):
        return tuple(map(_to_segment, replay["segments"]))
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    return (Segment("\n".join(filter(None, (text_of(message), *map(_call_text, calls))))),)


def _replay(message: ChatMessage) -> Mapping[str, Any] | None:
    """What `remember` has kept of a message that is still the same."""
    replay: Mapping[str, Any] | None = message.additional_kwargs.get(REPLAY)
    return replay if replay and replay["shown"] == _shown(message) else None


def _shown(message: ChatMessage) -> list[Any]:
    """What a reader sees of a message; chat engines strip its text."""
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    return [text_of(message).strip(), *([call.tool_name, call.tool_kwargs] for call in calls)]


def _call_text(block: ToolCallBlock) -> str:
    arguments = block.tool_kwargs
    if isinstance(arguments, str):
        return arguments
    return render_tool_call(ToolCall(block.tool_name, arguments))


def _to_segment(plain: Mapping[str, Any]) -> Segment:
    passages = tuple(Passage(**passage) for passage in plain["passages"])
    ids = None if plain["ids"] is None else tuple(plain["ids"])
    return Segment(plain["text"], plain["retrieves"], passages, ids)


def remember(message: ChatMessage, segments: Sequence[Segment], *, finished: bool) -> None:
    """Keep with a message, as JSON, what it takes to send the turn back exactly."""
    plain = [asdict(segment) for segment in segments]
    message.additional_kwargs[REPLAY] = {
        "shown": _shown(message),
        "segments": plain,
        "finished": finished,
    }


def count_tokens(message: ChatMessage, count: Callable[[str], int]) -> int:
    """Tokens of a message in the context, with its passages; `count` is for text."""
    segments = _segments(message) if ROLES[message.role] == "assistant" else ()
    written = sum(len(one.ids) if one.ids else count(one.text) for one in segments)
    found = [passage for one in segments for passage in one.passages]
    inserted = sum(count(passage.text) + FRAME for passage in found)
    return TURN + written + inserted + (0 if segments else count(text_of(message)))
