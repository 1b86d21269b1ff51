"""OneGenGraphExtractor: entities and mentions in a PropertyGraphIndex, stored and read back."""

import asyncio
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import PropertyGraphIndex, VectorStoreIndex
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.graph_stores.types import KG_NODES_KEY, KG_RELATIONS_KEY
from llama_index.core.indices.property_graph import ImplicitPathExtractor, VectorContextRetriever
from llama_index.core.schema import MetadataMode
from llama_index.core.vector_stores import SimpleVectorStore

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenEntityExtractor,
    OneGenGraphExtractor,
    PassageParser,
)
from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel, Passage, PassageIndex
from onegen_model.errors import InvalidInputError
from tests.support.linked_nodes import TEXTS, link_texts, save_linking_model, text_nodes
from tests.support.linking_model import ENTITIES


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_linking_model(tmp_path_factory.mktemp("linking"))


@pytest.fixture
def linker(folders: tuple[Path, Path]) -> OneGenModel:
    return shared_model(folders[0])


@pytest.fixture
def extractor(folders: tuple[Path, Path]) -> OneGenGraphExtractor:
    return OneGenGraphExtractor(model=folders[0], entities=folders[1], label_key="kind")


def build(extractor: OneGenGraphExtractor, **options: Any) -> PropertyGraphIndex:
    given: Any = {"nodes": text_nodes(), "embed_kg_nodes": False, **options}
    return PropertyGraphIndex(
        kg_extractors=[extractor],
        property_graph_store=SimplePropertyGraphStore(),
        **given,
    )


def mentions_of(store: SimplePropertyGraphStore) -> set[tuple[str, str, int, int, str]]:
    """Node, entity, start, end and surface of every mention in a graph."""
    found = set()
    for subject, relation, target in store.get_triplets(relation_names=["MENTIONS"]):
        own = relation.properties
        assert len(own["scores"]) == len(own["starts"])
        for span in zip(own["starts"], own["ends"], own["surfaces"], strict=True):
            found.add((subject.id, target.properties["id"], *span))
    return found


@pytest.mark.parametrize("use_async", [False, True])
def test_a_graph_holds_each_mention_and_survives_its_file(
    extractor: OneGenGraphExtractor,
    linker: OneGenModel,
    folders: tuple[Path, Path],
    use_async: bool,
    tmp_path: Path,
) -> None:
    expected = {
        (f"n{at}", one.entity.passage.id, one.start, one.end, one.surface)
        for at, linked in enumerate(link_texts(linker, folders[1]))
        for one in linked.mentions
        if one.entity
    }
    index = build(extractor, use_async=use_async)
    store = index.property_graph_store
    assert mentions_of(store) == expected
    path = str(tmp_path / "graph.json")
    store.persist(path)
    again = SimplePropertyGraphStore.from_persist_path(path)
    assert mentions_of(again) == expected
    known = {one.id: one for one in ENTITIES}
    for identifier in {one[1] for one in expected}:
        [node] = again.get(properties={"id": identifier})
        entity = known[identifier]
        name = entity.title or entity.text
        assert node.name == node.id == f"{name} ({identifier})"
        assert node.label == entity.metadata.get("kind", "entity")
        assert node.properties["name"] == name
        assert node.properties.get("description") == (entity.text if entity.title else None)
    nodes = {one.node_id: one for one in again.get_llama_nodes([f"n{at}" for at in range(4)])}
    for node in text_nodes():
        for mode in MetadataMode.EMBED, MetadataMode.LLM:
            assert nodes[node.node_id].get_content(mode) == node.get_content(mode)


def test_the_same_nodes_again_change_nothing(extractor: OneGenGraphExtractor) -> None:
    index = build(extractor)
    before = index.property_graph_store.to_dict()
    index.insert_nodes(text_nodes())
    assert index.property_graph_store.to_dict() == before


