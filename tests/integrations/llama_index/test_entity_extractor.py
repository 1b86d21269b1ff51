"""OneGenEntityExtractor: mentions as metadata of nodes, in pipelines and alone."""

import asyncio
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenEntityExtractor,
    OneGenVectorStore,
    PassageParser,
)
from onegen_integrations.shared import shared_model
from onegen_model import LinkingParams, OneGenModel, PassageIndex
from onegen_model.errors import CheckpointError, InvalidInputError, RetrievalError
from tests.integrations.llama_index.conftest import chroma_store
from tests.support.linked_nodes import TEXTS, link_texts, save_linking_model, text_nodes
from tests.support.linking_model import ENTITIES, TEXT


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_linking_model(tmp_path_factory.mktemp("linking"))


@pytest.fixture
def linker(folders: tuple[Path, Path]) -> OneGenModel:
    return shared_model(folders[0])


@pytest.fixture
def extractor(folders: tuple[Path, Path]) -> OneGenEntityExtractor:
    return OneGenEntityExtractor(model=folders[0], entities=folders[1], show_progress=False)


def test_mentions_are_those_of_the_model_in_one_call(
    extractor: OneGenEntityExtractor, linker: OneGenModel, folders: tuple[Path, Path]
) -> None:
    expected = link_texts(linker, folders[1])
    calls: list[Any] = []
    original = linker.alink

    async def alink(texts: Any, **options: Any) -> Any:
        calls.append(texts)
        return await original(texts, **options)

    linker.alink = alink  # type: ignore[method-assign]
    try:
        found = extractor.extract(text_nodes())
    finally:
        del linker.alink  # type: ignore[method-assign]
    assert calls == [TEXTS]
    assert json.loads(json.dumps(found)) == found
    names = {one.id: one.title or one.text for one in ENTITIES}
    for one, linked in zip(found, expected, strict=True):
        assert one == {
            "entities": [
                {
                    "start": mention.start,
                    "end": mention.end,
                    "surface": mention.surface,
                    "id": mention.entity.passage.id,
                    "name": names[mention.entity.passage.id],
                    "score": mention.score,
                }
                for mention in linked.mentions
                if mention.entity
            ]
        }
    assert len(found[0]["entities"]) > 1
    assert found[2] == {"entities": []}
    assert extractor.extract([]) == []


def test_a_mention_without_an_entity_is_kept(folders: tuple[Path, Path]) -> None:
    extractor = OneGenEntityExtractor(
        model=folders[0],
        entities=folders[1],
        linking={"nil_threshold": 1.5},
        show_progress=False,
    )
    [found, *_] = extractor.extract(text_nodes())
    assert {(one["id"], one["name"]) for one in found["entities"]} == {(None, None)}
    assert all(one["score"] < 1.5 for one in found["entities"])


@pytest.mark.parametrize("is_async", [False, True])
def test_a_pipeline_embeds_and_reads_a_node_as_before(
    extractor: OneGenEntityExtractor, folders: tuple[Path, Path], is_async: bool
) -> None:
    embedding = OneGenEmbedding(model=folders[0])
    documents = [Document(text=TEXT, metadata={"title": "Names"}, id_="d")]
    plain = IngestionPipeline(transformations=[PassageParser(embedding)]).run(documents=documents)
    pipeline = IngestionPipeline(
        transformations=[PassageParser(embedding), extractor, extractor, embedding]
    )
    nodes = (
        asyncio.run(pipeline.arun(documents=documents))
        if is_async
        else pipeline.run(documents=documents)
    )
    for node, before in zip(nodes, plain, strict=True):
        text = node.get_content(MetadataMode.NONE)
        for one in node.metadata["entities"]:
            assert text[one["start"] : one["end"]] == one["surface"]
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert node.get_content(mode) == before.get_content(mode)
        assert node.excluded_embed_metadata_keys.count("entities") == 1
        embedded = embedding.get_text_embedding(before.get_content(MetadataMode.EMBED))
        assert node.embedding == pytest.approx(embedded, abs=1e-5)
    assert any(node.metadata["entities"] for node in nodes)


def test_a_pipeline_caches_by_the_entities(folders: tuple[Path, Path], linker: OneGenModel) -> None:
    entities = PassageIndex.load(linker, folders[1])
    extractor = OneGenEntityExtractor(model=folders[0], entities=entities, show_progress=False)
    pipeline = IngestionPipeline(transformations=[extractor])
    [first] = pipeline.run(nodes=text_nodes()[:1])
    entities.remove(one["id"] for one in first.metadata["entities"])
    [second] = pipeline.run(nodes=text_nodes()[:1])
    known = {one.id for one in entities.passages}
    assert {one["id"] for one in second.metadata["entities"]} <= known


