"""The tools of a request: functions, the search in vector stores, and the choice among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.stores.attribute_filters import to_filter

M = TypeVar("M", bound=BaseModel)

FILE_SEARCH = "file_search"


class RankingOptions(BaseModel):
    """`ranker` is ignored: passages are ranked by the model that embeds them."""

    model_config = ConfigDict(strict=True)

    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    hybrid_search: None = None


class FileSearchTool(BaseModel):
    """The tool `file_search`."""

    model_config = ConfigDict(strict=True)

    vector_store_ids: Annotated[list[str], Field(min_length=1)]
    max_num_results: Annotated[int, Field(ge=1, le=50)] | None = None
    filters: Any = None
    ranking_options: RankingOptions | None = None


class FunctionTool(BaseModel):
    """A function of the caller."""

    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class FileSearch:
    """A search in vector stores, at a place in the list of tools."""

    at: int
    vector_store_ids: tuple[str, ...]
    top_k: int | None = None
    min_score: float | None = None
    filter: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChosenTools:
    """What an answer may use. `functions` and `choice` are in the form of chat completions.

    `must_search`: the answer begins with a search.
    """

    functions: tuple[Mapping[str, Any], ...] = ()
    choice: str | Mapping[str, Any] | None = None
    search: FileSearch | None = None
    must_search: bool = False


def read_tools(tools: Sequence[Mapping[str, Any]], choice: Any) -> ChosenTools:
    """Raises ParameterError by the place of what cannot be used."""
    functions: list[Mapping[str, Any]] = []
    search: FileSearch | None = None
    for at, tool in enumerate(tools):
        param, kind = f"tools.{at}", tool.get("type")
        if kind == "function":
            read = _validated(FunctionTool, tool, param)
            functions.append({"type": "function", "function": read.model_dump(exclude_none=True)})
        elif kind == FILE_SEARCH and search is None:
            search = _read_search(tool, at)
        else:
            raise ParameterError(
                f"{param}.type is {str(kind)[:80]!r}; expected functions, and one file_search at "
                "most; leave it out",
                param=f"{param}.type",
                code="unsupported_value",
            )
    return _chosen(tuple(functions), search, choice)


def _read_search(tool: Mapping[str, Any], at: int) -> FileSearch:
    param = f"tools.{at}"
    read = _validated(FileSearchTool, tool, param)
    chosen = None if read.filters is None else to_filter(read.filters, f"{param}.filters")
    least = read.ranking_options.score_threshold if read.ranking_options else None
    # A cosine below 0 is shown as 0, so a threshold of 0 leaves nothing out.
    ids = tuple(dict.fromkeys(read.vector_store_ids))
    return FileSearch(at, ids, read.max_num_results, least or None, chosen)


def _chosen(
    functions: tuple[Mapping[str, Any], ...], search: FileSearch | None, choice: Any
) -> ChosenTools:
    if choice in (None, "auto"):
        return ChosenTools(functions, None, search)
    if choice == "none":
        return ChosenTools()
    if choice == "required" and (functions or search):
        forced = None if search else "required"
        return ChosenTools(functions, forced, search, must_search=search is not None)
    if isinstance(choice, Mapping):
        match choice.get("type"):
            case "function" if choice.get("name") in _names(functions):
                return ChosenTools(functions, {"function": {"name": choice["name"]}})
            case "file_search" if search:
                return ChosenTools(functions, None, search, must_search=True)
            case "allowed_tools" if choice.get("mode") in ("auto", "required"):
                return _allowed(functions, search, choice)
    raise ParameterError(
        f"tool_choice={str(choice)[:200]}; expected auto, none, required, or one of the tools, "
        'such as {"type": "function", "name": …} or {"type": "file_search"}; change it, or pass '
        "the tool",
        param="tool_choice",
    )


def _allowed(
    functions: tuple[Mapping[str, Any], ...], search: FileSearch | None, choice: Mapping[str, Any]
) -> ChosenTools:
    """The choice among some of the tools; the others are not shown to the model."""
    listed = choice.get("tools")
    wanted = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    names = [one.get("name") for one in wanted if one.get("type") == "function"]
    finds = any(one.get("type") == FILE_SEARCH for one in wanted)
    unknown = [one for one in names if one not in _names(functions)]
    if not wanted or unknown or (finds and search is None):
        raise ParameterError(
            "tool_choice.tools names a tool that the request does not have, or none; expected some "
            "of `tools`; change it",
            param="tool_choice.tools",
        )
    some = tuple(one for one in functions if one["function"]["name"] in names)
    return _chosen(some, search if finds else None, choice["mode"])


def _names(functions: Sequence[Mapping[str, Any]]) -> list[str]:
    return [one["function"]["name"] for one in functions]


def _validated(kind: type[M], plain: Mapping[str, Any], param: str) -> M:
    try:
        return kind.model_validate(dict(plain))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (param, *first["loc"])))
        raise ParameterError(
            f"{place}: {first['msg']}; expected the form of OpenAI; correct it",
            param=place,
            code=str(first["type"]),
        ) from None
