"""A tokenizer's chat template, rendered with sentinels in place of contents and cut there.

What the template itself says is tokenised with control tokens; contents never are.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onegen_model.errors import InvalidInputError
from onegen_model.transcript.tokens import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Role = Literal["system", "user", "assistant", "tool"]
Turn: TypeAlias = tuple[Role, str]
Tools: TypeAlias = Sequence[Mapping[str, Any]]
# Ids of the template's own words, or the sentinel of a content.
Parts: TypeAlias = tuple[tuple[int, ...] | str, ...]

_SENTINEL = re.compile("\ue000[a-z0-9]+\ue001")


def sentinel(name: str) -> str:
    """Stands for a content; `name` is of lower-case letters and digits."""
    return f"\ue000{name}\ue001"


def supports_tools(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the chat template has a place for tools."""
    return "tools" in _source(tokenizer, [{}])


def render(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Turn], tools: Tools = ()) -> str:
    """The conversation as text, ready for the next reply; raises InvalidInputError.

    A template that refuses a system turn gets it in front of the first question; one that
    refuses tool turns gets them as the user's.
    """
    contents = [content for _, content in turns]
    for attempt in (turns, _fold_tools(turns), _fold_system(turns), _fold_all(turns)):
        rendered = _try(tokenizer, attempt, tools)
        if [mark for mark in _SENTINEL.findall(rendered) if mark in contents] == contents:
            return rendered
    raise InvalidInputError(
        f"The chat template cannot render the roles {', '.join(role for role, _ in turns)}; "
        "expected it to show each message once, in order; begin with a question and let answers "
        "and questions alternate"
    )


def cut(tokenizer: "PreTrainedTokenizerBase", rendered: str) -> Parts:
    """Ids and sentinels, in order."""
    ends = [match.span() for match in _SENTINEL.finditer(rendered)]
    parts: list[tuple[int, ...] | str] = []
    at = 0
    for start, end in [*ends, (len(rendered), len(rendered))]:
        if start > at:
            parts.append(tuple(encode(tokenizer, rendered[at:start])["input_ids"]))
        if end > start:
            parts.append(rendered[start:end])
        at = end
    return tuple(parts)


def _try(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Turn], tools: Tools) -> str:
    if not tokenizer.chat_template:
        return _plain(tokenizer, turns)
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        return str(
            tokenizer.apply_chat_template(
                messages,
                tools=[dict(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=True,
            )
        )
    except Exception:  # A chat template is foreign code and may refuse with any error.
        return ""


def _plain(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Turn]) -> str:
    """What a base model without a chat template reads."""
    end = tokenizer.eos_token or ""
    forms = {"system": "{}\n", "user": "Question: {}\n", "assistant": f"Answer:{{}}{end}\n"}
    body = "".join(forms.get(role, "{}\n").format(content) for role, content in turns)
    return f"{tokenizer.bos_token or ''}{body}Answer:"


def _fold_system(turns: Sequence[Turn]) -> list[Turn]:
    if len(turns) < 2 or [role for role, _ in turns[:2]] != ["system", "user"]:
        return list(turns)
    return [("user", f"{turns[0][1]}\n\n{turns[1][1]}"), *turns[2:]]


def _fold_tools(turns: Sequence[Turn]) -> list[Turn]:
    folded: list[Turn] = []
    for role, content in turns:
        if role == "tool":
            role, content = "user", f"<tool_response>\n{content}\n</tool_response>"
        if folded and role == folded[-1][0] == "user":
            content = f"{folded.pop()[1]}\n\n{content}"
        folded.append((role, content))
    return folded


def _fold_all(turns: Sequence[Turn]) -> list[Turn]:
    return _fold_system(_fold_tools(turns))


def _source(tokenizer: "PreTrainedTokenizerBase", tools: list[dict[str, Any]] | None) -> str:
    return str(tokenizer.get_chat_template(tools=tools)) if tokenizer.chat_template else ""


def hide(value: Any, is_control: "re.Pattern[str]", found: dict[str, str]) -> Any:
    """`value` with a sentinel for each of its strings that holds a control token.

    `found` maps each sentinel to what it stands for, as JSON shows it.
    """
    if isinstance(value, Mapping):
        return {
            hide(key, is_control, found): hide(item, is_control, found)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide(item, is_control, found) for item in value]
    if isinstance(value, str) and is_control.search(value):
        mark = sentinel(f"t{len(found)}")
        found[mark] = json.dumps(value, ensure_ascii=False)[1:-1]
        return mark
    return value
