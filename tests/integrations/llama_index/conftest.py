"""A tiny model, eight documents, and an index over each store that is known well."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import chromadb
import faiss
import pytest
import torch
from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_index.vector_stores.faiss import FaissMapVectorStore, FaissVectorStore

from onegen_integrations.llama_index import OneGenEmbedding, OneGenLLM, PassageParser
from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel
from tests.conftest import MakeNetwork
from tests.support.integrations_models import save_model

Build = Callable[..., VectorStoreIndex]

PLACES = ("Alba", "Brig", "Chur", "Davos", "Elm", "Flims", "Gera", "Horn")
DOCUMENTS = [
    Document(
        text=f"{name} lies on river {n}; its mill has {n + 3} wheels.",
        metadata={"title": name, "number": n},
        id_=f"doc-{name}",
    )
    for n, name in enumerate(PLACES)
]
_names = count()


def chroma_store(space: str = "cosine", path: Path | None = None) -> ChromaVectorStore:
    client = chromadb.PersistentClient(str(path)) if path else chromadb.EphemeralClient()
    name = "kept" if path else f"collection-{next(_names)}"
    configuration: Any = {"hnsw": {"space": space}}
    made = client.get_or_create_collection(name, configuration=configuration)
    return ChromaVectorStore(chroma_collection=made)


STORES: dict[str, Callable[[int], Any]] = {
    "chroma cosine": lambda _: chroma_store("cosine"),
    "chroma l2": lambda _: chroma_store("l2"),
    "chroma ip": lambda _: chroma_store("ip"),
    "faiss ip": lambda width: FaissVectorStore(faiss.IndexFlatIP(width)),
    "faiss l2": lambda width: FaissVectorStore(faiss.IndexFlatL2(width)),
    "faiss map": lambda width: FaissMapVectorStore(faiss.IndexIDMap2(faiss.IndexFlatIP(width))),
    "simple": lambda _: SimpleVectorStore(),
}


@pytest.fixture(scope="session")
def folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With room for tools and for what a random model writes under a grammar."""
    return save_model(make_network, tmp_path_factory.mktemp("li"), max_position_embeddings=4096)


@pytest.fixture(scope="session")
def twin_folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model of the same width."""
    return save_model(make_network, tmp_path_factory.mktemp("twin"), noise=0.5)


@pytest.fixture(scope="session")
def narrow_folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, of another width."""
    return save_model(make_network, tmp_path_factory.mktemp("narrow"), hidden_size=32)


@pytest.fixture
def model(folder: Path) -> OneGenModel:
    """The tiny model, which remembers nothing of other tests."""
    model = shared_model(folder)
    model.engine.forget()
    return model


@pytest.fixture
def llm(folder: Path, model: OneGenModel) -> OneGenLLM:
    return OneGenLLM(model=folder, max_tokens=24)


@pytest.fixture
def embedding(folder: Path) -> OneGenEmbedding:
    return OneGenEmbedding(model=folder)


@pytest.fixture
def build(embedding: OneGenEmbedding, model: OneGenModel) -> Build:
    """An index of the documents, or of others, over a store by its name or itself."""

    def build(store: Any = "simple", documents: Sequence[Document] = DOCUMENTS) -> Any:
        made = STORES[store](model.dimension) if isinstance(store, str) else store
        return VectorStoreIndex.from_documents(
            list(documents),
            storage_context=StorageContext.from_defaults(vector_store=made),
            embed_model=embedding,
            transformations=[PassageParser(embedding)],
        )

    return build


@pytest.fixture(scope="session")
def kept() -> dict[str, VectorStoreIndex]:
    return {}


@pytest.fixture
def indexed(build: Build, kept: dict[str, VectorStoreIndex]) -> Build:
    """Like `build`, once for each store: for who changes nothing."""

    def indexed(store: str) -> VectorStoreIndex:
        if store not in kept:
            kept[store] = build(store)
        return kept[store]

    return indexed


@pytest.fixture
def index(indexed: Build) -> VectorStoreIndex:
    return indexed("chroma cosine")


class Positions:
    """Positions that the network has computed, and forwards that read an embedding alone."""

    def __init__(self) -> None:
        self.count = 0
        self.forwards = 0

    def add(self, _: object, arguments: tuple[Any, ...], keywords: dict[str, Any], __: Any) -> None:
        tensor = keywords.get("inputs_embeds")
        if tensor is None:
            tensor = keywords.get("input_ids", arguments[0] if arguments else None)
        assert isinstance(tensor, torch.Tensor)
        self.count += tensor.shape[0] * tensor.shape[1]
        self.forwards += 1


@pytest.fixture
def positions(model: OneGenModel) -> Iterator[Positions]:
    seen = Positions()
    hook = model.network.get_decoder().register_forward_hook(seen.add, with_kwargs=True)
    yield seen
    hook.remove()


class Recorder(BaseEventHandler):
    """Every instrumentation event, in order."""

    events: list[Any] = []  # noqa: RUF012 (a field of pydantic)

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.events.append(event)

    def counts(self) -> dict[str, int]:
        names = [type(event).__name__ for event in self.events]
        return {name: names.count(name) for name in names}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    root, recorder = get_dispatcher(), Recorder()
    root.add_event_handler(recorder)
    yield recorder
    root.event_handlers.remove(recorder)


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """What a test sets globally ends with it."""
    before = dict(vars(Settings))
    yield
    vars(Settings).clear()
    vars(Settings).update(before)
