"""An entity linker as a tool of an agent."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

from onegen_integrations.shared.entities import mention_values
from onegen_model import LinkedText
from onegen_model.errors import InvalidInputError

_NAME = "link_entities"
_DESCRIPTION = (
    "Find the names in a text, and the entity that each of them means. Gives a list of mentions "
    "with start, end, surface, id, name and score; id and name are null where none is known."
)


class LinkedArguments(BaseModel):
    """What the tool is called with."""

    text: str = Field(description="The text whose names are to be linked to entities.")


def tool_of(
    linker: Runnable[Any, LinkedText],
    args_schema: type[BaseModel] | None,
    *,
    name: str | None = None,
    description: str | None = None,
    arg_types: dict[str, type] | None = None,
) -> BaseTool:
    """A tool that takes a `text` and gives its mentions in JSON."""
    chain = RunnableLambda(_text) | linker | RunnableLambda(_mentions)
    return chain.as_tool(
        args_schema or (None if arg_types else LinkedArguments),
        name=name or _NAME,
        description=description or _DESCRIPTION,
        arg_types=arg_types,
    )


def _text(arguments: Mapping[str, Any]) -> Any:
    if "text" not in arguments:
        raise InvalidInputError(
            f"The tool was called with {', '.join(sorted(arguments)) or 'nothing'}; expected text; "
            "leave args_schema and arg_types out, or give them a field `text`"
        )
    return arguments["text"]


def _mentions(linked: LinkedText) -> list[dict[str, Any]]:
    return [mention_values(one) for one in linked.mentions]
