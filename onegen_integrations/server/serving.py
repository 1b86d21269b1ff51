"""What all routes share: the models, the passages they search, and the settings."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request

from onegen_integrations.server.errors import NotFoundError, ParameterError, StorageError
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.observing.observer import Observer
from onegen_integrations.server.observing.tracing import Tracing
from onegen_integrations.server.responses.keeping import KeptResponses
from onegen_integrations.server.settings import ServerSettings
from onegen_integrations.server.stores.library import Library
from onegen_integrations.server.stores.merging import MergedIndexes
from onegen_integrations.server.stores.names import INDEX_STORE, owner_of
from onegen_model import OneGenModel, Passage, PassageIndex


@dataclass(slots=True)
class Serving:
    """Models by the name that requests use; the first one is the default, and embeds for `index`.

    `index` is what a request searches that names no vector store; None: nothing.
    `entities` are what `/v1/link` links to. `observer` counts what `/metrics` shows.
    """

    models: Mapping[str, OneGenModel]
    index: PassageIndex | None = None
    entities: PassageIndex | None = None
    settings: ServerSettings = field(default_factory=ServerSettings)
    observer: Observer = field(init=False)
    started: float = field(init=False, default_factory=time.time)
    _library: Library | None = field(init=False, default=None, repr=False)
    _responses: KeptResponses | None = field(init=False, default=None, repr=False)
    _opening: threading.Lock = field(
        init=False, default_factory=threading.Lock, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        tracing = Tracing.from_environment() if self.settings.tracing else None
        self.observer = Observer(self.models, tracing)

    @property
    def default_model(self) -> str:
        """The name of the first model."""
        return next(iter(self.models))

    def model(self, name: str | None) -> OneGenModel:
        """The model of that name, the first one for None; raises NotFoundError."""
        if name is None:
            return self.models[self.default_model]
        if name not in self.models:
            raise NotFoundError(
                f"The model {name!r} is not served; expected one of {', '.join(self.models)}; "
                "change `model`",
                param="model",
                code="model_not_found",
            )
        return self.models[name]

    @property
    def library(self) -> Library:
        """Files and vector stores; raises StorageError where they cannot be kept."""
        if self.settings.storage is None:
            raise StorageError(
                "This server keeps no files and vector stores; expected a folder for them; start "
                "it with --storage DIR",
                status=501,
                code="no_storage",
            )
        with self._opening:
            if self._library is None:
                self._library = Library(self.settings.storage, self.model(None))
            return self._library

    @property
    def responses(self) -> KeptResponses:
        """Responses by their ids."""
        with self._opening:
            if self._responses is None:
                folder = self.settings.storage
                self._responses = KeptResponses(folder / "responses" if folder else None)
            return self._responses

    def open(self) -> None:
        """Take what a server holds while it runs; raises StorageError."""
        if self.settings.storage is not None:
            _ = self.library, self.responses

    def close(self) -> None:
        """Let go of what `open` has taken; background work stops."""
        with self._opening:
            library, self._library = self._library, None
        if library is not None:
            library.close()

    def retriever(
        self, vector_store_ids: Sequence[str] | None
    ) -> PassageIndex | MergedIndexes | None:
        """What a request searches: the index given at the start for None, else its vector stores.

        None where there is no index. Raises NotFoundError for an unknown store.
        """
        if vector_store_ids is None:
            return self.index
        if not vector_store_ids:
            raise ParameterError(
                "vector_store_ids is empty; expected at least one id; name one, or leave it out",
                param="vector_store_ids",
            )
        indexes = {one: self._index_of(one) for one in dict.fromkeys(vector_store_ids)}
        first, *others = indexes.values()
        return MergedIndexes(indexes) if others else first

    def passage(self, passage_id: str) -> Passage | None:
        """The passage that a citation names, in whatever store it is."""
        owner = owner_of(passage_id)
        store = self.library.get(owner[0]) if owner and self.settings.storage else None
        index = store.index if store else self.index
        return index.get(passage_id) if index is not None else None

    def _index_of(self, vector_store_id: str) -> PassageIndex:
        if vector_store_id == INDEX_STORE and self.index is not None:
            return self.index
        store = self.library.get(vector_store_id) if self.settings.storage else None
        if store is not None:
            return store.index
        raise NotFoundError(
            f"There is no vector store {vector_store_id[:80]!r}; expected the id of one; list them "
            "with GET /v1/vector_stores",
            param="vector_store_ids",
        )


def serving_of(request: Request) -> Serving:
    """A dependency of routes."""
    return cast(Serving, request.app.state.serving)


def caller_of(request: Request) -> Caller:
    """A dependency of routes: who the middleware found behind the key."""
    return cast(Caller, request.state.caller)


def base_url(request: Request) -> str:
    """What the addresses of this server begin with, without a slash at the end."""
    chosen: Any = serving_of(request).settings.public_url or str(request.base_url)
    return str(chosen).rstrip("/")