def test_entities_of_one_name_stay_apart(folders: tuple[Path, Path], linker: OneGenModel) -> None:
    names = ("river in Ondrel", "film of 1947", "ship")
    same = [Passage(f"Q{at}", text, 'The "Larch"') for at, text in enumerate(names)]
    entities = PassageIndex.build(linker, same)
    found = set()
    extractor = OneGenGraphExtractor(model=folders[0], entities=entities)
    for node in extractor(text_nodes()):
        found |= {(one.properties["id"], one.id) for one in node.metadata[KG_NODES_KEY]}
        targets = {one.target_id for one in node.metadata[KG_RELATIONS_KEY]}
        assert targets <= {name for _, name in found}
    assert len({identifier for identifier, _ in found}) > 1, "the test needs two of them"
    assert len({name for _, name in found}) == len(found)


def test_a_retriever_brings_the_text_that_mentions_an_entity(
    extractor: OneGenGraphExtractor,
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedding, vectors = OneGenEmbedding(model=folders[0]), SimpleVectorStore()
    embedded: list[str] = []
    original = OneGenEmbedding._embed_texts

    def embed(self: OneGenEmbedding, texts: list[str]) -> list[list[float]]:
        embedded.extend(texts)
        return original(self, texts)

    monkeypatch.setattr(OneGenEmbedding, "_embed_texts", embed)
    nodes = [node for node in text_nodes() if node.text]
    index = build(
        extractor, nodes=nodes, embed_model=embedding, vector_store=vectors, embed_kg_nodes=True
    )
    graph = index.property_graph_store
    linked = {one[1] for one in mentions_of(graph)}
    titled = [one.titled_text for one in ENTITIES if one.id in linked]
    assert sorted(embedded) == sorted([*titled, *(node.text for node in nodes)])
    retriever = VectorContextRetriever(
        graph, embed_model=embedding, vector_store=index.vector_store, similarity_top_k=6
    )
    found = retriever.retrieve("Which lake lies in Africa?")
    assert found
    for one in found:
        assert " -> MENTIONS -> " in one.text
        assert one.text.endswith(TEXTS[int(one.node.node_id.removeprefix("n"))])


def test_other_extractors_are_added_to(extractor: OneGenGraphExtractor) -> None:
    nodes = text_nodes()
    parsed = PassageParser(OneGenEmbedding(model=extractor.model)).get_nodes_from_documents(nodes)
    for extractors in ([ImplicitPathExtractor(), extractor], [extractor, ImplicitPathExtractor()]):
        given: Any = copy.deepcopy(parsed)
        for one in extractors:
            given = one(given)
        labels = {one.label for node in given for one in node.metadata[KG_RELATIONS_KEY]}
        assert {"MENTIONS", "SOURCE"} <= labels


def test_nodes_in_an_event_loop_and_none_at_all(extractor: OneGenGraphExtractor) -> None:
    expected = [one.metadata for one in extractor(text_nodes())]
    found = asyncio.run(extractor.acall(text_nodes()))
    assert [one.metadata for one in found] == expected
    assert extractor([]) == []
    assert asyncio.run(extractor.acall([])) == []


def test_components_are_copied_serialised_and_pickled(folders: tuple[Path, Path]) -> None:
    given: Any = {"model": folders[0], "entities": folders[1], "linking": {"num_candidates": 2}}
    components = [OneGenGraphExtractor(label_key="kind", **given), OneGenEntityExtractor(**given)]
    for one in components:
        plain = json.loads(json.dumps(one.to_dict()))
        for again in (
            type(one).from_dict(plain),
            type(one).from_json(one.to_json()),
            pickle.loads(pickle.dumps(one)),
            copy.deepcopy(one),
        ):
            assert again.to_dict() == one.to_dict()
            assert again.open_entities() is one.open_entities()


def test_what_cannot_be_pickled_is_refused(
    folders: tuple[Path, Path], linker: OneGenModel, index: VectorStoreIndex
) -> None:
    unsaved = OneGenGraphExtractor(
        model=folders[0], entities=PassageIndex.build(linker, ENTITIES[:2])
    )
    with pytest.raises(InvalidInputError, match="was never saved"):
        pickle.dumps(unsaved)
    with pytest.raises(InvalidInputError, match="ChromaVectorStore cannot be pickled"):
        pickle.dumps(OneGenGraphExtractor(model=folders[0], entities=index))
