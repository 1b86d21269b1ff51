"""What a tool choice shows to the model and what it allows to be written."""

from typing import Any

import pytest

from onegen_integrations.shared.tool_choice import AllowedTools, normalise_choice
from onegen_model import Grammar
from onegen_model.errors import InvalidInputError

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("add", "search")
]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", None),
        (False, None),
        (True, "any"),
        ("required", "any"),
        ("none", "none"),
        ("add", "add"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
        ({"type": "tool", "name": "add"}, "add"),
    ],
)
def test_a_choice_has_one_form(choice: Any, expected: str | None) -> None:
    assert normalise_choice(choice, ["add"]) == expected


@pytest.mark.parametrize("choice", [3, "subtract", {"type": "function"}, {"function": "add"}])
def test_a_choice_that_is_none_of_the_tools_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected 'auto', 'any', 'none' or one of add"):
        normalise_choice(choice, ["add"])


def test_a_choice_decides_the_shown_tools_and_the_grammar() -> None:
    pytest.importorskip("llguidance")
    assert AllowedTools.of_call({"tools": TOOLS}) == AllowedTools(TOOLS)
    assert AllowedTools.of_call({"tools": TOOLS, "tool_choice": "none"}) == AllowedTools()
    assert AllowedTools.of_call({"tool_choice": "any"}) == AllowedTools()
    forced = AllowedTools.of_call({"tools": TOOLS, "tool_choice": "add"})
    assert forced.grammar == Grammar.tool_call(TOOLS, name="add")
    assert AllowedTools.of_call({"tools": TOOLS, "tool_choice": True}).grammar == Grammar.tool_call(
        TOOLS
    )
