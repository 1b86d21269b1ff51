"""The tiny random model in a folder, as users have theirs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenEmbeddings, OneGenEntityLinker, to_document
from onegen_integrations.shared import SharedModel, shared_model
from onegen_model import LinkedText, OneGenModel, PassageIndex
from tests.conftest import MakeNetwork
from tests.support.integrations_models import save_model
from tests.support.linking_model import ENTITIES, TEXT, linking_model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """LangChain's suite measures its constructor for seconds; a moment is enough."""
    for item in items:
        if item.name == "test_init_time":
            item.add_marker(pytest.mark.benchmark(max_time=0.05, min_rounds=1), append=False)


@pytest.fixture(scope="session")
def folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(make_network, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def other_folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, of another width."""
    return save_model(make_network, tmp_path_factory.mktemp("other"), hidden_size=32)


@pytest.fixture(scope="session")
def wide_folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With room for tools and for what a random model writes under a grammar."""
    folder = tmp_path_factory.mktemp("wide")
    return save_model(make_network, folder, max_position_embeddings=4096, num_hidden_layers=1)


@pytest.fixture
def embeddings(folder: Path) -> OneGenEmbeddings:
    return OneGenEmbeddings(model=folder)


@pytest.fixture
def forwards(folder: Path) -> Iterator[list[object]]:
    """Grows with each forward of the tiny model."""
    seen: list[object] = []
    network = SharedModel(folder).model.network
    hook = network.base_model.register_forward_hook(lambda *_: seen.append(None))
    yield seen
    hook.remove()


@pytest.fixture
def wide_forwards(wide_folder: Path) -> Iterator[list[object]]:
    """Grows with each forward of the model of `wide_folder`."""
    seen: list[object] = []
    network = shared_model(wide_folder).network
    hook = network.base_model.register_forward_hook(lambda *_: seen.append(None))
    yield seen
    hook.remove()


@pytest.fixture
def tiny(wide_folder: Path) -> OneGenModel:
    """The model of `wide_folder`, which remembers nothing of other tests."""
    model = shared_model(wide_folder)
    model.engine.forget()
    return model


@pytest.fixture
def store(wide_folder: Path) -> InMemoryVectorStore:
    """Alba and Brig, by whatever vectors a random model gives them."""
    store = InMemoryVectorStore(OneGenEmbeddings(model=wide_folder))
    store.add_documents(
        [
            Document(id=name, page_content=f"{name}\n{text}", metadata={"title": name})
            for name, text in (("Alba", "It was founded by Ann."), ("Brig", "Bob founded it."))
        ]
    )
    return store


@pytest.fixture(scope="session")
def linking_arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The arguments that name the tiny model that links, in a folder, as users have theirs."""
    folder = tmp_path_factory.mktemp("linking")
    linking_model().save_pretrained(folder)
    return {"model": str(folder)}


@pytest.fixture(scope="session")
def entities(linking_arguments: dict[str, Any]) -> PassageIndex:
    return PassageIndex.build(shared_model(linking_arguments["model"]), ENTITIES)


@pytest.fixture(scope="session")
def entity_folder(entities: PassageIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("entities") / "my.index"
    entities.save(folder)
    return folder


@pytest.fixture
def entity_store(linking_arguments: dict[str, Any]) -> InMemoryVectorStore:
    store = InMemoryVectorStore(OneGenEmbeddings(**linking_arguments))
    store.add_documents([to_document(one) for one in ENTITIES])
    return store


@pytest.fixture
def linker(linking_arguments: dict[str, Any], entities: PassageIndex) -> OneGenEntityLinker:
    return OneGenEntityLinker(**linking_arguments, entities=entities)


@pytest.fixture
def linked(linker: OneGenEntityLinker, entities: PassageIndex) -> LinkedText:
    """What the core makes of TEXT."""
    found = linker.shared.model.link(TEXT, entities=entities)
    assert len(found.mentions) > 3
    return found
