"""Entities of OneGenEntityLinker: an index, a folder, a store, a retriever; and what is refused."""

import asyncio
import operator
import pickle
import re
import runpy
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import Field

from onegen_integrations.langchain import (
    OneGenEmbeddings,
    OneGenEntityLinker,
    OneGenVectorStore,
)
from onegen_integrations.shared import models, shared_model, unload_model
from onegen_model import LinkedText, LinkingParams, OneGenModel, PassageIndex
from onegen_model.errors import (
    CheckpointError,
    InvalidInputError,
    PassageIndexError,
    RetrievalError,
)
from tests.integrations.langchain.test_tracing import Tracer, collect
from tests.support.linking_model import ENTITIES, TEXT, found

ROOT = Path(__file__).parents[3]


def test_entities_come_from_a_folder_or_a_store(
    linking_arguments: dict[str, Any],
    entity_folder: Path,
    entity_store: InMemoryVectorStore,
    linked: LinkedText,
) -> None:
    own = OneGenVectorStore.load(entity_folder, OneGenEmbeddings(**linking_arguments))
    stores = (own, entity_store, entity_store.as_retriever())
    for source in (str(entity_folder), entity_folder, *stores):
        linker = OneGenEntityLinker(**linking_arguments, entities=source)
        assert found(linker.invoke(TEXT)) == found(linked)
        assert found(asyncio.run(linker.ainvoke(TEXT))) == found(linked)
        assert [found(one) for one in linker.batch([TEXT, ""])] == [found(linked), []]
        assert found(reduce(operator.add, linker.stream(TEXT))) == found(linked)
        astreamed = asyncio.run(collect(linker.astream(TEXT)))
        assert found(reduce(operator.add, astreamed)) == found(linked)


def test_a_filter_reaches_the_store(
    linking_arguments: dict[str, Any], entity_store: InMemoryVectorStore
) -> None:
    linker = OneGenEntityLinker(**linking_arguments, entities=entity_store)
    people = LinkingParams(filter={"kind": "person"})
    for linked in linker.batch([TEXT, TEXT[:60]], linking=people):
        assert linked.mentions
        assert all(sorted(ids) == ["Q3", "Q4"] for _, _, ids in found(linked))


class Names(BaseRetriever):
    """Finds what has the text of the mention as its name, and one entity besides."""

    asked: list[str] = Field(default_factory=list)

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        self.asked.append(query)
        if query == "fail":
            raise KeyError(query)
        return [Document(f"{query}\nsomething", id=f"Q-{query}"), Document("other", id="Q0")]


def test_a_retriever_is_asked_with_the_text_of_the_mention(
    linking_arguments: dict[str, Any],
) -> None:
    retriever = Names()
    linker = OneGenEntityLinker(**linking_arguments, entities=retriever)
    linking = LinkingParams(mentions=[(0, 3), (4, 7)])
    [document] = linker.transform_documents([Document("Ada met Alan")], linking=linking)
    assert sorted(retriever.asked) == ["Ada", "met"]
    shown = [(one["id"], one["name"], one["score"]) for one in document.metadata["entities"]]
    assert shown == [("Q-Ada", "Ada", None), ("Q-met", "met", None)]
    with pytest.raises(RetrievalError, match="Names raised KeyError"):
        linker.invoke("fail", linking=LinkingParams(mentions=[(0, 4)]))
    with pytest.raises(
        ValueError, match="candidates with Names, which cannot score given entities"
    ):
        OneGenEntityLinker(
            **linking_arguments, entities=retriever, linking=LinkingParams(candidates=["Q1"])
        )
    with pytest.raises(ValueError, match=r"nil_threshold=0\.5 for Names, whose scores"):
        OneGenEntityLinker(
            **linking_arguments, entities=retriever, linking=LinkingParams(nil_threshold=0.5)
        )


def test_a_score_that_is_not_known_is_none(
    linking_arguments: dict[str, Any], entity_store: InMemoryVectorStore
) -> None:
    linker = OneGenEntityLinker(
        **linking_arguments,
        entities=entity_store.as_retriever(search_type="mmr"),
        include_candidates=True,
    )
    linked = linker.invoke(TEXT)
    astreamed = asyncio.run(collect(linker.astream(TEXT)))
    for one in (linked, asyncio.run(linker.ainvoke(TEXT)), reduce(operator.add, astreamed)):
        assert one.mentions
        assert all(mention.entity and mention.score is None for mention in one.mentions)
    [document] = linker.transform_documents([Document(TEXT)])
    for one in document.metadata["entities"]:
        assert one["score"] is None
        assert {candidate["score"] for candidate in one["candidates"]} == {None}
    with pytest.raises(InvalidInputError, match=r"nil_threshold=0\.5 for InMemoryVec"):
        linker.invoke(TEXT, linking=LinkingParams(nil_threshold=0.5))


