"""Fields that several components have in common, and what they mean to the core."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from langchain_core.retrievers import BaseRetriever
from langchain_core.utils import from_env
from langchain_core.vectorstores import VectorStore
from pydantic import BaseModel, Field, model_validator

from onegen_integrations.langchain.vectorstores import Search, open_search
from onegen_integrations.shared.model_fields import ModelFields
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.sampling_fields import SamplingFields
from onegen_integrations.shared.stores import OnError, skips_errors
from onegen_model import OneGenModel, RetrievalParams
from onegen_model.errors import InvalidInputError

RetrievalMode = Literal["auto", "always", "never"]

CONFIG = ModelFields.model_config

# A retriever that is asked by text knows itself how much to return.
_ALL = 2**31


class NamedModelFields(ModelFields):
    """`model_name` is another word for `model`, as LangChain's users know it."""

    model: str | Path | OneGenModel | SharedModel | None = Field(
        default_factory=from_env("ONEGEN_MODEL", default=None), alias="model_name"
    )


class RetrievalFields(BaseModel):
    """What is searched, when, and for how much; a call's own values come first.

    `vectorstore` is searched with the vector that the model makes while it writes, `retriever`
    with the text before it (a VectorStoreRetriever: with the vector, as its store). `filter` and
    `search_kwargs` are in the store's own language; `score_threshold` is a cosine. Where a store
    raises, "continue" goes on without passages.
    """

    model_config = CONFIG

    vectorstore: VectorStore | None = Field(default=None, exclude=True, repr=False)
    retriever: BaseRetriever | None = Field(default=None, exclude=True, repr=False)
    k: int | None = None
    filter: Any = None
    score_threshold: float | None = None
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    retrieval: RetrievalMode = "auto"
    max_retrievals: int = 6
    on_retrieval_error: OnError = "raise"

    @model_validator(mode="after")
    def _search_one(self) -> "RetrievalFields":
        if self.vectorstore is not None and self.retriever is not None:
            raise ValueError("a vectorstore and a retriever; expected one of them; leave one out")
        return self

    @property
    def source(self) -> VectorStore | BaseRetriever | None:
        """What is searched."""
        return self.vectorstore if self.retriever is None else self.retriever

    def skips_errors(self, called: Mapping[str, Any]) -> bool:
        """Whether a store that raises is gone on without."""
        return skips_errors(called.get("on_retrieval_error", self.on_retrieval_error))

    def search(self, model: SharedModel, called: Mapping[str, Any]) -> Search | None:
        """None where nothing is attached or wanted."""
        source = self.source
        mode = called.get("retrieval", self.retrieval)
        if source is None and mode == "always":
            raise InvalidInputError(
                'Retrieval "always" without a vectorstore; expected one; attach a vectorstore or a '
                'retriever, or choose "auto"'
            )
        if source is None or mode == "never":
            return None
        return open_search(
            source,
            model=model,
            k=called.get("k", self.k),
            score_threshold=called.get("score_threshold", self.score_threshold),
            search_kwargs={**self.search_kwargs, **called.get("search_kwargs", {})},
        )

    def retrieval_params(self, search: Search, called: Mapping[str, Any]) -> RetrievalParams:
        """Raises InvalidInputError for a value out of range."""
        own_k = _ALL if search.asked_by == "text" else RetrievalParams().top_k
        return RetrievalParams(
            mode=called.get("retrieval", self.retrieval),
            top_k=own_k if search.k is None else search.k,
            max_retrievals=called.get("max_retrievals", self.max_retrievals),
            filter=called.get("filter", self.filter),
        )


def option_names() -> set[str]:
    """What a call may be given, by all its names."""
    fields = {**SamplingFields.model_fields, **RetrievalFields.model_fields}
    return {*fields, *(one.alias for one in fields.values() if one.alias)}
