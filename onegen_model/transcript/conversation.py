"""Conversations of many turns, tools and earlier retrievals: messages to ids."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, get_args

from onegen_model.errors import InvalidInputError
from onegen_model.transcript import chat_template
from onegen_model.transcript.openai_messages import read_message
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Segment
from onegen_model.transcript.text_checks import (
    require_passage,
    require_question,
    require_text,
    require_texts_in,
)
from onegen_model.transcript.tool_calls import tools_text


@dataclass(frozen=True, slots=True)
class Message:
    """One message. An assistant's has `segments`: what it wrote and what was inserted; the others
    have `text`.
    """

    role: chat_template.Role
    text: str = ""
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order. An assistant's message at the end is unfinished: the model continues it.

    `tools` are mappings in OpenAI's form; system messages are put behind the template's own system
    text. Raises InvalidInputError for anything that is not text, by the message's position.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        for name in ("messages", "tools"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple):
                raise InvalidInputError(
                    f"The {name} of a conversation are of type {type(values).__name__}; expected a "
                    f"tuple; pass tuple({name})"
                )
            object.__setattr__(self, name, tuple(values))
        for at, message in enumerate(self.messages):
            _require_message(message, at)
        for at, tool in enumerate(self.tools):
            _require_tool(tool, at)
        asked = [at for at, message in enumerate(self.messages) if message.role == "user"]
        if not asked:
            raise InvalidInputError(
                "The conversation has no message of a user; expected at least one; ask something"
            )
        require_question(self.messages[asked[-1]].text)

    @classmethod
    def from_messages(
        cls, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> "Conversation":
        """A history in OpenAI's form: `[{"role": "user", "content": "…"}, …]`.

        Roles are system, developer (read as system), user, assistant and tool; `content` is text
        or a list of text parts; an assistant's `tool_calls` become text as the model writes them.
        Raises InvalidInputError by the message's position.
        """
        if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
            raise InvalidInputError(
                f"The messages are of type {type(messages).__name__}; expected a list of mappings "
                'such as {"role": "user", "content": "…"}; pass a list'
            )
        read = [read_message(message, at) for at, message in enumerate(messages)]
        return cls(
            tuple(
                Message(role, segments=(Segment(text),))
                if role == "assistant"
                else Message(role, text)
                for role, text in read
            ),
            tuple(tools),
        )

    @property
    def question(self) -> str:
        """The last message of the user."""
        return next(one.text for one in reversed(self.messages) if one.role == "user")

    @property
    def opening(self) -> tuple[Segment, ...]:
        """The beginning of the answer, where the last message is an assistant's."""
        last = _merge(self.messages)[-1]
        return last.segments if last.role == "assistant" else ()


# A question: its text alone, or a conversation that ends with it.
Question = str | Conversation


def close_opening(renderer: Renderer, question: Question) -> Question:
    """The question without an answer frame that its unfinished answer left open.

    A grammar needs this: inside a frame, the model closes the frame in a string of the grammar.
    """
    if not isinstance(question, Conversation) or not question.opening:
        return question
    *others, last = question.messages
    return replace(
        question, messages=(*others, replace(last, segments=_closed(renderer, last.segments)))
    )


def conversation_ids(renderer: Renderer, conversation: Conversation) -> list[int]:
    """The prompt: everything up to where the model continues."""
    messages = _merge(conversation.messages)
    opening = messages.pop() if messages[-1].role == "assistant" else Message("assistant")
    system, tools = _system_text(renderer, conversation), conversation.tools
    if tools and not chat_template.supports_tools(renderer.tokenizer):
        system, tools = "\n\n".join(filter(None, (system, tools_text(tools)))), ()
    messages[:0] = [Message("system", system)] if system else []
    marks = {chat_template.sentinel(f"m{at}"): message for at, message in enumerate(messages)}
    hidden: dict[str, str] = {}
    shown = chat_template.hide(tools, renderer.has_control, hidden)
    turns = [(message.role, mark) for mark, message in marks.items()]
    rendered = chat_template.render(renderer.tokenizer, turns, shown)
    ids: list[int] = []
    for part in chat_template.cut(renderer.tokenizer, rendered):
        if not isinstance(part, str):
            ids += part
        elif part in marks:
            ids += _content_ids(renderer, marks[part])
        else:
            ids += renderer.text_ids(hidden[part], continues=True)
    return ids + _content_ids(renderer, opening)


def _content_ids(renderer: Renderer, message: Message) -> list[int]:
    ids = renderer.text_ids(message.text)
    for segment in message.segments:
        ids += renderer.own_ids(segment)
        if segment.retrieves:
            ids += [renderer.query_id, *renderer.inserted_ids(segment)]
    return ids


def _closed(renderer: Renderer, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments with the last text ended: without markup, and with a line break behind it."""
    if not segments or segments[-1].retrieves:
        return segments
    last = segments[-1]
    text = renderer.template.unframed(last.text)
    plain, text = text.strip(), f"{text}\n" if text.strip() else ""
    # Known ids of unchanged text are kept, because the cache holds them.
    ids = last.ids or ()
    while ids and len(shown := str(renderer.tokenizer.decode([*ids])).strip()) >= len(plain):
        if shown == plain and renderer.own_ids(Segment(text, ids=ids)) == [*ids]:
            return (*segments[:-1], Segment(text, ids=ids))
        ids = ids[:-1]
    return (*segments[:-1], Segment(text))


def _system_text(renderer: Renderer, conversation: Conversation) -> str:
    own = [message.text for message in conversation.messages if message.role == "system"]
    return "\n\n".join(filter(None, (renderer.template.system, *own)))


def _merge(messages: Sequence[Message]) -> list[Message]:
    """All messages but the system's; many templates refuse two turns of one role in a row."""
    merged: list[Message] = []
    others = [message for message in messages if message.role != "system"]
    for role, group in groupby(others, key=lambda message: message.role):
        same = list(group)
        if role == "user":
            same = [Message(role, "\n\n".join(message.text for message in same))]
        elif role == "assistant":
            gap = Segment("\n")
            segments = [one for message in same for one in (gap, *message.segments)][1:]
            same = [replace(same[0], segments=tuple(segments))]
        merged += same
    return merged


def _require_message(message: object, at: int) -> None:
    name = f"Message {at}"
    if not isinstance(message, Message):
        raise InvalidInputError(
            f"{name} of the conversation is of type {type(message).__name__}; expected a Message; "
            "make it one, or use Conversation.from_messages"
        )
    roles = get_args(chat_template.Role)
    if message.role not in roles:
        raise InvalidInputError(
            f"{name} has the role {message.role!r}; expected one of {', '.join(roles)}; change it"
        )
    text = f"The text of message {at} ({message.role})"
    require_text(message.text, text)
    for segment in message.segments:
        if not isinstance(segment, Segment):
            raise InvalidInputError(
                f"{name} has a segment of type {type(segment).__name__}; expected a Segment; make "
                "it one"
            )
        require_text(segment.text, text)
        for passage in segment.passages:
            require_passage(passage)


def _require_tool(tool: object, at: int) -> None:
    if not isinstance(tool, Mapping):
        raise InvalidInputError(
            f"Tool {at} is of type {type(tool).__name__}; expected a mapping in OpenAI's form; "
            "convert it"
        )
    try:
        json.dumps(tool, default=dict)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"Tool {at} cannot be written as JSON ({error}); expected OpenAI's form, with texts, "
            "numbers, lists and mappings alone; convert it"
        ) from error
    require_texts_in(tool, f"A text of tool {at}")