def test_a_store_of_another_model_is_refused_before_anything_is_read(
    linking_arguments: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for embeddings in (OneGenEmbeddings(model=folder), DeterministicFakeEmbedding(size=8)):
        store = InMemoryVectorStore(embeddings)
        store.add_documents([Document("London\ncity", id="Q84")])
        with pytest.raises(PassageIndexError, match="InMemoryVectorStore embeds with "):
            OneGenEntityLinker(**linking_arguments, entities=store)
    store = InMemoryVectorStore(OneGenEmbeddings(**linking_arguments))
    linker = OneGenEntityLinker(**linking_arguments, entities=store)  # may be filled later
    monkeypatch.setattr(OneGenModel, "link", lambda *_, **__: pytest.fail("a text is read"))
    with pytest.raises(PassageIndexError, match="InMemoryVectorStore is empty"):
        linker.invoke(TEXT)


class OtherFirst(Names):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return super()._get_relevant_documents(query, run_manager=run_manager)[::-1]


def test_without_known_scores_the_order_is_the_retrievers(
    linking_arguments: dict[str, Any],
) -> None:
    linker = OneGenEntityLinker(**linking_arguments, entities=OtherFirst())
    linking = LinkingParams(mentions=[(0, 3)], name_weight=5)
    [mention] = linker.invoke("Ada met Alan", linking=linking).mentions
    assert [one.passage.id for one in mention.candidates] == ["Q0", "Q-Ada"]


def test_each_text_is_a_run_and_each_search_in_a_store_one_below_it(
    linking_arguments: dict[str, Any], entity_store: InMemoryVectorStore, linked: LinkedText
) -> None:
    linker = OneGenEntityLinker(**linking_arguments, entities=entity_store)
    surfaces = sorted(one.surface for one in linked.mentions)
    calls = {
        "invoke": lambda config: linker.invoke(TEXT, config),
        "ainvoke": lambda config: asyncio.run(linker.ainvoke(TEXT, config)),
        "batch": lambda config: linker.batch([TEXT, TEXT], config),
        "abatch": lambda config: asyncio.run(linker.abatch([TEXT, TEXT], config)),
        "stream": lambda config: list(linker.stream(TEXT, config)),
        "astream": lambda config: asyncio.run(collect(linker.astream(TEXT, config))),
        "documents": lambda config: linker.transform_documents([Document(TEXT)], config=config),
    }
    for name, call in calls.items():
        tracer = Tracer()
        call({"callbacks": [tracer], "tags": ["mine"]})
        assert len(tracer.roots) == (2 if "batch" in name else 1)
        for root in tracer.roots:
            assert root.name == "OneGenEntityLinker"
            assert root.outputs
            assert found(root.outputs["output"]) == found(linked)
            assert sorted(run.inputs["query"] for run in root.child_runs) == surfaces
            assert all("mine" in (run.tags or []) for run in root.child_runs)


def test_bad_arguments_are_refused_at_once(
    linking_arguments: dict[str, Any], folder: Path, entities: PassageIndex, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"not trained to link entities; .*entity-linking"):
        OneGenEntityLinker(model=folder, entities=entities)
    with pytest.raises(PassageIndexError):
        OneGenEntityLinker(**linking_arguments, entities=tmp_path / "nothing")
    with pytest.raises(ValueError, match="No entities; expected an index of them"):
        OneGenEntityLinker(**linking_arguments, entities=None)
    with pytest.raises(ValueError, match="entities is a list; expected an index of them"):
        OneGenEntityLinker(**linking_arguments, entities=[ENTITIES[0]])
    with pytest.raises(ValueError, match="int is not a retriever"):
        OneGenEntityLinker(**linking_arguments, entities=3)
    with pytest.raises(ValueError, match="no argument 'entity'; expected 'entities'"):
        OneGenEntityLinker(**linking_arguments, entity=entities)  # type: ignore[call-arg]
    other = OneGenVectorStore(OneGenEmbeddings(model=folder))
    with pytest.raises(PassageIndexError, match="embeds with model"):
        OneGenEntityLinker(**linking_arguments, entities=other)


def test_it_pickles_by_the_names_of_its_parts(
    linking_arguments: dict[str, Any], entity_folder: Path
) -> None:
    linking = LinkingParams(num_candidates=2)
    linker = OneGenEntityLinker(**linking_arguments, entities=entity_folder, linking=linking)
    pickled = pickle.dumps(linker)
    assert len(pickled) < 4000
    twin = pickle.loads(pickled)
    assert twin.shared == linker.shared
    assert twin.linking == linking
    assert twin.invoke(TEXT) == linker.invoke(TEXT)
    assert linker.model_copy(deep=True).invoke(TEXT) == linker.invoke(TEXT)
    assert linker.model_dump()["entities"] == str(entity_folder)


def test_it_works_again_after_its_model_was_unloaded(
    linking_arguments: dict[str, Any], entity_folder: Path
) -> None:
    linker = OneGenEntityLinker(**linking_arguments, entities=entity_folder)
    other = OneGenEntityLinker(**linking_arguments, entities=entity_folder)
    before = linker.invoke(TEXT)
    for unload in (linker.unload, lambda: unload_model(linking_arguments["model"])):
        unload()
        assert asyncio.run(linker.ainvoke(TEXT)) == before
        assert other.invoke(TEXT) == before


@pytest.fixture
def linking_by_name(linking_arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In which "entity-linking" names the tiny model."""
    tiny = shared_model(linking_arguments["model"])
    load = OneGenModel.from_pretrained

    def named(name: Any = None, **options: Any) -> OneGenModel:
        return tiny if name == "entity-linking" else load(name, **options)

    monkeypatch.setattr(OneGenModel, "from_pretrained", named)
    monkeypatch.setattr(models, "_models", {})
    monkeypatch.delenv("ONEGEN_MODEL", raising=False)


@pytest.mark.usefixtures("linking_by_name")
def test_the_guide_and_the_example_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "guides" / "langchain.md").read_text(encoding="utf-8")
    [code] = re.findall(r"## Entity linking\n.*?```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "langchain.md", "exec"), {})
    assert "'surface'" in capsys.readouterr().out
    runpy.run_path(str(ROOT / "examples" / "11_link_entities_langchain.py"), run_name="__main__")
    shown = capsys.readouterr().out.splitlines()
    assert all(line.strip() for line in shown)
    assert shown[shown.index("A document:") + 1] == "mines.txt"
