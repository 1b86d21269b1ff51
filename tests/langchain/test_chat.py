"""OneGenChatModel with retrieval on: one message, however it is asked for."""

import asyncio
import copy
import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations import shared
from onegen_integrations.langchain import (
    OneGenChatModel,
    OneGenEmbeddings,
    OneGenLLM,
    OneGenRetriever,
)
from onegen_model import OneGenModel
from onegen_model.errors import ContextTooLongError, InvalidInputError, RetrievalError
from tests.script import scripted

QUESTION = "Which town is older?"
TURN = (
    "Who founded Alba?[RQ]Ann did.\nWho founded Brig?[RQ]Bob did.\n"
    "<FINAL-ANSWER> founded by Ann </FINAL-ANSWER>"
)
LONG = "Say it often!"
TURNS = {QUESTION: TURN, LONG: "la " * 60, "Guess!": "<FINAL-ANSWER>Gera</FINAL-ANSWER>"}


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=400)


def engine_of(model: OneGenModel) -> Any:
    return model.driver._engine._engine


def rounded(content: Any) -> Any:
    """Scores of queries that were read in batches of another shape differ in the last digits."""
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [rounded(value) for value in content]
    return round(content, 4) if isinstance(content, float) else content


def told_by(message: Any) -> Any:
    return rounded(message.content)


def add(chunks: Sequence[Any]) -> Any:
    first, *others = chunks
    return sum(others, first)


def plain(message: Any) -> dict[str, Any]:
    """What has to be the same on all paths."""
    assert isinstance(message, AIMessage)
    content = message.content
    if isinstance(content, list):
        content = [{k: v for k, v in block.items() if k != "index"} for block in content]
    metadata = {k: v for k, v in message.response_metadata.items() if k != "output_version"}
    return {"content": content, "usage": message.usage_metadata, "metadata": metadata}


def by_events_v3(chat: Any, question: str) -> Any:
    stream = chat.stream_events(question, version="v3")
    assert list(stream)
    return stream.output


async def by_aevents_v3(chat: Any, question: str) -> Any:
    stream = await chat.astream_events(question, version="v3")
    assert [event async for event in stream]
    return await stream.output


async def by_astream(chat: Any, question: str) -> Any:
    return add([chunk async for chunk in chat.astream(question)])


async def by_aevents_v2(chat: Any, question: str) -> Any:
    events = [event async for event in chat.astream_events(question, version="v2")]
    streamed = [one["data"]["chunk"] for one in events if one["event"] == "on_chat_model_stream"]
    last = events[-1]
    assert last["event"] == "on_chat_model_end"
    assert plain(add(streamed)) == plain(last["data"]["output"])
    return last["data"]["output"]


async def by_abatch(chat: Any, question: str) -> Any:
    return (await chat.abatch([question]))[0]


