"""The meaning of `tool_choice`: the tools that are shown, and the grammar of a forced call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from onegen_model import Grammar
from onegen_model.errors import InvalidInputError

ToolChoice: TypeAlias = str | bool | Mapping[str, Any] | None
Tools: TypeAlias = Sequence[Mapping[str, Any]]


def normalise_choice(choice: ToolChoice, names: Sequence[str] | None = None) -> str | None:
    """ "any", "none", the name of a tool, or None where the model decides.

    Raises InvalidInputError for anything else, and for a name that is not among `names`.
    """
    chosen: Any = choice
    if isinstance(chosen, Mapping):
        function = chosen.get("function", chosen)
        chosen = function.get("name", 0) if isinstance(function, Mapping) else 0  # 0 is refused
    if chosen is True or chosen == "required":
        return "any"
    if chosen is False or chosen in (None, "", "auto"):
        return None
    fine = isinstance(chosen, str)
    if not fine or (names is not None and chosen not in ("any", "none", *names)):
        known = f" or one of {', '.join(names)}" if names else " or the name of a tool"
        raise InvalidInputError(
            f"tool_choice={choice!r}; expected 'auto', 'any', 'none'{known}; change tool_choice"
        )
    return str(chosen)


@dataclass(frozen=True, slots=True)
class AllowedTools:
    """The `tools` that the model reads about, and the `grammar` of a call that it must make."""

    tools: Tools = ()
    grammar: Grammar | None = None

    @classmethod
    def of_call(cls, called: Mapping[str, Any]) -> "AllowedTools":
        """Those of a call with `tools` (as OpenAI writes them) and `tool_choice`."""
        tools = called.get("tools") or ()
        choice = normalise_choice(called.get("tool_choice"))
        if choice == "none" or not tools:
            return cls()
        if choice is None:
            return cls(tools)
        return cls(tools, Grammar.tool_call(tools, name=None if choice == "any" else choice))
