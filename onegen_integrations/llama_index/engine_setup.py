"""The common parts of the engines and the retriever: an LLM, a source of nodes, and options."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict, get_args

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQueryMode

from onegen_integrations.llama_index.filters import to_metadata_filters
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.neighbours import require_index
from onegen_integrations.llama_index.node_retriever import (
    NodeRetriever,
    NodeSource,
    RetrievedNodes,
)
from onegen_integrations.shared.known_names import require_known_names
from onegen_integrations.shared.stores import OnError, skips_errors
from onegen_model import RetrievalParams
from onegen_model.errors import InvalidInputError

Mode = Literal["auto", "always", "never"]


class SearchOptions(TypedDict, total=False):
    """The arguments of `VectorStoreIndex.as_retriever`, apart from the number of nodes.

    `filters` may be a filter of the core: `{"year": {"$gte": 2020}}`.
    """

    filters: MetadataFilters | Mapping[str, Any] | None
    vector_store_query_mode: VectorStoreQueryMode
    alpha: float | None
    node_ids: list[str] | None
    doc_ids: list[str] | None
    sparse_top_k: int | None
    hybrid_top_k: int | None
    vector_store_kwargs: dict[str, Any]


class EngineOptions(SearchOptions, total=False):
    """`similarity_top_k` nodes for each retrieval, on which `node_postprocessors` then act.

    A retriever without `similarity_top_k` gives as many as it finds. `min_score` is compared with
    the scores of the nodes behind the postprocessors, which are cosines over the stores whose
    scores are known. `not_found` is written where a search finds nothing; with None the model
    writes on. Where a store raises, "continue" answers without passages.
    `window` and `passage_tokens` are those of RetrievalParams; a window needs an index. Neighbours
    pass the filters of the search; postprocessors do not act on them.
    """

    similarity_top_k: int
    node_postprocessors: Sequence[BaseNodePostprocessor] | None
    retrieval: Mode
    max_retrievals: int
    on_retrieval_error: OnError
    min_score: float | None
    not_found: str | None
    window: int
    passage_tokens: int | None


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """One per engine. A retrieval finds about `usual_count` passages."""

    llm: OneGenLLM
    source: NodeSource
    retrieval: RetrievalParams
    usual_count: int = RetrievalParams().top_k
    skips_errors: bool = False
    # Threads and event loops have one each: a thread would search for both, which a source that has
    # only an asynchronous search refuses.
    _in_threads: NodeRetriever = field(init=False)
    _in_loops: NodeRetriever = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_in_threads", NodeRetriever(self.source))
        object.__setattr__(self, "_in_loops", NodeRetriever(self.source))

    @classmethod
    def over(
        cls,
        searched: VectorStoreIndex | BaseRetriever,
        llm: OneGenLLM | None,
        options: EngineOptions,
    ) -> "EngineSetup":
        """Raises InvalidInputError for unknown options, and for an LLM that cannot search."""
        given: dict[str, Any] = dict(options)
        known = EngineOptions.__annotations__ | SearchOptions.__annotations__
        require_known_names("The engine", given, known)
        model = _require_onegen(llm or _llm_of_settings())
        if not model.callback_manager.handlers:
            model.callback_manager = Settings.callback_manager
        count, postprocessors = given.pop("similarity_top_k", None), _postprocessors(given)
        skips = skips_errors(given.pop("on_retrieval_error", "raise"))
        has_own_count = isinstance(searched, BaseRetriever)
        retrieval = _retrieval(given, count, bounded=not has_own_count)
        if has_own_count:
            _require_none(given)
        if isinstance(filters := given.get("filters"), Mapping):
            store = getattr(searched, "vector_store", None)
            given["filters"] = to_metadata_filters(filters, store) if filters else None
        source = NodeSource(searched, model.shared, postprocessors, given)
        source.require_searchable()
        if retrieval.min_score is not None:
            source.require_known_scores(retrieval.min_score)
        if retrieval.window:
            require_index(searched)
        usual = count or _usual_count(searched)
        return cls(model, source, retrieval, usual, skips)

    @property
    def passage_tokens(self) -> int:
        """Most tokens of one inserted passage."""
        usual = self.llm.shared.model.max_passage_tokens * (2 * self.retrieval.window + 1)
        return self.retrieval.passage_tokens or usual

    def begin(self) -> RetrievedNodes:
        """The record of one request's retrievals."""
        return RetrievedNodes(skips_errors=self.skips_errors)

    def messages(self, question: str) -> list[ChatMessage]:
        """The question, behind the system prompt of the LLM if it has one."""
        asked: list[ChatMessage] = self.llm._extend_messages([ChatMessage(question)])
        return asked

    def arguments(self, retrieved: RetrievedNodes, *, asynchronous: bool = False) -> dict[str, Any]:
        """The arguments of a chat that retrieves."""
        return {
            "retriever": self._in_loops if asynchronous else self._in_threads,
            "retrieval": replace(self.retrieval, filter=retrieved),
            "retrieved": retrieved,
        }


def _llm_of_settings() -> Any:
    # The public property would make an OpenAI client where nothing is set.
    if Settings._llm is None:
        raise InvalidInputError(
            "No LLM is given, and `Settings.llm` is not set; expected OneGenLLM; pass "
            "`llm=OneGenLLM()`, or set `Settings.llm`"
        )
    return Settings.llm


def _postprocessors(given: dict[str, Any]) -> tuple[BaseNodePostprocessor, ...]:
    listed = given.pop("node_postprocessors", None) or ()
    fine = isinstance(listed, Sequence) and all(
        isinstance(one, BaseNodePostprocessor) for one in listed
    )
    if not fine:
        raise InvalidInputError(
            f"node_postprocessors={listed!r}; expected a list of BaseNodePostprocessor; put it "
            "into a list"
        )
    return tuple(listed)


def _retrieval(given: dict[str, Any], count: int | None, *, bounded: bool) -> RetrievalParams:
    """Removes its options from `given`."""
    chosen: dict[str, Any] = {"mode": given.pop("retrieval", "auto")}
    if chosen["mode"] not in (modes := get_args(Mode)):
        raise InvalidInputError(
            f"retrieval={chosen['mode']!r}; expected one of {', '.join(modes)}; change retrieval"
        )
    names = {"max_retrievals", "min_score", "not_found", "window", "passage_tokens"}
    for name in names & given.keys():
        chosen[name] = given.pop(name)
    if count is not None or not bounded:
        chosen["top_k"] = sys.maxsize if count is None else count
    return RetrievalParams(**chosen)


def _usual_count(searched: object) -> int:
    """The number that a retriever is configured to find, if it has one."""
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


def _require_onegen(llm: Any) -> OneGenLLM:
    if not isinstance(llm, OneGenLLM):
        raise InvalidInputError(
            f"{type(llm).__name__} cannot search while it writes; expected OneGenLLM; pass "
            "`llm=OneGenLLM()`, or set `Settings.llm`"
        )
    return llm
