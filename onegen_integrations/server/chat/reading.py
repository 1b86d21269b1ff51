"""A chat request as turns of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from onegen_integrations.server.answer_fields import chosen_sampling, output_grammar
from onegen_integrations.server.chat.chat_request import ChatRequest, Retrieval
from onegen_integrations.server.errors import ParameterError, blaming
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.serving import Serving
from onegen_integrations.server.stores.access import Access
from onegen_integrations.server.turns import TurnRequest
from onegen_integrations.shared.tool_choice import normalise_choice
from onegen_model import Conversation, Grammar, RetrievalParams, SamplingParams, matches_filter

_SEEDS = 2**63


def read_turns(asked: ChatRequest, serving: Serving, caller: Caller) -> list[TurnRequest]:
    """One turn for each of the `n` answers, equal but for their seeds.

    Raises ParameterError, NotFoundError, and InvalidInputError by the parameter that is wrong.
    """
    asked.require_supported()
    tools = _read_tools(asked.tools or ())
    _check_choice(asked.tool_choice, tools)
    with blaming("messages"):
        conversation = Conversation.from_messages(asked.messages)
    with blaming("tools"):
        conversation = replace(conversation, tools=tools)
    with blaming("response_format"):
        response = _read_format(asked.response_format)
    retriever, retrieval = _read_retrieval(asked, serving, caller)
    turn = TurnRequest(
        conversation,
        tools,
        asked.tool_choice,
        response,
        _read_sampling(asked, serving.settings.sampling),
        retrieval,
        retriever,
        asked.parallel_tool_calls is not False,
        serving.observer.of(serving.model(asked.model)),
    )
    return [_with_seed(turn, at) for at in range(asked.count)]


def _with_seed(turn: TurnRequest, at: int) -> TurnRequest:
    seed = turn.sampling.seed
    if not at or seed is None:
        return turn
    return replace(turn, sampling=replace(turn.sampling, seed=(seed + at) % _SEEDS))


def _read_tools(tools: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    for at, tool in enumerate(tools):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if tool.get("type") != "function" or not isinstance(name, str) or not name:
            raise ParameterError(
                f"Tool {at} is of type {tool.get('type')!r}, or has no function with a name; "
                'expected {"type": "function", "function": {"name": …, "parameters": {…}}}; write '
                "it in that form",
                param=f"tools.{at}",
            )
    return tuple(tools)


def _check_choice(choice: Any, tools: Sequence[Mapping[str, Any]]) -> None:
    names = [tool["function"]["name"] for tool in tools]
    with blaming("tool_choice"):
        chosen = normalise_choice(choice, names)
    if chosen not in (None, "none") and not tools:
        raise ParameterError(
            f"tool_choice={choice!r} without tools; expected some to choose from; pass them, or "
            "leave it out",
            param="tool_choice",
        )


def _read_format(wanted: Mapping[str, Any] | None) -> Grammar | None:
    described = (wanted or {}).get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    form = '{"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}'
    return output_grammar(wanted or None, schema, "response_format", form)


def _read_sampling(asked: ChatRequest, usual: SamplingParams) -> SamplingParams:
    return chosen_sampling(
        usual,
        max_new_tokens=asked.max_completion_tokens or asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        repetition_penalty=asked.repetition_penalty,
        seed=asked.seed,
        logprobs=asked.num_logprobs,
        stop=None if asked.stop is None else tuple(asked.stop),
    )


def _read_retrieval(
    asked: ChatRequest, serving: Serving, caller: Caller
) -> tuple[Any, RetrievalParams]:
    """What is searched, if anything, and how; the filter is never wider than the caller's scope."""
    wanted = asked.retrieval or Retrieval()
    with blaming("retrieval.filter"):
        matches_filter({}, wanted.filter)
    access, param = Access(serving, caller), "retrieval.vector_store_ids"
    stores = wanted.vector_store_ids
    retriever = None if wanted.mode == "never" else access.searched(stores, param)
    model = serving.model(asked.model)
    is_explicit = wanted.mode == "always" or wanted.vector_store_ids is not None
    if retriever is not None and model is not serving.model(None):
        # Its embeddings are those of the first model.
        if is_explicit:
            raise ParameterError(
                f"The model {asked.model!r} cannot search what {serving.default_model!r} has "
                f"embedded; expected model={serving.default_model!r}; change it, or leave "
                "`retrieval` out",
                param="model",
            )
        retriever = None
    if retriever is None and wanted.mode == "always":
        raise ParameterError(
            'retrieval.mode is "always", but this server has no index; expected vector_store_ids; '
            'name some, or choose "auto"',
            param="retrieval.mode",
        )
    chosen = wanted.model_dump(exclude_none=True, exclude={"filter", "vector_store_ids"})
    usual = serving.settings.retrieval
    filter = caller.narrowed(usual.filter, wanted.filter)
    return retriever, replace(usual, **chosen, filter=filter)