def test_flat_metadata_go_into_chroma_and_others_into_our_store(
    folders: tuple[Path, Path],
) -> None:
    embedding = OneGenEmbedding(model=folders[0])
    stores = {True: chroma_store(), False: OneGenVectorStore(embedding)}
    for flat, store in stores.items():
        extractor = OneGenEntityExtractor(
            model=folders[0], entities=folders[1], flat=flat, show_progress=False
        )
        pipeline = IngestionPipeline(
            transformations=[extractor, embedding], vector_store=store, disable_cache=True
        )
        [expected] = pipeline.run(nodes=text_nodes()[1:2])
        index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
        [found] = index.as_retriever(similarity_top_k=1).retrieve("Who?")
        entities = found.node.metadata["entities"]
        assert entities == expected.metadata["entities"]
        assert (json.loads(entities) if flat else entities)[0]["surface"]


def test_nodes_of_an_index_are_entities(folders: tuple[Path, Path], linker: OneGenModel) -> None:
    embedding = OneGenEmbedding(model=folders[0])
    documents = [
        Document(id_=one.id, text=one.text, metadata={**one.metadata, "title": one.title})
        for one in ENTITIES
    ]
    index = VectorStoreIndex.from_documents(
        documents, embed_model=embedding, transformations=[PassageParser(embedding)]
    )
    own = OneGenEntityExtractor(model=folders[0], entities=folders[1], show_progress=False)
    expected = own.extract(text_nodes())
    for entities in (index, index.as_retriever(similarity_top_k=5)):
        theirs = OneGenEntityExtractor(model=folders[0], entities=entities, show_progress=False)
        for one, other in zip(theirs.extract(text_nodes()), expected, strict=True):
            for mine, known in zip(one["entities"], other["entities"], strict=True):
                assert mine == {**known, "score": pytest.approx(known["score"], abs=1e-5)}


def test_a_filter_narrows_an_index_and_is_refused_by_a_retriever(
    folders: tuple[Path, Path],
) -> None:
    embedding = OneGenEmbedding(model=folders[0])
    nodes = [
        TextNode(id_=one.id, text=one.text, metadata={**one.metadata, "title": one.title})
        for one in ENTITIES
    ]
    store = OneGenVectorStore(embedding)
    index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
    index.insert_nodes(nodes)
    given: Any = {"model": folders[0], "linking": LinkingParams(filter={"kind": "person"})}
    [found, *_] = OneGenEntityExtractor(entities=index, show_progress=False, **given).extract(
        text_nodes()
    )
    assert {one["id"] for one in found["entities"]} <= {"Q3", "Q4"}
    assert found["entities"]
    refused = OneGenEntityExtractor(entities=index.as_retriever(), **given)
    with pytest.raises(InvalidInputError, match="linking has a filter, and the entities are a ret"):
        refused.extract(text_nodes())


class Unscored(BaseRetriever):
    """Finds one entity, and does not say how well it fits."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(id_="Q1", text="mountain"))]


@pytest.mark.parametrize("threshold", [-1.0, 0.5])
def test_a_score_that_is_not_known_is_none_and_meets_no_threshold(
    folders: tuple[Path, Path], threshold: float
) -> None:
    given: Any = {"model": folders[0], "entities": Unscored(), "show_progress": False}
    [found, *_] = OneGenEntityExtractor(**given).extract(text_nodes())
    assert {(one["id"], one["score"]) for one in found["entities"]} == {("Q1", None)}
    refused = OneGenEntityExtractor(**given, linking={"nil_threshold": threshold})
    with pytest.raises(RetrievalError, match="the retriever found entities without a score"):
        refused.extract(text_nodes())


def test_the_event_loop_does_not_wait_for_the_model_to_load(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(folders[0], tmp_path / "copy")  # not loaded yet
    loaders: list[threading.Thread] = []
    original = OneGenModel.from_pretrained

    def load(*arguments: Any, **options: Any) -> OneGenModel:
        loaders.append(threading.current_thread())
        return original(*arguments, **options)

    monkeypatch.setattr(OneGenModel, "from_pretrained", load)
    extractor = OneGenEntityExtractor(model=own, entities=folders[1], show_progress=False)
    assert loaders == [], "nothing is loaded before it is needed"
    assert asyncio.run(extractor.aextract(text_nodes()))[0]["entities"]
    assert len(loaders) == 1
    assert loaders[0] is not threading.main_thread()


def test_the_model_is_one_that_links_unless_another_is_named(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEGEN_MODEL", raising=False)
    assert OneGenEntityExtractor(entities=folders[1]).model == "entity-linking"
    monkeypatch.setenv("ONEGEN_MODEL", str(folders[0]))
    assert OneGenEntityExtractor(entities=folders[1]).model == str(folders[0])


def test_bad_input_is_refused(folder: Path, folders: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="linking gives the mentions of one text"):
        OneGenEntityExtractor(entities=folders[1], linking=LinkingParams(mentions=[(0, 3)]))
    with pytest.raises(ValueError, match="has no argument 'entity'; expected 'entities'"):
        OneGenEntityExtractor(entity=folders[1])
    index = PassageIndex.build(shared_model(folder), ENTITIES)
    with pytest.raises(CheckpointError, match="was not trained to link"):
        OneGenEntityExtractor(model=folder, entities=index).extract(text_nodes())
    with pytest.raises(InvalidInputError, match="int is not a retriever"):
        OneGenEntityExtractor(model=folders[0], entities=3).extract(text_nodes())
