"""LlamaIndex messages to a conversation of the core, and answers back. Pure."""

from collections.abc import Mapping, Sequence
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
    Template,
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


def to_conversation(
    messages: Sequence[ChatMessage],
    template: Template,
    tools: Sequence[Mapping[str, Any]] = (),
) -> Conversation:
    """Raises InvalidInputError for what a text model cannot read."""
    return Conversation(tuple(_to_message(one, template) for one in messages), tuple(tools))


def _to_message(message: ChatMessage, template: Template) -> Message:
    role = ROLES[message.role]
    if role == "assistant":
        return Message("assistant", segments=_segments(message, template))
    return Message(role, _text(message))  # type: ignore[arg-type]


def _text(message: ChatMessage) -> str:
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


def _segments(message: ChatMessage, template: Template) -> tuple[Segment, ...]:
    """The turn as it was written, while the message still says the same."""
    text = _text(message)
    segments = tuple(map(_to_segment, message.additional_kwargs.get(REPLAY) or ()))
    if segments:
        _, answer = template.parse([segment.text for segment in segments])
        if answer == text.strip() or segments[-1].text.strip() == text.strip():
            return segments
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    return (Segment(text + "\n".join(map(_call_text, calls))),)


def _call_text(block: ToolCallBlock) -> str:
    arguments = block.tool_kwargs
    if isinstance(arguments, str):
        return arguments
    return render_tool_call(ToolCall(block.tool_name, arguments))


def _to_segment(plain: Mapping[str, Any]) -> Segment:
    passages = tuple(Passage(**passage) for passage in plain["passages"])
    return Segment(plain["text"], plain["retrieves"], passages, tuple(plain["ids"]))


def to_replay(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """JSON-able; what `to_conversation` needs to send the turn back exactly."""
    return [asdict(segment) for segment in segments]
