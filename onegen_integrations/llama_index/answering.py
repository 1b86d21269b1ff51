"""A model with something to search: what the engines and the retriever have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQueryMode

from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.searching import NodeRetriever, NodeSource
from onegen_model import RetrievalParams
from onegen_model.errors import InvalidInputError

OnError = Literal["raise", "continue"]


class SearchOptions(TypedDict, total=False):
    """What `VectorStoreIndex.as_retriever` takes, beside how much it finds."""

    filters: MetadataFilters | None
    vector_store_query_mode: VectorStoreQueryMode
    alpha: float | None
    node_ids: list[str] | None
    doc_ids: list[str] | None
    sparse_top_k: int | None
    hybrid_top_k: int | None
    vector_store_kwargs: dict[str, Any]


class AnsweringOptions(SearchOptions, total=False):
    """`similarity_top_k` nodes for each retrieval, which `node_postprocessors` then act on.

    Where a store raises, "continue" goes on without passages.
    """

    similarity_top_k: int
    node_postprocessors: Sequence[BaseNodePostprocessor] | None
    retrieval: Literal["auto", "always", "never"]
    max_retrievals: int
    on_retrieval_error: OnError


@dataclass(frozen=True, slots=True)
class Answering:
    """`llm` writes and asks; `source` finds."""

    llm: OneGenLLM
    source: NodeSource
    retrieval: RetrievalParams
    skips_errors: bool = False

    @classmethod
    def over(
        cls,
        searched: VectorStoreIndex | BaseRetriever,
        llm: OneGenLLM | None,
        options: AnsweringOptions,
    ) -> "Answering":
        """Raises InvalidInputError for options that nobody knows, or an LLM that cannot search."""
        given: dict[str, Any] = dict(options)
        known = AnsweringOptions.__annotations__ | SearchOptions.__annotations__
        if unknown := sorted(given.keys() - known.keys()):
            raise InvalidInputError(
                f"Unknown options {', '.join(unknown)}; expected some of "
                f"{', '.join(sorted(known))}; correct the name"
            )
        model = _require_onegen(llm or Settings.llm)
        if not model.callback_manager.handlers:
            model.callback_manager = Settings.callback_manager
        top_k = given.pop("similarity_top_k", None) or _top_k_of(searched)
        postprocessors = given.pop("node_postprocessors", None) or ()
        skips_errors = _on_error(given.pop("on_retrieval_error", "raise")) == "continue"
        bounds = {"mode": given.pop("retrieval", "auto")}
        if "max_retrievals" in given:
            bounds["max_retrievals"] = given.pop("max_retrievals")
        retrieval = RetrievalParams(top_k=top_k, **bounds)
        if isinstance(searched, BaseRetriever):
            _require_none(given)
            source = NodeSource.of_retriever(searched, model.shared, postprocessors)
        else:
            source = NodeSource.of_index(searched, model.shared, postprocessors, **given)
        return cls(model, source, retrieval, skips_errors)

    def retriever(self) -> NodeRetriever:
        """For one request."""
        return NodeRetriever(self.source, self.skips_errors)

    def messages(self, question: str) -> list[ChatMessage]:
        """What the model is asked, behind its system prompt if it has one."""
        asked: list[ChatMessage] = self.llm._extend_messages([ChatMessage(question)])
        return asked

    def arguments(self, retriever: NodeRetriever) -> dict[str, Any]:
        """What a chat of the model is called with."""
        return {"retriever": retriever, "retrieval": self.retrieval}


def _top_k_of(searched: object) -> int:
    """What a retriever finds is what it was configured to find."""
    for name in ("similarity_top_k", "_similarity_top_k"):
        if isinstance(own := getattr(searched, name, None), int):
            return own
    return RetrievalParams().top_k


def _require_none(options: Mapping[str, Any]) -> None:
    if options:
        raise InvalidInputError(
            f"Options {', '.join(sorted(options))} beside a retriever; expected them in the "
            "retriever itself; pass the index instead, or leave them out"
        )


def _on_error(policy: str) -> str:
    if policy not in get_args(OnError):
        raise InvalidInputError(
            f"on_retrieval_error={policy!r}; expected 'raise' or 'continue'; change it"
        )
    return policy


def _require_onegen(llm: Any) -> OneGenLLM:
    if not isinstance(llm, OneGenLLM):
        raise InvalidInputError(
            f"{type(llm).__name__} cannot search while it writes; expected OneGenLLM; pass "
            "`llm=OneGenLLM()`, or set `Settings.llm`"
        )
    return llm
