"""Converts LangChain messages to a conversation of the core; the inverse of `blocks`. Pure."""

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

from onegen_integrations.langchain.blocks import RETRIEVE, digest
from onegen_integrations.langchain.citations import Block
from onegen_integrations.langchain.embeddings import to_passage
from onegen_integrations.shared.repeated_calls import CallTurn
from onegen_model import (
    Conversation,
    Message,
    OneGenModel,
    Passage,
    Segment,
    Template,
    ToolCall,
    render_tool_call,
)
from onegen_model.errors import InvalidInputError

ROLES = {"human": "user", "user": "user", "ai": "assistant", "assistant": "assistant"}
TEXT_KEYS = {"text": "text", "reasoning": "reasoning", "output_text": "text"}
# Blocks that repeat what a message has in `tool_calls`.
SEEN_ELSEWHERE = {"tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use"}


def to_conversation(
    messages: Sequence[BaseMessage],
    template: Template,
    tools: Sequence[Mapping[str, Any]] = (),
) -> Conversation:
    """Raises InvalidInputError for what a text model cannot read."""
    converted: list[Message] = []
    question = ""
    for one in messages:
        converted.append(_to_message(one, template, question))
        if converted[-1].role == "user":
            question = converted[-1].text
    return Conversation(tuple(converted), tuple(tools))


def _to_message(message: BaseMessage, template: Template, question: str) -> Message:
    match message:
        case SystemMessage():
            return Message("system", _text(message.content))
        case HumanMessage():
            return Message("user", _text(message.content))
        case AIMessage():
            return Message("assistant", segments=_segments(message, template, question))
        case ToolMessage():
            failed = "Error: " if message.status == "error" else ""
            return Message("tool", failed + _text(message.content))
        case ChatMessage():
            role = _role(message)
            if role == "assistant":
                return Message("assistant", segments=(Segment(_text(message.content)),))
            if role in ("system", "user", "tool"):
                return Message(role, _text(message.content))  # type: ignore[arg-type]
    raise InvalidInputError(
        f"A message of type {type(message).__name__} and role {message.type!r}; expected system, "
        "human, ai or tool; convert it"
    )


def _role(message: BaseMessage) -> str:
    """The role as the core names it; chunks of a message have it too."""
    if isinstance(message, ChatMessage):
        return ROLES.get(message.role, message.role)
    for kind, role in ((HumanMessage, "user"), (AIMessage, "assistant"), (ToolMessage, "tool")):
        if isinstance(message, kind):
            return role
    return message.type


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


def _segments(message: AIMessage, template: Template, question: str) -> tuple[Segment, ...]:
    """Written and inserted text, with the written ids if they are known.

    `question` is the last text of the user before the message.
    """
    replay = message.response_metadata.get("onegen") or {}
    segments = _pieces(message, template, replay, question)
    written: Sequence[Sequence[int]] = replay.get("written") or ()
    if len(written) != len(segments):
        return tuple(segments)
    return tuple(
        Segment(one.text, one.retrieves, one.passages, tuple(ids))
        for one, ids in zip(segments, written, strict=True)
    )


def _pieces(
    message: AIMessage, template: Template, replay: Mapping[str, Any], question: str
) -> list[Segment]:
    calls, frame = _calls(message), replay.get("frame")
    # A string, or the block that LangChain makes of one.
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
            segments.append(Segment(text or _query_line(block, question), True))
            text = ""
        elif isinstance(block, dict) and block.get("type") == "server_tool_result":
            if segments and isinstance(block.get("output"), list):
                last, found = segments.pop(), tuple(map(_passage, block["output"]))
                segments.append(Segment(last.text, True, found))
        elif isinstance(block, dict) and block.get("type") == "text" and has_steps:
            text += _answer_text(block, template)
        else:
            text += _text_of(block)
    return [*segments, Segment(text + calls)]


def earlier_blocks(message: BaseMessage) -> list[Block]:
    """The blocks of an unfinished turn at the end, without its answer."""
    if not isinstance(message, AIMessage) or isinstance(message.content, str):
        return []
    blocks = [dict(block) for block in message.content if isinstance(block, dict)]
    return [block for block in blocks if block.get("type") != "text"]


def open_text(conversation: Conversation, template: Template) -> str:
    """Text of an unfinished answer at the end since its last insertion; "" without one.

    Raises InvalidInputError for a complete answer.
    """
    text = conversation.opening[-1].text if conversation.opening else ""
    if template.frame_state(text) == "closed":
        raise InvalidInputError(
            "The last message is an answer that is complete; expected something to answer; add a "
            "human message"
        )
    return text


def _answer_text(block: Block, template: Template) -> str:
    """A text block as it was written; `blocks` notes where that was not in the answer frame."""
    extras, text = block.get("extras") or {}, str(block.get("text", ""))
    if extras.get("repeats"):
        return ""
    return text if extras.get("bare") else _framed(template, text)


def _framed(template: Template, answer: str) -> str:
    """The answer in its frame, which stays open for an empty one."""
    return template.framed(f" {answer}") if answer else template.answer_start


def _query_line(block: Block, question: str) -> str:
    """The line before a retrieval for which the message has no text.

    A model that searches at once writes none, and its query is the question. Any other query is
    the line itself, which was removed from the message.
    """
    if block.get("name") != RETRIEVE:
        raise InvalidInputError(
            f"A server tool call of {block.get('name')!r}; expected {RETRIEVE!r}; leave the "
            "messages of other providers out, or turn them into text"
        )
    try:
        query = str(block["args"]["queries"][0])
    except (KeyError, IndexError, TypeError) as error:
        raise _unreadable("server_tool_call", "args with queries") from error
    return "" if query.strip() == question.strip() else query


def _passage(found: Mapping[str, Any]) -> Passage:
    """A passage as it was inserted, from the output of a `server_tool_result`."""
    try:
        known, content = str(found["id"]), str(found["page_content"])
        metadata = dict(found["metadata"])
    except (KeyError, TypeError, ValueError) as error:
        parts = "passages with id, page_content and metadata"
        raise _unreadable("server_tool_result", parts) from error
    return to_passage(Document(id=known, page_content=content, metadata=metadata))


def _unreadable(kind: str, expected: str) -> InvalidInputError:
    return InvalidInputError(
        f"A {kind} that was changed; expected {expected}; send the message back as it was, or only "
        "its text"
    )


def _calls(message: AIMessage) -> str:
    calls = [render_tool_call(ToolCall(call["name"], call["args"])) for call in message.tool_calls]
    calls += [str(call["args"]) for call in message.invalid_tool_calls]
    return "\n".join(calls)


def count_prompt(
    messages: Sequence[BaseMessage], model: OneGenModel, tools: Sequence[Mapping[str, Any]] = ()
) -> int:
    """Tokens that the prompt of `messages` has, as `Usage.prompt` counts them.

    Messages without a question are no conversation yet; they are counted together with one.
    """
    if not messages:
        return 0
    asked = any(_role(one) == "user" and _text(one.content).strip() for one in messages)
    if asked:
        return model.count_prompt(to_conversation(messages, model.template, tools))
    filler = HumanMessage("?")
    whole = to_conversation([*messages, filler], model.template, tools)
    alone = to_conversation([filler], model.template, tools)
    return model.count_prompt(whole) - model.count_prompt(alone)


def call_turns(messages: Sequence[BaseMessage]) -> list[CallTurn]:
    """Roles and tool calls of messages."""
    turns = []
    for one in messages:
        calls = one.tool_calls if isinstance(one, AIMessage) else ()
        turns.append(CallTurn(_role(one), tuple((call["name"], call["args"]) for call in calls)))
    return turns
