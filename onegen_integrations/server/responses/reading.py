"""A request for a response as a turn of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onegen_integrations.server.errors import NotFoundError, ParameterError, blaming
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.responses.input_items import read_items
from onegen_integrations.server.responses.items import Plain
from onegen_integrations.server.responses.kept_response import KeptResponse
from onegen_integrations.server.responses.response_request import ResponseRequest
from onegen_integrations.server.responses.tools import ChosenTools, FileSearch, read_tools
from onegen_integrations.server.serving import Serving
from onegen_integrations.server.stores.access import Access
from onegen_integrations.server.stores.names import INDEX_STORE
from onegen_integrations.server.turns import TurnRequest
from onegen_model import (
    Conversation,
    Grammar,
    Message,
    RetrievalParams,
    Retriever,
    SamplingParams,
)


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """A turn, and the items it is made from, those of earlier turns included."""

    turn: TurnRequest
    items: tuple[Plain, ...]


def read_turn(
    asked: ResponseRequest, serving: Serving, caller: Caller, previous: KeptResponse | None
) -> AskedTurn:
    """The turn that continues `previous`, whose instructions are not carried over.

    Raises ParameterError, NotFoundError, and InvalidInputError by the parameter that is wrong.
    """
    asked.require_supported()
    tools = read_tools(asked.tools or (), asked.tool_choice)
    earlier = previous.context if previous else []
    new = read_items(asked.input, earlier)
    messages = [
        *([Message("system", asked.instructions)] if asked.instructions else []),
        *(previous.messages if previous else ()),
        *(one.message for one in new if one.message is not None),
    ]
    with blaming("input"):
        conversation = Conversation(tuple(messages))
    with blaming("tools"):
        conversation = replace(conversation, tools=tools.functions)
    with blaming("text.format"):
        response = _read_format(asked.text)
    turn = TurnRequest(
        conversation,
        tools.functions,
        tools.choice,
        response,
        _read_sampling(asked, serving.settings.sampling),
        _read_retrieval(asked, tools, serving, caller),
        _read_retriever(asked, tools.search, serving, caller),
        asked.parallel_tool_calls is not False,
        watch=serving.observer.of(serving.model(asked.model)),
    )
    return AskedTurn(turn, (*earlier, *(one.plain for one in new)))


def _read_format(text: Mapping[str, Any] | None) -> Grammar | None:
    """Raises InvalidInputError for an unknown format, and for a schema that cannot be followed."""
    wanted = (text or {}).get("format")
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, Mapping) else type(wanted).__name__
    if kind == "text":
        return None
    if kind == "json_object":
        return Grammar.json_object()
    schema = wanted.get("schema") if isinstance(wanted, Mapping) else None
    if kind != "json_schema" or not isinstance(schema, Mapping):
        raise ParameterError(
            f"text.format is of type {str(kind)[:80]!r}, or has no schema; expected text, "
            'json_object, or {"type": "json_schema", "name": …, "schema": {…}}; correct it',
            param="text.format",
        )
    return Grammar.json_schema(schema)


def _read_sampling(asked: ResponseRequest, usual: SamplingParams) -> SamplingParams:
    given = {
        "max_new_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
    }
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(usual, **chosen)


def _read_retrieval(
    asked: ResponseRequest, tools: ChosenTools, serving: Serving, caller: Caller
) -> RetrievalParams:
    """The operator's choices, as far as the tool leaves them open, in the scope of the caller."""
    usual, search = serving.settings.retrieval, tools.search
    filters = [one for one in (usual.filter, search and search.filter) if one]
    both = {"$and": filters} if len(filters) == 2 else next(iter(filters), None)
    usual = replace(usual, filter=caller.narrowed(both))
    if search is None:
        return replace(usual, mode="never")
    return replace(
        usual,
        mode="always" if tools.must_search else usual.mode,
        top_k=search.top_k or usual.top_k,
        min_score=usual.min_score if search.min_score is None else search.min_score,
        max_retrievals=min(usual.max_retrievals, asked.max_tool_calls or usual.max_retrievals),
    )


def _read_retriever(
    asked: ResponseRequest, search: FileSearch | None, serving: Serving, caller: Caller
) -> Retriever | None:
    """Raises NotFoundError for a store that is not there, or that the caller does not see."""
    if search is None:
        return None
    param = f"tools.{search.at}.vector_store_ids"
    if serving.model(asked.model) is not serving.model(None):
        # Its embeddings are those of the first model.
        raise ParameterError(
            f"The model {asked.model!r} cannot search what {serving.default_model!r} has embedded; "
            f"expected model={serving.default_model!r}; change it, or leave file_search out",
            param="model",
        )
    _require_seen(search.vector_store_ids, Access(serving, caller), param)
    try:
        return serving.retriever(search.vector_store_ids)
    except NotFoundError as error:
        raise NotFoundError(str(error), param=param, code=error.code) from error


def _require_seen(store_ids: Sequence[str], access: Access, param: str) -> None:
    has_folder = access.serving.settings.storage is not None
    for one in store_ids:
        if not has_folder or (one == INDEX_STORE and access.serving.index is not None):
            continue
        try:
            access.store(one)
        except NotFoundError as error:
            raise NotFoundError(str(error), param=param, code=error.code) from error