PATHS: dict[str, Callable[[Any, str], Any]] = {
    "stream": lambda chat, question: add(list(chat.stream(question))),
    "batch": lambda chat, question: chat.batch([question])[0],
    "events v3": by_events_v3,
    "ainvoke": lambda chat, question: asyncio.run(chat.ainvoke(question)),
    "astream": lambda chat, question: asyncio.run(by_astream(chat, question)),
    "abatch": lambda chat, question: asyncio.run(by_abatch(chat, question)),
    "aevents v2": lambda chat, question: asyncio.run(by_aevents_v2(chat, question)),
    "aevents v3": lambda chat, question: asyncio.run(by_aevents_v3(chat, question)),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("retrieval", ["auto", "never"])
def test_content_usage_and_metadata_are_those_of_invoke(
    path: str, retrieval: Any, chat: OneGenChatModel, model: OneGenModel
) -> None:
    chat.retrieval = retrieval
    expected = plain(chat.invoke(QUESTION))
    engine_of(model).forget()
    told = plain(PATHS[path](chat, QUESTION))
    if "v3" in path and retrieval == "never":
        told["content"] = told["content"][0]["text"]  # always blocks there
    assert told == expected


def test_a_message_tells_steps_retrievals_and_one_cited_answer(chat: OneGenChatModel) -> None:
    message = chat.invoke(QUESTION)
    assert message.text == "founded by Ann"
    blocks: list[Any] = message.content_blocks
    step, call, result, *_, answer = blocks
    assert [block["type"] for block in blocks] == [
        *("reasoning", "server_tool_call", "server_tool_result") * 2,
        *("reasoning", "text"),
    ]
    assert step["reasoning"] == "Who founded Alba?"
    assert call["args"] == {"queries": ["Who founded Alba?"]}
    assert result["tool_call_id"] == call["id"]
    found = [block["output"][0] for block in blocks if block["type"] == "server_tool_result"]
    assert {one["id"]: one["page_content"] for one in found} == {
        "Alba": "Alba\nIt was founded by Ann.",
        "Brig": "Brig\nBob founded it.",
    }
    cited = {one["title"]: one for one in answer["annotations"]}
    assert all((one["start_index"], one["end_index"]) == (0, 14) for one in cited.values())
    assert cited["Alba"]["cited_text"] == "founded by Ann"
    assert "cited_text" not in cited["Brig"], "it does not stand there"


def test_usage_tells_retrieved_tokens_apart(chat: OneGenChatModel, model: OneGenModel) -> None:
    message = chat.invoke(QUESTION)
    usage: Any = message.usage_metadata
    frames = ("Alba\nIt was founded by Ann.", "Brig\nBob founded it.")
    assert usage["input_token_details"]["retrieved"] == sum(
        model.count_tokens(text) + 2 for text in frames
    )
    assert usage["input_token_details"]["cache_read"] == 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    told = message.response_metadata["onegen"]["usage"]
    assert told["forwarded"] == usage["total_tokens"] - 1, "one pass, all but the last token"


def test_a_parser_of_strings_gets_the_answer_alone(chat: OneGenChatModel) -> None:
    chain = chat | StrOutputParser()
    assert chain.invoke(QUESTION) == "founded by Ann"
    pieces = list(chain.stream(QUESTION))
    assert "".join(pieces) == "founded by Ann"
    assert len([piece for piece in pieces if piece]) > 2, "in pieces"


def test_without_a_frame_the_answer_is_what_follows_the_last_passages(
    wide_folder: Path, tiny: OneGenModel, store: InMemoryVectorStore
) -> None:
    chat = OneGenChatModel(model=wide_folder, vectorstore=store, k=2, max_tokens=100)
    with scripted(tiny, {QUESTION: "Who founded Alba?[RQ] It was Ann."}):
        message = chat.invoke(QUESTION)
    assert message.text == "It was Ann."
    assert [block["type"] for block in message.content_blocks].count("text") == 1


def test_content_is_a_string_where_nothing_is_searched(chat: OneGenChatModel) -> None:
    chat.vectorstore = None
    assert chat.invoke("Guess!").content == "Gera"
    assert all(isinstance(chunk.content, str) for chunk in chat.stream("Guess!"))


def test_retrievals_show_while_the_answer_is_written(chat: OneGenChatModel) -> None:
    kinds = [block["type"] for chunk in chat.stream(QUESTION) for block in chunk.content_blocks]
    first, last = kinds.index("server_tool_result"), len(kinds) - kinds[::-1].index("reasoning")
    assert 0 < first < last < len(kinds)


async def test_cancelling_a_call_stops_the_network_within_a_step(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    engine = engine_of(model)
    begun = engine.steps
    task = asyncio.create_task(chat.ainvoke(LONG))
    while engine.steps < begun + 10:
        await asyncio.sleep(0.001)
    task.cancel()
    at_cancel = engine.steps
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    assert engine.steps <= at_cancel + 1
    assert engine.is_idle


def test_closing_a_stream_stops_the_network_at_once(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    engine, stream = engine_of(model), chat.stream(LONG)
    for _ in range(5):
        next(stream)
    steps = engine.steps
    stream.close()  # type: ignore[attr-defined]
    assert engine.is_idle
    assert engine.steps == steps
    assert chat.invoke("Guess!").text == "Gera"


async def test_closing_an_asynchronous_stream_stops_the_network(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    engine, stream = engine_of(model), chat.astream(LONG)
    for _ in range(5):
        await anext(stream)
    steps = engine.steps
    await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    assert engine.steps <= steps + 1
    assert engine.is_idle


async def test_the_event_loop_turns_while_the_model_answers(chat: OneGenChatModel) -> None:
    for path in (chat.ainvoke(LONG), by_astream(chat, LONG), chat.abatch([LONG, LONG])):
        pending, turns, begun = asyncio.ensure_future(path), 0, time.perf_counter()
        longest = 0.0
        while not pending.done():
            at = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - at)
            turns += 1
        assert turns > 20
        assert longest < (time.perf_counter() - begun) / 3


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_a_batch_is_one_batch_on_the_device(
    is_asynchronous: bool, chat: OneGenChatModel, model: OneGenModel
) -> None:
    questions = [f"{n}. {QUESTION}" for n in range(4)]
    engine = engine_of(model)
    begun = engine.steps
    alone = [chat.invoke(question) for question in questions]
    one_by_one = engine.steps - begun
    begun = engine.steps
    together = asyncio.run(chat.abatch(questions)) if is_asynchronous else chat.batch(questions)
    assert list(map(told_by, together)) == list(map(told_by, alone))
    assert engine.steps - begun < one_by_one / 2


def test_32_threads_get_the_answers_of_one(chat: OneGenChatModel, model: OneGenModel) -> None:
    questions = [f"{n}. {QUESTION}" for n in range(8)]
    expected = [told_by(chat.invoke(question)) for question in questions] * 4
    with ThreadPoolExecutor(32) as pool:
        told = list(pool.map(lambda question: told_by(chat.invoke(question)), questions * 4))
    assert told == expected


def test_one_load_whatever_is_made_of_it(
    wide_folder: Path, store: InMemoryVectorStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loads: list[object] = []
    original = OneGenModel.from_pretrained

    def count(*arguments: Any, **options: Any) -> OneGenModel:
        loads.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(shared.OneGenModel, "from_pretrained", count)
    monkeypatch.setattr(shared, "_models", {})
    folder = tmp_path / "copy"
    shutil.copytree(wide_folder, folder)
    chat = OneGenChatModel(model=folder)
    whole: list[Any] = [
        chat,
        OneGenChatModel(model=str(folder)),
        OneGenLLM(model=folder),
        OneGenEmbeddings(model=folder),
        OneGenRetriever(model=folder, vectorstore=store),
        pickle.loads(pickle.dumps(chat)),
        copy.deepcopy(chat),
        chat.model_copy(deep=True),
        load(dumpd(chat), allowed_objects=[OneGenChatModel], valid_namespaces=NAMESPACES),
    ]
    assert loads == [], "nothing is loaded before it is needed"
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda one: one.shared.model, whole))
    assert len(loads) == 1
    assert len(set(map(id, models))) == 1
    configurable = chat.configurable_fields(temperature=ConfigurableField("heat"))
    for heat in (0.0, 0.5, 1.0):
        configurable.with_config(configurable={"heat": heat}).invoke("Guess!", max_tokens=4)
    assert len(loads) == 1


NAMESPACES = ["onegen_integrations"]


def test_what_is_dumped_comes_back_as_it_was(wide_folder: Path) -> None:
    chat = OneGenChatModel(model=str(wide_folder), temperature=0.5, stop=["."], k=3, seed=1)
    again = load(dumpd(chat), allowed_objects=[OneGenChatModel], valid_namespaces=NAMESPACES)
    assert again == chat


def test_a_pickle_holds_no_weights(chat: OneGenChatModel) -> None:
    again = pickle.loads(pickle.dumps(chat))
    assert told_by(again.invoke(QUESTION)) == told_by(chat.invoke(QUESTION))
    chat.vectorstore = None
    assert len(pickle.dumps(chat)) < 2048


def test_a_configured_copy_keeps_what_it_searches(chat: OneGenChatModel) -> None:
    configurable = chat.configurable_fields(max_tokens=ConfigurableField("longest"))
    short = configurable.with_config(configurable={"longest": 10}).invoke(QUESTION)
    whole = configurable.invoke(QUESTION)
    assert short.usage_metadata["output_tokens"] == 10
    assert short.response_metadata["finish_reason"] == "length"
    assert told_by(whole) == told_by(chat.invoke(QUESTION))
    assert isinstance(whole.content, list)


def test_cached_answers_are_of_the_same_store(
    wide_folder: Path, model: OneGenModel, chat: OneGenChatModel
) -> None:
    cache, engine = InMemoryCache(), engine_of(model)
    other = InMemoryVectorStore(OneGenEmbeddings(model=wide_folder))
    other.add_texts(["Nobody knows.", "It is not known."])
    one, two = chat.model_copy(), chat.model_copy(update={"vectorstore": other})
    one.cache = two.cache = cache
    first, other_store = one.invoke(QUESTION), two.invoke(QUESTION)
    assert other_store.content != first.content
    steps = engine.steps
    assert one.invoke(QUESTION).content == first.content
    assert two.model_copy().invoke(QUESTION).content == other_store.content
    assert engine.steps == steps, "from the cache"
    one.invoke(QUESTION, k=2)
    assert engine.steps > steps, "a call's own options count"


class Broken(InMemoryVectorStore):
    def similarity_search_with_score_by_vector(self, *_: Any, **__: Any) -> Any:
        raise OSError("the disk is gone")


@pytest.fixture
def broken(wide_folder: Path, chat: OneGenChatModel) -> OneGenChatModel:
    chat.vectorstore = Broken(OneGenEmbeddings(model=wide_folder))
    chat.vectorstore.add_texts(["never seen"])
    return chat


def test_a_store_that_raises_is_an_error_of_the_call(broken: OneGenChatModel) -> None:
    with pytest.raises(RetrievalError, match="the disk is gone"):
        broken.invoke(QUESTION)
    with pytest.raises(RetrievalError, match="the disk is gone"):
        list(broken.stream(QUESTION))
    with pytest.raises(RetrievalError, match="the disk is gone"):
        asyncio.run(broken.ainvoke(QUESTION))


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_or_the_answer_goes_on_and_tells(path: str, broken: OneGenChatModel) -> None:
    broken.on_retrieval_error = "continue"
    message = PATHS[path](broken, QUESTION)
    assert message.text == "founded by Ann"
    results = [one for one in message.content_blocks if one["type"] == "server_tool_result"]
    assert [one["status"] for one in results] == ["error", "error"]
    assert all(one["output"] == "OSError: the disk is gone" for one in results)
    assert "annotations" not in message.content_blocks[-1]


def test_stops_and_seeds_are_those_of_the_call_or_of_the_model(chat: OneGenChatModel) -> None:
    assert chat.invoke(QUESTION, stop=[" by"]).text == "founded"
    chat.stop = ["founded b"]
    assert chat.invoke(QUESTION).response_metadata["finish_reason"] == "stop"
    assert chat.invoke(QUESTION, stop=[]).text == "founded by Ann"
    chat.stop = None
    # "Anything" is not scripted.
    hot = {"temperature": 2.0, "max_tokens": 20, "retrieval": "never"}
    one, same, other = (chat.invoke("Anything", seed=seed, **hot).text for seed in (1, 1, 2))
    assert one == same != other


def test_tokens_are_counted_without_anything_downloaded(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    assert chat.get_num_tokens("Who founded Alba?") == model.count_tokens("Who founded Alba?")
    assert chat.get_num_tokens_from_messages([HumanMessage("Who?")]) > 0


def test_the_profile_tells_what_agents_ask_for(chat: OneGenChatModel) -> None:
    profile: Any = chat.profile
    assert profile["tool_calling"]
    assert profile["tool_choice"]
    assert not profile["structured_output"], "a response_format leaves no way to call a tool"


IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
REMOTE = [{"type": "server_tool_call", "id": "1", "name": "web_search", "args": {}}]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "no message of a user"),
        ([("system", "Be brief.")], "no message of a user; expected at least one; ask"),
        ([("human", " ")], "question is empty"),
        ([HumanMessage(IMAGE)], "block of type 'image_url'; expected text"),
        ([("human", "a"), AIMessage(REMOTE), ("human", "b")], "server tool call of 'web_search'"),
    ],
)
def test_messages_that_cannot_be_answered_are_one_error(
    messages: Any, message: str, chat: OneGenChatModel
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        chat.invoke(messages)
    with pytest.raises(InvalidInputError, match=message):
        list(chat.stream(messages))
    with pytest.raises(InvalidInputError, match=message):
        asyncio.run(chat.ainvoke(messages))


def test_a_context_too_long_is_one_error(chat: OneGenChatModel) -> None:
    with pytest.raises(ContextTooLongError, match="context of 4096; shorten it"):
        chat.invoke("why " * 5000)


def test_options_that_contradict_are_one_error(
    wide_folder: Path, store: InMemoryVectorStore, chat: OneGenChatModel
) -> None:
    with pytest.raises(ValueError, match="a vectorstore and a retriever; expected one"):
        OneGenChatModel(vectorstore=store, retriever=store.as_retriever())
    with pytest.raises(InvalidInputError, match='"always" without a vectorstore'):
        OneGenChatModel(model=wide_folder, retrieval="always").invoke(QUESTION)
    with pytest.raises(InvalidInputError, match=r"temperature=-1.*; change temperature"):
        chat.invoke(QUESTION, temperature=-1)
    with pytest.raises(InvalidInputError, match=r"mode='often'"):
        chat.invoke(QUESTION, retrieval="often")
