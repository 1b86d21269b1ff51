"""A request for a response as a turn of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from onegen_integrations.server.answer_fields import chosen_sampling, output_grammar
from onegen_integrations.server.errors import ParameterError, blaming
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.responses.input_items import read_items
from onegen_integrations.server.responses.items import Plain
from onegen_integrations.server.responses.kept_response import KeptResponse
from onegen_integrations.server.responses.response_request import ResponseRequest
from onegen_integrations.server.responses.tools import ChosenTools, FileSearch, read_tools
from onegen_integrations.server.serving import Serving
from onegen_integrations.server.stores.access import Access
from onegen_integrations.server.turns import TurnRequest
from onegen_model import (
    Conversation,
    Grammar,
    Message,
    RetrievalParams,
    Retriever,
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
        chosen_sampling(
            serving.settings.sampling,
            max_new_tokens=asked.max_output_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
        ),
        _read_retrieval(asked, tools, serving, caller),
        _read_retriever(asked, tools.search, serving, caller),
        asked.parallel_tool_calls is not False,
        watch=serving.observer.of(serving.model(asked.model)),
    )
    return AskedTurn(turn, (*earlier, *(one.plain for one in new)))


def _read_format(text: Mapping[str, Any] | None) -> Grammar | None:
    wanted = (text or {}).get("format")
    schema = wanted.get("schema") if isinstance(wanted, Mapping) else None
    form = '{"type": "json_schema", "name": …, "schema": {…}}'
    return output_grammar(wanted, schema, "text.format", form)


def _read_retrieval(
    asked: ResponseRequest, tools: ChosenTools, serving: Serving, caller: Caller
) -> RetrievalParams:
    """The operator's choices, as far as the tool leaves them open, in the scope of the caller."""
    usual, search = serving.settings.retrieval, tools.search
    usual = replace(usual, filter=caller.narrowed(usual.filter, search.filter if search else None))
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
    return Access(serving, caller).searched(search.vector_store_ids, param)
