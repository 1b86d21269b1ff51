"""OneGenEntityLinker: a Runnable, and a transformer of documents."""

import asyncio
import json
import operator
from functools import reduce
from pathlib import Path
from typing import Any
from uuid import uuid4

import chromadb
import pytest
from langchain_chroma import Chroma
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError

from onegen_integrations.langchain import OneGenEmbeddings, OneGenEntityLinker
from onegen_model import LinkedText, LinkingParams, OneGenModel, PassageIndex
from onegen_model.errors import InvalidInputError
from tests.integrations.langchain.test_tracing import collect
from tests.support.linking_model import ENTITIES, TEXT, found

TEXTS = [TEXT, "", "Alan Turing", " \n", TEXT[:60]]


def test_a_text_and_a_document_are_linked(linker: OneGenEntityLinker, linked: LinkedText) -> None:
    assert linker.invoke(TEXT) == linked
    assert linker.invoke(Document(TEXT)) == linked
    assert asyncio.run(linker.ainvoke(TEXT)) == linked
    assert isinstance(linker, BaseDocumentTransformer)


def test_a_batch_is_one_call_of_the_model(
    linker: OneGenEntityLinker, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [found(linker.invoke(text)) for text in TEXTS]
    calls = []
    for name in ("link", "alink"):
        method = getattr(OneGenModel, name)

        def counted(self: Any, texts: Any, *, _method: Any = method, **options: Any) -> Any:
            calls.append(texts)
            return _method(self, texts, **options)

        monkeypatch.setattr(OneGenModel, name, counted)
    assert list(map(found, linker.batch(list(TEXTS)))) == alone
    assert list(map(found, asyncio.run(linker.abatch(list(TEXTS))))) == alone
    assert calls == [TEXTS, TEXTS]
    assert linker.batch([]) == []


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_of_a_stream_add_up(linker: OneGenEntityLinker, text: str) -> None:
    whole = linker.invoke(text)
    for pieces in (list(linker.stream(text)), asyncio.run(collect(linker.astream(text)))):
        assert reduce(operator.add, pieces) == whole
        assert reduce(operator.add, pieces).usage.length == whole.usage.length
        assert [len(one.mentions) for one in pieces] == [1] * len(whole.mentions) + [0]
        for one in pieces[:-1]:
            [mention] = one.mentions
            assert one.text[mention.start :] == mention.surface


def test_in_a_chain_the_next_step_gets_the_whole(
    linker: OneGenEntityLinker, linked: LinkedText
) -> None:
    chain = linker | RunnableLambda(lambda linked: [linked])
    assert chain.invoke(TEXT) == [linked]
    assert list(chain.stream(TEXT)) == [[linked]]
    assert asyncio.run(collect(chain.astream(TEXT))) == [[linked]]


def test_a_stream_that_is_closed_ends_the_work(
    linker: OneGenEntityLinker,
) -> None:
    text = " ".join([TEXT] * 6)
    forwards: list[object] = []
    hook = linker.shared.model.network.base_model.register_forward_hook(
        lambda *_: forwards.append(None)
    )
    try:
        list(linker.stream(text))
        whole = len(forwards)
        forwards.clear()
        stream: Any = linker.stream(text)
        next(stream)
        stream.close()

        async def first() -> None:
            stream: Any = linker.astream(text)
            await anext(stream)
            await stream.aclose()

        asyncio.run(first())
        assert len(forwards) < whole / 2
    finally:
        hook.remove()


def test_documents_get_their_mentions_as_json(
    linker: OneGenEntityLinker, linked: LinkedText
) -> None:
    given = [Document(TEXT, id="a", metadata={"source": "a.txt"}), Document("")]
    marked = linker.transform_documents(given)
    assert asyncio.run(linker.atransform_documents(given)) == marked
    assert given[0].metadata == {"source": "a.txt"}
    first, second = marked
    assert (first.id, first.page_content, first.metadata["source"]) == ("a", TEXT, "a.txt")
    assert second.metadata == {"entities": []}
    records = first.metadata["entities"]
    assert json.loads(json.dumps(records)) == records
    names = {one.id: one.title or one.text for one in ENTITIES}
    for record, mention in zip(records, linked.mentions, strict=True):
        assert mention.entity
        identity = mention.entity.passage.id
        assert record == {
            "start": mention.start,
            "end": mention.end,
            "surface": mention.surface,
            "id": identity,
            "name": names[identity],
            "score": mention.score,
        }


def test_the_metadata_have_candidates_on_request_and_no_entity_below_the_threshold(
    linking_arguments: dict[str, Any], entities: PassageIndex
) -> None:
    linker = OneGenEntityLinker(
        **linking_arguments,
        entities=entities,
        linking=LinkingParams(nil_threshold=2.0, num_candidates=2),
        include_candidates=True,
    )
    [document] = linker.transform_documents([Document(TEXT)])
    for record in document.metadata["entities"]:
        assert (record["id"], record["name"]) == (None, None)
        assert record["score"] == record["candidates"][0]["score"]
        assert [set(one) for one in record["candidates"]] == [{"id", "name", "score"}] * 2
    assert document.metadata["entities"]


def test_flat_metadata_go_into_chroma(
    linking_arguments: dict[str, Any], entities: PassageIndex, linker: OneGenEntityLinker
) -> None:
    given = [Document(TEXT, id="a", metadata={"source": "a.txt"})]
    [expected] = linker.transform_documents(given)
    flat = OneGenEntityLinker(**linking_arguments, entities=entities, flat=True)
    marked = flat.transform_documents(given)
    assert asyncio.run(flat.atransform_documents(given)) == marked
    client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
    store = Chroma(
        client=client,
        collection_name=uuid4().hex,
        embedding_function=OneGenEmbeddings(**linking_arguments),
    )
    store.add_documents(marked)
    [found] = store.similarity_search("Who?", k=1)
    assert found.metadata["source"] == "a.txt"
    assert json.loads(found.metadata["entities"]) == expected.metadata["entities"]


def test_what_the_steps_of_a_chain_give_is_linked(
    linker: OneGenEntityLinker, linked: LinkedText
) -> None:
    chat = FakeListChatModel(responses=[TEXT])
    assert (chat | linker).invoke("x") == linked
    assert reduce(operator.add, (chat | linker).stream("x")) == linked
    assert (PromptTemplate.from_template("{text}") | linker).invoke({"text": TEXT}) == linked
    with pytest.raises(InvalidInputError, match="given a ChatPromptValue; expected a str, a Doc"):
        (ChatPromptTemplate.from_template("{text}") | linker).invoke({"text": TEXT})


@pytest.mark.parametrize(
    ("given", "shown"),
    [("a text", "str"), (Document("a"), "Document"), (3, "int"), ([TEXT], "list with a str")],
)
def test_only_documents_are_transformed(linker: OneGenEntityLinker, given: Any, shown: str) -> None:
    message = f"given a {shown}; expected a list of Documents"
    with pytest.raises(InvalidInputError, match=message):
        linker.transform_documents(given)
    with pytest.raises(InvalidInputError, match=message):
        asyncio.run(linker.atransform_documents(given))


def test_parameters_of_a_call_take_precedence(linker: OneGenEntityLinker) -> None:
    given = LinkingParams(mentions=[(0, 3)], num_candidates=1)
    [mention] = linker.invoke(TEXT, linking=given).mentions
    assert (mention.surface, len(mention.candidates)) == ("Ada", 1)
    plain = {"mentions": [(0, 3)], "num_candidates": 1}
    assert linker.invoke(TEXT, linking=plain).mentions == (mention,)
    with pytest.raises(InvalidInputError, match="linking has no option 'windows'"):
        linker.invoke(TEXT, linking={"windows": 32})
    bound = linker.bind(linking=given)
    assert bound.invoke(TEXT).mentions == (mention,)
    assert [one.mentions for one in bound.batch([TEXT, TEXT])] == [(mention,)] * 2
    assert reduce(operator.add, bound.stream(TEXT)).mentions == (mention,)
    each = [given, LinkingParams(mentions=[(5, 11)])]
    marked = linker.transform_documents([Document("Ada"), Document("Alan Turing")], linking=each)
    assert [one.metadata["entities"][0]["surface"] for one in marked] == ["Ada", "Turing"]


def test_parameters_are_configurable_without_another_load(
    linking_arguments: dict[str, Any], entity_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linker = OneGenEntityLinker(**linking_arguments, entities=entity_folder)
    monkeypatch.setattr(PassageIndex, "load", None)
    configurable = linker.configurable_fields(linking=ConfigurableField(id="linking"))
    config: Any = {"configurable": {"linking": LinkingParams(mentions=[(0, 3)])}}
    [mention] = configurable.invoke(TEXT, config).mentions
    assert mention.surface == "Ada"
    assert configurable.invoke(TEXT) == linker.invoke(TEXT)


def test_events_stream_the_pieces(linker: OneGenEntityLinker, linked: LinkedText) -> None:
    events = asyncio.run(collect(linker.astream_events(TEXT, version="v2")))
    pieces = [one["data"]["chunk"] for one in events if one["event"] == "on_chain_stream"]
    assert reduce(operator.add, pieces) == linked
    assert events[-1]["data"]["output"] == linked


def test_the_event_loop_is_not_blocked(linker: OneGenEntityLinker) -> None:
    async def count() -> int:
        ticks = 0
        task = asyncio.create_task(linker.abatch([TEXT * 3] * 3))
        while not task.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    assert asyncio.run(count()) > 5


def test_only_the_texts_that_cannot_be_linked_fail(linker: OneGenEntityLinker) -> None:
    texts: list[Any] = ["Alan Turing", "half a pair \ud800", ["a list"]]
    good = linker.invoke(texts[0])
    linking = [LinkingParams(), LinkingParams(num_candidates=2), LinkingParams()]
    for results in (
        linker.batch(texts, return_exceptions=True),
        linker.batch(texts, return_exceptions=True, linking=linking),
        asyncio.run(linker.abatch(texts, return_exceptions=True)),
    ):
        assert results[0] == good
        assert [type(one) for one in results[1:]] == [InvalidInputError] * 2
    with pytest.raises(InvalidInputError, match="a list; expected a str, a Document, a message"):
        linker.batch(texts)
    with pytest.raises(InvalidInputError, match=r"linking has 3 parameters for 2 texts"):
        linker.batch(texts[:1] * 2, linking=linking)
    with pytest.raises(InvalidInputError, match="Unknown option 'linkin' in a call; expected 'lin"):
        linker.invoke(TEXT, linkin=LinkingParams())


def test_its_schemas_say_what_it_takes_and_gives(linker: OneGenEntityLinker) -> None:
    assert {one.get("type") for one in linker.get_input_jsonschema()["anyOf"]} >= {"string"}
    assert "mentions" in json.dumps(linker.get_output_jsonschema())
    assert linker.get_graph().nodes


def test_as_a_tool_it_takes_a_text_and_gives_its_mentions(
    linker: OneGenEntityLinker, linked: LinkedText
) -> None:
    tool = linker.as_tool()
    assert tool.name == "link_entities"
    assert "entity" in tool.description
    [(name, schema)] = convert_to_openai_tool(tool)["function"]["parameters"]["properties"].items()
    assert (name, schema["type"]) == ("text", "string")
    [expected] = [one.metadata["entities"] for one in linker.transform_documents([Document(TEXT)])]
    assert tool.invoke({"text": TEXT}) == expected
    call = {"name": tool.name, "args": {"text": TEXT}, "id": "1", "type": "tool_call"}
    message = asyncio.run(tool.ainvoke(call))
    assert json.loads(message.content) == expected
    assert len(expected) == len(linked.mentions)
    with pytest.raises(ValidationError, match="text"):
        tool.invoke({"texts": [TEXT]})
    named = linker.as_tool(name="mine", description="Finds people.", arg_types={"text": str})
    assert (named.name, named.description) == ("mine", "Finds people.")
    assert named.invoke({"text": TEXT}) == expected
    with pytest.raises(InvalidInputError, match="The tool was called with other; expected text"):
        linker.as_tool(arg_types={"other": str}).invoke({"other": TEXT})
