"""The tiny random model behind a server, which writes what a test wants (`scripted`)."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import ApiKey, ServerSettings, Serving, create_app
from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel, Passage, PassageIndex, RetrievalParams
from tests.conftest import MakeNetwork
from tests.support.integrations_models import save_model
from tests.support.serving import running

PASSAGES = [
    Passage("alba", "Alba was founded by Ann.", "Alba", {"tenant": "acme", "year": 1901}),
    Passage("brig", "Brig was built by Ben.", "Brig", {"tenant": "zeta", "year": 1950}),
]


@pytest.fixture(scope="session")
def folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    return save_model(make_network, folder, max_position_embeddings=4096, num_hidden_layers=1)


@pytest.fixture
def model(folder: Path) -> OneGenModel:
    """The model of `folder`, which remembers nothing of other tests."""
    model = shared_model(folder)
    model.engine.forget()  # type: ignore[union-attr]
    return model


@pytest.fixture
def index(model: OneGenModel) -> PassageIndex:
    return PassageIndex.build(model, PASSAGES)


@pytest.fixture
def serve(model: OneGenModel, index: PassageIndex, tmp_path: Path) -> Callable[..., Serving]:
    """Makes a `Serving` with a folder of its own; arguments are settings. One passage a search."""
    numbers = count()

    def make(*, with_index: bool = True, **settings: Any) -> Serving:
        storage = tmp_path / f"storage-{next(numbers)}"
        settings = {"retrieval": RetrievalParams(top_k=1), "storage": storage, **settings}
        return Serving(
            {"tiny": model}, index if with_index else None, settings=ServerSettings(**settings)
        )

    return make


@pytest.fixture
def client(serve: Callable[..., Serving]) -> Iterator[TestClient]:
    with TestClient(create_app(serve()), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def url(serve: Callable[..., Serving]) -> Iterator[str]:
    """The address of a real server."""
    with running(create_app(serve())) as url:
        yield url


@pytest.fixture
def keyed(serve: Callable[..., Serving]) -> Iterator[TestClient]:
    """A server with two keys; that of acme sees its own passages only."""
    keys = (ApiKey("secret-acme", "acme", {"tenant": "acme"}), ApiKey("secret-all", "all"))
    with TestClient(create_app(serve(keys=keys)), raise_server_exceptions=False) as client:
        yield client
