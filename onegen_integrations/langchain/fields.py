"""Fields that several components share, and their translation for the core."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from langchain_core.retrievers import BaseRetriever
from langchain_core.utils import from_env
from langchain_core.vectorstores import VectorStore
from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from onegen_integrations.langchain.calls import plain
from onegen_integrations.langchain.tracing import Run
from onegen_integrations.langchain.turns import Lookup
from onegen_integrations.langchain.vectorstores import Search, open_search
from onegen_integrations.shared.model_fields import ModelFields
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.sampling_fields import SamplingFields
from onegen_integrations.shared.stores import OnError, skips_errors
from onegen_model import OneGenModel, Options, RetrievalParams
from onegen_model.errors import InvalidInputError

RetrievalMode = Literal["auto", "always", "never"]

CONFIG = ModelFields.model_config

NOT_FOUND = RetrievalParams().not_found
# A retriever that is asked by text decides itself how much it returns.
_ALL = 2**31
_ATTACHED = {"vectorstore", "retriever"}


class NamedModelFields(ModelFields):
    """The model; `model_name` is an alias that LangChain's users know."""

    model: str | Path | OneGenModel | SharedModel | None = Field(
        default_factory=from_env("ONEGEN_MODEL", default=None), alias="model_name"
    )


class RetrievalFields(BaseModel):
    """The source that is searched, when, and how much is read; options of a call take precedence.

    `vectorstore` is searched with the query embedding that the model computes while it writes,
    `retriever` with the text before it (a VectorStoreRetriever: with the embedding, like its
    store). `filter` and `search_kwargs` are in the store's own language. `min_score` is a cosine;
    `score_threshold` is another name for it. `not_found` is written where a search finds nothing;
    with None the model writes on. If the store raises, "continue" answers without passages.
    `window` and `passage_tokens` are those of RetrievalParams; a window needs a store that finds
    documents by id.
    """

    model_config = CONFIG

    vectorstore: VectorStore | None = Field(default=None, exclude=True, repr=False)
    retriever: BaseRetriever | None = Field(default=None, exclude=True, repr=False)
    k: int | None = None
    filter: Any = None
    min_score: float | None = None
    not_found: str | None = NOT_FOUND
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    retrieval: RetrievalMode = "auto"
    max_retrievals: int = 6
    on_retrieval_error: OnError = "raise"
    window: int = 0
    passage_tokens: int | None = None

    @field_validator("k")
    @classmethod
    def _find_something(cls, k: int | None) -> int | None:
        return _require_k(k)

    @field_validator("max_retrievals", "window", "passage_tokens")
    @classmethod
    def _in_range(cls, value: Any, info: ValidationInfo) -> Any:
        RetrievalParams(**{str(info.field_name): value})
        return value

    @field_validator("min_score")
    @classmethod
    def _be_finite(cls, min_score: float | None) -> float | None:
        return RetrievalParams(min_score=min_score).min_score

    @field_validator("not_found")
    @classmethod
    def _say_something(cls, not_found: str | None) -> str | None:
        return RetrievalParams(not_found=not_found).not_found

    @model_validator(mode="after")
    def _search_one(self) -> "RetrievalFields":
        if self.vectorstore is not None and self.retriever is not None:
            raise InvalidInputError(
                "Both a vectorstore and a retriever; expected one of them; leave one out"
            )
        return self

    @property
    def source(self) -> VectorStore | BaseRetriever | None:
        """The source that is searched."""
        return self.vectorstore if self.retriever is None else self.retriever

    def is_searching(self, called: Mapping[str, Any]) -> bool:
        """Whether a call may retrieve."""
        return self.source is not None and called.get("retrieval", self.retrieval) != "never"

    def begin_lookup(
        self, model: SharedModel, run: Run | None, called: Mapping[str, Any]
    ) -> tuple[Lookup | None, Options]:
        """The retrievals of one request and its options; None and no options without a search.

        Raises InvalidInputError for a value out of range.
        """
        mode = called.get("retrieval", self.retrieval)
        if self.source is None and mode == "always":
            raise InvalidInputError(
                'Retrieval "always" without a vectorstore; expected one; attach a vectorstore or a '
                'retriever, or choose "auto"'
            )
        if self.source is None or not self.is_searching(called):
            return None, {}
        search = open_search(
            self.source,
            model=model,
            k=_require_k(called.get("k", self.k)),
            score_threshold=called.get("min_score", self.min_score),
            search_kwargs={**self.search_kwargs, **called.get("search_kwargs", {})},
        )
        lookup = Lookup(
            search,
            run,
            filter=called.get("filter", self.filter),
            skips_errors=skips_errors(called.get("on_retrieval_error", self.on_retrieval_error)),
        )
        names = ("max_retrievals", "not_found", "window", "passage_tokens")
        chosen = {name: called.get(name, getattr(self, name)) for name in names}
        retrieval = RetrievalParams(
            mode, _top_k(search), filter=lookup, min_score=search.score_threshold, **chosen
        )
        if retrieval.window:
            lookup.require_neighbours()
        return lookup, {"retriever": lookup.retriever, "retrieval": retrieval}


class WritingFields(NamedModelFields, SamplingFields, RetrievalFields):
    """Fields of the components that write."""

    model_config = CONFIG

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that changes the output, as data."""
        names = {*SamplingFields.model_fields, *RetrievalFields.model_fields, "dtype"} - _ATTACHED
        own = {name: plain(getattr(self, name)) for name in sorted(names)}
        store = None if self.source is None else type(self.source).__name__
        return {**own, "model": self.model_label, "store": store}

    def get_token_ids(self, text: str) -> list[int]:
        """Ids of plain text in the model's own tokenizer."""
        return self.shared.model.token_ids(text)


def _require_k(k: int | None) -> int | None:
    if k is not None and k < 1:
        raise InvalidInputError(
            f"k={k}; expected at least 1, or None for the default; change k, or choose "
            'retrieval="never"'
        )
    return k


def _top_k(search: Search) -> int:
    own = _ALL if search.asked_by == "text" else RetrievalParams().top_k
    return own if search.k is None else search.k


def option_names(*holders: type[BaseModel]) -> set[str]:
    """Fields that a call may override, with their aliases."""
    fields: dict[str, FieldInfo] = {}
    for holder in holders or (SamplingFields, RetrievalFields):
        fields |= holder.model_fields
    aliases = {one.alias for one in fields.values() if one.alias}
    return fields.keys() - _ATTACHED | aliases
