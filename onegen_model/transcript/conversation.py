"""Conversations of many turns, tools and earlier retrievals: messages to ids."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.transcript import chat_template
from onegen_model.transcript.renderer import Renderer, require_question
from onegen_model.transcript.template import Segment
from onegen_model.transcript.tool_calls import tools_text


@dataclass(frozen=True, slots=True)
class Message:
    """`segments` are what an assistant wrote and what was inserted; the others have `text`."""

    role: chat_template.Role
    text: str = ""
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order. An assistant's at the end is unfinished: the model goes on with it.

    `tools` are mappings as OpenAI writes them; system messages join the template's own.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        asked = [message.text for message in self.messages if message.role == "user"]
        if not asked:
            raise InvalidInputError(
                "The conversation has no message of a user; expected at least one; ask something"
            )
        require_question(asked[-1])

    @property
    def question(self) -> str:
        """What the user said last."""
        return next(one.text for one in reversed(self.messages) if one.role == "user")

    @property
    def opening(self) -> tuple[Segment, ...]:
        """What the answer begins with."""
        last = _merge(self.messages)[-1]
        return last.segments if last.role == "assistant" else ()


# What a model is asked.
Question = str | Conversation


def conversation_ids(renderer: Renderer, conversation: Conversation) -> list[int]:
    """The prompt: everything up to where the model writes on."""
    messages = _merge(conversation.messages)
    opening = messages.pop() if messages[-1].role == "assistant" else Message("assistant")
    system, tools = _system_text(renderer, conversation), conversation.tools
    if tools and not chat_template.supports_tools(renderer.tokenizer):
        system, tools = "\n\n".join(filter(None, (system, tools_text(tools)))), ()
    messages[:0] = [Message("system", system)] if system else []
    marks = {chat_template.sentinel(f"m{at}"): message for at, message in enumerate(messages)}
    hidden: dict[str, str] = {}
    shown = chat_template.hide(tools, _control_strings(renderer), hidden)
    turns = [(message.role, mark) for mark, message in marks.items()]
    rendered = chat_template.render(renderer.tokenizer, turns, shown)
    ids: list[int] = []
    for part in chat_template.cut(renderer.tokenizer, rendered):
        if not isinstance(part, str):
            ids += part
        elif part in marks:
            ids += _content_ids(renderer, marks[part])
        else:
            ids += renderer.text_ids(hidden[part])
    return ids + _content_ids(renderer, opening)


def _content_ids(renderer: Renderer, message: Message) -> list[int]:
    ids = renderer.text_ids(message.text)
    for segment in message.segments:
        ids += renderer.own_ids(segment)
        if segment.retrieves:
            ids += [renderer.query_id, *renderer.inserted_ids(segment)]
    return ids


def _system_text(renderer: Renderer, conversation: Conversation) -> str:
    own = [message.text for message in conversation.messages if message.role == "system"]
    return "\n\n".join(filter(None, (renderer.template.system, *own)))


def _merge(messages: Sequence[Message]) -> list[Message]:
    """All but the system's. Many templates refuse two turns of one role in a row."""
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


def _control_strings(renderer: Renderer) -> "re.Pattern[str]":
    added = renderer.tokenizer.added_tokens_decoder.values()
    return re.compile("|".join(re.escape(token.content) for token in added) or r"(?!)")
