"""What all routes share: the models, the passages they search, and the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request

from onegen_integrations.server.errors import NotFoundError
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.settings import ServerSettings
from onegen_model import OneGenModel, PassageIndex


@dataclass(slots=True)
class Serving:
    """Models by the name that requests use; the first one is the default, and embeds for `index`.

    `index` is what a request searches that names no vector store; None: nothing.
    `entities` are what `/v1/link` links to.
    """

    models: Mapping[str, OneGenModel]
    index: PassageIndex | None = None
    entities: PassageIndex | None = None
    settings: ServerSettings = field(default_factory=ServerSettings)

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

    def retriever(self, vector_store_ids: Sequence[str] | None) -> PassageIndex | None:
        """What a request searches: the index given at the start for None, else its vector stores.

        None where there is no index. Raises NotFoundError for an unknown store.
        """
        for unknown in vector_store_ids or ():
            raise NotFoundError(
                f"There is no vector store {unknown!r}; expected the id of one; list them with "
                "GET /v1/vector_stores",
                param="vector_store_ids",
            )
        return self.index


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
