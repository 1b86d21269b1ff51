"""LangChain messages to a conversation of the core. Pure; undoes what `blocks` did."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from onegen_integrations.langchain.blocks import RETRIEVE, Block, digest
from onegen_integrations.langchain.embeddings import to_passage
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

ROLES = {"human": "user", "user": "user", "ai": "assistant", "assistant": "assistant"}
TEXT_KEYS = {"text": "text", "reasoning": "reasoning", "output_text": "text"}
# A call of a client's tool stands in `tool_calls` too, and is taken from there.
SEEN_ELSEWHERE = {"tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use"}


def to_conversation(
    messages: Sequence[BaseMessage],
    template: Template,
    tools: Sequence[Mapping[str, Any]] = (),
) -> Conversation:
    """Raises InvalidInputError for what a text model cannot read."""
    return Conversation(tuple(_to_message(one, template) for one in messages), tuple(tools))


def _to_message(message: BaseMessage, template: Template) -> Message:
    match message:
        case SystemMessage():
            return Message("system", _text(message.content))
        case HumanMessage():
            return Message("user", _text(message.content))
        case AIMessage():
            return Message("assistant", segments=_segments(message, template))
        case ToolMessage():
            failed = "Error: " if message.status == "error" else ""
            return Message("tool", failed + _text(message.content))
        case ChatMessage():
            role = ROLES.get(message.role, message.role)
            if role == "assistant":
                return Message("assistant", segments=(Segment(_text(message.content)),))
            if role in ("system", "user", "tool"):
                return Message(role, _text(message.content))  # type: ignore[arg-type]
    raise InvalidInputError(
        f"A message of type {type(message).__name__} and role {message.type!r}; expected system, "
        "human, ai or tool; convert it"
    )


def _text(content: str | Sequence[str | Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(_text_of(block) for block in content)


def _text_of(block: str | Mapping[str, Any]) -> str:
    if isinstance(block, str):
        return block
    kind = str(block.get("type"))
    if kind in SEEN_ELSEWHERE:
        return ""
    if kind in TEXT_KEYS:
        return str(block.get(TEXT_KEYS[kind], ""))
    raise InvalidInputError(
        f"A content block of type {kind!r}; expected text; this model reads nothing else"
    )


def _segments(message: AIMessage, template: Template) -> tuple[Segment, ...]:
    """What the model wrote and what was inserted, with the ids it was written in if known."""
    replay = message.response_metadata.get("onegen") or {}
    segments = _pieces(message, template, replay)
    written: Sequence[Sequence[int]] = replay.get("written") or ()
    if len(written) != len(segments):
        return tuple(segments)
    return tuple(
        Segment(one.text, one.retrieves, one.passages, tuple(ids))
        for one, ids in zip(segments, written, strict=True)
    )


def _pieces(message: AIMessage, template: Template, replay: Mapping[str, Any]) -> list[Segment]:
    calls, frame = _calls(message), replay.get("frame")
    # A string, which LangChain may have put into a block.
    if isinstance(message.content, str) or frame is not None:
        text = _text(message.content)
        if frame and replay.get("digest") == digest(text):
            start, end = frame
            text = text[:start] + _framed(template, text[start:end]) + text[end:]
        return [Segment(text + calls)]
    segments: list[Segment] = []
    text = ""
    blocks = [block for block in message.content if isinstance(block, dict)]
    is_ours = "onegen" in message.response_metadata
    has_steps = is_ours or any(one.get("type") == "server_tool_call" for one in blocks)
    for block in message.content:
        if isinstance(block, dict) and block.get("type") == "server_tool_call":
            segments.append(Segment(text or _query(block), True))
            text = ""
        elif isinstance(block, dict) and block.get("type") == "server_tool_result":
            if segments and isinstance(block.get("output"), list):
                last, found = segments.pop(), tuple(map(_passage, block["output"]))
                segments.append(Segment(last.text, True, found))
        elif isinstance(block, dict) and block.get("type") == "text" and has_steps:
            repeats = (block.get("extras") or {}).get("repeats")
            text += "" if repeats else _framed(template, block.get("text", ""))
        else:
            text += _text_of(block)
    return [*segments, Segment(text + calls)]


def earlier_blocks(message: BaseMessage) -> list[Block]:
    """The blocks that a model goes on behind: all but the answer of an unfinished turn."""
    if not isinstance(message, AIMessage) or isinstance(message.content, str):
        return []
    blocks = [dict(block) for block in message.content if isinstance(block, dict)]
    return [block for block in blocks if block.get("type") != "text"]


def open_text(conversation: Conversation, template: Template) -> str:
    """What an unfinished answer at the end has since its last insertion; "" without one."""
    text = conversation.opening[-1].text if conversation.opening else ""
    _, start, answer = text.partition(template.answer_start)
    if start and template.answer_end in answer:
        raise InvalidInputError(
            "The last message is an answer that is complete; expected something to answer; add a "
            "human message"
        )
    return text


def _framed(template: Template, answer: str) -> str:
    """An empty answer is one that is still to be written."""
    if not answer:
        return template.answer_start
    return f"{template.answer_start} {answer}{template.answer_end}"


def _query(block: Block) -> str:
    if block.get("name") != RETRIEVE:
        raise InvalidInputError(
            f"A server tool call of {block.get('name')!r}; expected {RETRIEVE!r}; leave the "
            "messages of other providers out, or turn them into text"
        )
    return str(block["args"]["queries"][0])


def _passage(found: Mapping[str, Any]) -> Passage:
    """A passage as it was inserted, from what a `server_tool_result` tells of it."""
    content, metadata = str(found["page_content"]), dict(found["metadata"])
    return to_passage(Document(id=str(found["id"]), page_content=content, metadata=metadata))


def _calls(message: AIMessage) -> str:
    calls = [render_tool_call(ToolCall(call["name"], call["args"])) for call in message.tool_calls]
    calls += [str(call["args"]) for call in message.invalid_tool_calls]
    return "\n".join(calls)
