"""Chat template of a tokenizer, rendered with sentinels in place of contents and cut there.

The template's own strings are tokenised with control tokens; contents never are.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onegen_model.errors import InvalidInputError
from onegen_model.transcript.text_guard import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Role = Literal["system", "user", "assistant", "tool"]
Turn: TypeAlias = tuple[Role, str]
Tools: TypeAlias = Sequence[Mapping[str, Any]]
# Ids of the template's own text, or the sentinel of a content.
Parts: TypeAlias = tuple[tuple[int, ...] | str, ...]

_SENTINEL = re.compile("\ue000[a-z0-9]+\ue001")
_MARK = re.compile("[\ue000\ue001]")

# The tags of a tool's result, where the template has no role for it.
RESPONSE_TAGS = ("<tool_response>", "</tool_response>")


def sentinel(name: str) -> str:
    """The placeholder of a content; `name` has lower-case letters and digits only."""
    return f"\ue000{name}\ue001"


def supports_tools(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the chat template has a place for tools."""
    if not tokenizer.chat_template:
        return False
    return "tools" in str(tokenizer.get_chat_template(tools=[{}]))


def own_text(tokenizer: "PreTrainedTokenizerBase") -> str:
    """All text that the chat template itself may write: its source, and the folded roles."""
    known = tokenizer.chat_template or ""
    sources = known.values() if isinstance(known, Mapping) else [known]
    return "\n".join((*sources, *RESPONSE_TAGS))


def render(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Turn], tools: Tools = ()) -> str:
    """The conversation as text, up to where the next reply begins; raises InvalidInputError.

    Where a template refuses a system turn, its text is put in front of the first question; where
    it refuses tool turns, they become turns of the user.
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
    except Exception:  # A chat template is foreign code, which may raise any error.
        return ""


def _plain(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Turn]) -> str:
    """The prompt of a base model, which has no chat template."""
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
    start, end = RESPONSE_TAGS
    for role, content in turns:
        if role == "tool":
            role, content = "user", f"{start}\n{content}\n{end}"
        if folded and role == folded[-1][0] == "user":
            content = f"{folded.pop()[1]}\n\n{content}"
        folded.append((role, content))
    return folded


def _fold_all(turns: Sequence[Turn]) -> list[Turn]:
    return _fold_system(_fold_tools(turns))


def hide(value: Any, has_control: Callable[[str], bool], found: dict[str, str]) -> Any:
    """`value` with a sentinel for each of its strings that holds a control token or a sentinel.

    Adds to `found` the string of each sentinel, as JSON shows it.
    """
    if isinstance(value, Mapping):
        return {
            hide(key, has_control, found): hide(item, has_control, found)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide(item, has_control, found) for item in value]
    if isinstance(value, str) and (_MARK.search(value) or has_control(value)):
        mark = sentinel(f"t{len(found)}")
        found[mark] = json.dumps(value, ensure_ascii=False)[1:-1]
        return mark
    return value
