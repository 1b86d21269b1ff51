"""OneGenLLM: the same turn however it is asked for; tools, structure, and what it is made from."""

import asyncio
import copy
import json
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import (
    ChatMessage,
    ImageBlock,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from onegen_integrations import shared
from onegen_integrations.llama_index import OneGenEmbedding, OneGenLLM, PassageParser
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.contracts.llama_index.conftest import Positions, Recorder
from tests.script import scripted

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
TURNS = {
    "Name a town.": "Well: Alba, or <FINAL-ANSWER>Brig</FINAL-ANSWER> then.",
    "Add 2 and 3.": f"I add.\n{CALL}",
    "Add both ways.": CALL + CALL,
    "Break it.": "<tool_call>\n{not JSON\n</tool_call>",
    "5": "It is 5.",
}


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


class Town(BaseModel):
    """A town."""

    kind: Literal["large", "small"]
    wheels: int = Field(ge=0, le=9)


ADD = FunctionTool.from_defaults(add)


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 200
    with scripted(model, TURNS):
        yield model


def plain(message: ChatMessage) -> Any:
    """What has to be the same on all paths: each call has an id of its own."""
    return json.loads(json.dumps([_block(one) for one in message.blocks])), message.role


def _block(block: Any) -> list[Any]:
    if isinstance(block, ToolCallBlock):
        return [block.tool_name, block.tool_kwargs]
    return [block.text]


async def last(responses: Any) -> Any:
    return [response async for response in await responses][-1]


CHATS: dict[str, Callable[[OneGenLLM, list[ChatMessage]], Any]] = {
    "achat": lambda llm, asked: asyncio.run(llm.achat(asked)),
    "stream_chat": lambda llm, asked: list(llm.stream_chat(asked))[-1],
    "astream_chat": lambda llm, asked: asyncio.run(last(llm.astream_chat(asked))),
}
TOOL_CHATS: dict[str, Callable[[OneGenLLM, str], Any]] = {
    "achat": lambda llm, asked: asyncio.run(llm.achat_with_tools([ADD], asked)),
    "stream_chat": lambda llm, asked: list(llm.stream_chat_with_tools([ADD], asked))[-1],
    "astream_chat": lambda llm, asked: asyncio.run(last(llm.astream_chat_with_tools([ADD], asked))),
}
COMPLETIONS: dict[str, Callable[[OneGenLLM, str], Any]] = {
    "acomplete": lambda llm, asked: asyncio.run(llm.acomplete(asked)),
    "stream_complete": lambda llm, asked: list(llm.stream_complete(asked))[-1],
    "astream_complete": lambda llm, asked: asyncio.run(last(llm.astream_complete(asked))),
}


def forget(model: OneGenModel) -> None:
    model.driver._engine._engine.forget()  # type: ignore[attr-defined]


def test_nothing_abstract_is_left_and_nothing_is_inherited_that_blocks() -> None:
    assert issubclass(OneGenLLM, FunctionCallingLLM)
    assert not OneGenLLM.__abstractmethods__
    for name in ("chat", "complete"):
        for kind in ("{}", "a{}", "stream_{}", "astream_{}"):
            method = kind.format(name)
            assert getattr(OneGenLLM, method) is not getattr(LLM, method), method
    assert not OneGenEmbedding.__abstractmethods__
    assert OneGenEmbedding.class_name() == "OneGenEmbedding"
    assert OneGenLLM.class_name() == "OneGenLLM"


@pytest.mark.parametrize("path", CHATS)
def test_a_chat_is_the_same_on_every_path(path: str, llm: OneGenLLM, script: OneGenModel) -> None:
    asked = [ChatMessage("Name a town.")]
    expected = llm.chat(asked)
    assert expected.message.content == "Well: Alba, or Brig then."
    forget(script)
    told = CHATS[path](llm, asked)
    assert plain(told.message) == plain(expected.message)
    assert told.message.additional_kwargs == expected.message.additional_kwargs
    assert told.raw == expected.raw


@pytest.mark.parametrize("path", TOOL_CHATS)
@pytest.mark.parametrize("asked", ["Add 2 and 3.", "Name a town.", "Break it."])
def test_a_chat_with_tools_is_the_same_on_every_path(
    path: str, asked: str, llm: OneGenLLM, script: OneGenModel
) -> None:
    expected = llm.chat_with_tools([ADD], asked)
    forget(script)
    told = TOOL_CHATS[path](llm, asked)
    assert plain(told.message) == plain(expected.message)
    assert told.raw == expected.raw


@pytest.mark.parametrize("path", COMPLETIONS)
def test_a_completion_is_the_same_on_every_path(
    path: str, llm: OneGenLLM, script: OneGenModel
) -> None:
    expected = llm.complete("Name a town.")
    assert expected.text == "Well: Alba, or Brig then."
    forget(script)
    told = COMPLETIONS[path](llm, "Name a town.")
    assert (told.text, told.raw) == (expected.text, expected.raw)


@pytest.mark.parametrize("asked", ["Name a town.", "Add 2 and 3."])
def test_deltas_add_up_and_grow(asked: str, llm: OneGenLLM, script: OneGenModel) -> None:
    chunks = list(llm.stream_chat_with_tools([ADD], asked))
    text = ""
    for chunk in chunks:
        text += chunk.delta or ""
        assert chunk.message.content == text or not text
    assert len([chunk for chunk in chunks if chunk.delta]) > 3
    pieces = list(llm.stream_complete("Name a town."))
    assert "".join(piece.delta or "" for piece in pieces) == pieces[-1].text


def test_a_call_shows_only_when_it_is_complete(llm: OneGenLLM, script: OneGenModel) -> None:
    for chunk in llm.stream_chat_with_tools([ADD], "Add 2 and 3."):
        selections = llm.get_tool_calls_from_response(chunk, error_on_no_tool_call=False)
        assert [one.tool_kwargs for one in selections] in ([], [{"a": 2, "b": 3}])
        assert "tool_call" not in (chunk.message.content or "")
    [selection] = llm.get_tool_calls_from_response(chunk)
    assert (selection.tool_name, bool(selection.tool_id)) == ("add", True)


def test_a_broken_call_is_a_call_of_a_tool_that_nobody_has(
    llm: OneGenLLM, script: OneGenModel
) -> None:
    [selection] = llm.get_tool_calls_from_response(llm.chat_with_tools([ADD], "Break it."))
    assert (selection.tool_name, selection.tool_kwargs) == ("invalid", {"text": "{not JSON"})


def test_one_call_alone_unless_more_are_allowed(llm: OneGenLLM, script: OneGenModel) -> None:
    one = llm.chat_with_tools([ADD], "Add both ways.")
    both = llm.chat_with_tools([ADD], "Add both ways.", allow_parallel_tool_calls=True)
    assert len(llm.get_tool_calls_from_response(one)) == 1
    assert len({call.tool_id for call in llm.get_tool_calls_from_response(both)}) == 2


def test_no_call_is_an_error_only_where_one_is_needed(llm: OneGenLLM, script: OneGenModel) -> None:
    response = llm.chat_with_tools([ADD], "Name a town.")
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(InvalidInputError, match="called no tool; expected at least one"):
        llm.get_tool_calls_from_response(response)


@pytest.mark.parametrize(
    "choice",
    [
        {"tool_required": True},
        {"tool_choice": "any"},
        {"tool_choice": "required"},
        {"tool_choice": "add"},
        {"tool_choice": {"type": "function", "function": {"name": "add"}}},
        {"tool_choice": None, "tool_required": True},
    ],
)
def test_a_forced_call_fits_its_tool(choice: dict[str, Any], llm: OneGenLLM) -> None:
    llm.max_tokens = 200
    multiply = FunctionTool.from_defaults(lambda a: a, name="multiply", description="Multiplies.")
    tools = [ADD, multiply] if choice.get("tool_choice") not in (None, "any", "required") else [ADD]
    response = llm.chat_with_tools(tools, "Whatever.", **choice)
    [selection] = llm.get_tool_calls_from_response(response)
    assert selection.tool_name == "add"
    assert set(map(type, selection.tool_kwargs.values())) == {int}
    assert response.message.content == ""


def test_a_tool_may_be_forbidden_and_must_be_known(llm: OneGenLLM, model: OneGenModel) -> None:
    asked = [ChatMessage("Whatever.")]
    without: Any = llm.chat(asked).raw
    none: Any = llm.chat_with_tools([ADD], "Whatever.", tool_choice="none").raw
    assert none["prompt"] == without["prompt"], "it is not shown either"
    with pytest.raises(InvalidInputError, match=r"No tool 'divide' to call; .*\(add\)"):
        llm.chat_with_tools([ADD], "Whatever.", tool_choice="divide")


def test_a_tool_is_called_and_its_result_told(llm: OneGenLLM) -> None:
    llm.max_tokens = 200
    seen: list[tuple[int, int]] = []
    tool = FunctionTool.from_defaults(lambda a, b: seen.append((a, b)), name="add", fn_schema=Pair)
    llm.predict_and_call([tool], "Whatever.", tool_required=True)
    asyncio.run(llm.apredict_and_call([tool], "Whatever.", tool_required=True))
    assert len(seen) == 2
    assert seen[0] == seen[1]


class Pair(BaseModel):
    a: int
    b: int


@pytest.mark.filterwarnings("ignore:The `json` method")  # of LlamaIndex
def test_structured_output_is_constrained_on_every_path(llm: OneGenLLM) -> None:
    llm.max_tokens = 200
    structured = llm.as_structured_llm(Town)
    asked = [ChatMessage("Describe a town.")]
    expected = structured.chat(asked).raw
    assert isinstance(expected, Town)
    assert asyncio.run(structured.achat(asked)).raw == expected
    assert llm.structured_predict(Town, PromptTemplate("Describe a town.")) == expected


@pytest.mark.filterwarnings("ignore:The `json` method")  # of LlamaIndex
def test_structured_output_grows_while_it_streams(llm: OneGenLLM) -> None:
    llm.max_tokens = 200
    structured = llm.as_structured_llm(Town)
    asked = [ChatMessage("Describe a town.")]
    streamed: Any = [one.raw for one in structured.stream_chat(asked)]
    whole = Town.model_validate(streamed[-1].model_dump())
    assert streamed[0].model_dump() == {"kind": None, "wheels": None}
    assert {"kind": whole.kind, "wheels": None} in [one.model_dump() for one in streamed]
    again = asyncio.run(last(structured.astream_chat(asked))).raw
    assert again.model_dump() == whole.model_dump()


# Messages.


def test_a_system_prompt_stands_once_however_the_model_is_asked(
    llm: OneGenLLM, model: OneGenModel, recorder: Recorder
) -> None:
    llm.system_prompt = "Speak of mills."
    llm.predict(PromptTemplate("Hello."))
    [messages] = [one.messages for one in recorder.events if hasattr(one, "response")]
    assert [one.role for one in messages] == [MessageRole.SYSTEM, MessageRole.USER]
    prompt = llm.chat(messages).raw["prompt"]  # type: ignore[index]
    llm.system_prompt = None
    assert llm.chat(messages).raw["prompt"] == prompt  # type: ignore[index]


def test_a_turn_with_a_call_is_sent_back_in_its_own_tokens(
    llm: OneGenLLM, script: OneGenModel, positions: Positions
) -> None:
    asked = ChatMessage("Add 2 and 3.")
    first = llm.chat_with_tools([ADD], chat_history=[asked])
    stored = ChatMessage.model_validate_json(first.message.model_dump_json())
    result = ChatMessage("5", role=MessageRole.TOOL)
    positions.count = 0
    second: Any = llm.chat_with_tools([ADD], chat_history=[asked, stored, result])
    assert second.message.content == "It is 5."
    whole = first.raw["prompt"] + first.raw["written"]  # type: ignore[index]
    assert second.raw["reused"] >= whole - 1
    assert positions.count == second.raw["forwarded"]


def test_a_turn_that_was_changed_is_read_as_it_is_now(llm: OneGenLLM, script: OneGenModel) -> None:
    asked = ChatMessage("Add 2 and 3.")
    first = llm.chat_with_tools([ADD], chat_history=[asked])
    lengths = []
    for change in (None, "text", "arguments", "gone"):
        message = first.message.model_copy(deep=True)
        if change == "text":
            message.blocks[0] = TextBlock(text="I add two numbers, with great care.")
        elif change == "arguments":
            message.blocks[1].tool_kwargs = {"a": 2, "b": 33333333}  # type: ignore[union-attr]
        elif change == "gone":
            message.blocks = message.blocks[:1]
        told: Any = llm.chat([asked, message, ChatMessage("Go on.")], max_tokens=1)
        lengths.append(told.raw["prompt"])
    assert len(set(lengths)) == 4


def test_what_is_no_text_is_refused(llm: OneGenLLM) -> None:
    image = ChatMessage(blocks=[TextBlock(text="What is this?"), ImageBlock(url="http://x/y.png")])
    with pytest.raises(InvalidInputError, match="A message with a ImageBlock; expected text"):
        llm.chat([image])
    with pytest.raises(InvalidInputError, match="The question is empty"):
        llm.complete(" ")
    with pytest.raises(InvalidInputError, match="no message of a user"):
        llm.chat([ChatMessage("Be kind.", role=MessageRole.SYSTEM)])


def test_parameters_of_a_call_come_first(llm: OneGenLLM) -> None:
    asked = [ChatMessage("Hello.")]
    assert llm.chat(asked, max_tokens=3).raw["written"] <= 3  # type: ignore[index]
    assert llm.chat(asked, temperature=None, seed=None).message == llm.chat(asked).message
    with pytest.raises(InvalidInputError, match="temperature=-1"):
        llm.chat(asked, temperature=-1)
    warm = OneGenLLM(model=llm.model, temperature=5.0, seed=1, max_tokens=24)
    assert warm.chat(asked).message.content != llm.chat(asked).message.content
    assert warm.chat(asked).message.content == warm.chat(asked).message.content


# What it is made from.


def components(folder: Path) -> list[Any]:
    llm = OneGenLLM(
        model=folder, temperature=0.5, stop=["."], system_prompt="Be kind.", max_tokens=9
    )
    embedding = OneGenEmbedding(model=str(folder), embed_batch_size=3)
    return [llm, embedding, PassageParser(embedding, chunk_size=30)]


def test_components_come_back_from_dictionaries_and_json(folder: Path) -> None:
    for one in components(folder):
        for again in (
            type(one).from_dict(one.to_dict()),
            type(one).from_json(one.to_json()),
        ):
            assert again.to_dict() == one.to_dict()
        assert str(folder) in json.dumps(one.to_dict())


def test_one_load_whatever_is_made_of_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    original = OneGenModel.from_pretrained

    def count(*arguments: Any, **options: Any) -> OneGenModel:
        loads.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(shared.OneGenModel, "from_pretrained", count)
    monkeypatch.setattr(shared, "_models", {})
    own = tmp_path / "copy"
    shutil.copytree(folder, own)
    llm, embedding = OneGenLLM(model=own), OneGenEmbedding(model=str(own))
    assert loads == [], "nothing is loaded before it is needed"
    parser = PassageParser(embedding)
    made: list[Any] = [llm, embedding, parser.embed_model]
    for one in (llm, embedding, parser):
        packed = pickle.dumps(one)
        assert len(packed) < 2000
        for again in (pickle.loads(packed), copy.deepcopy(one), one.model_copy(deep=True)):
            assert again.to_dict() == one.to_dict()
            made.append(again if one is not parser else again.embed_model)
    assert len({id(one.shared.model) for one in made}) == 1
    assert len(loads) == 1
    text = "Alba lies on a river. " * 20
    [unpacked] = [pickle.loads(pickle.dumps(parser))]
    assert unpacked.split_text(text) == parser.split_text(text)


def test_a_loaded_model_works_but_for_pickling(model: OneGenModel) -> None:
    own = OneGenModel.__new__(OneGenModel)
    own.__dict__.update(model.__dict__)
    llm = OneGenLLM(model=own)
    assert llm.shared.model is own
    assert copy.deepcopy(llm).shared.model is own
    with pytest.raises(InvalidInputError, match="cannot be pickled; expected one that a path"):
        pickle.dumps(llm)


def test_metadata_tells_what_the_model_can(llm: OneGenLLM, model: OneGenModel) -> None:
    told = llm.metadata
    assert told.context_window == model.max_context == 4096
    assert told.is_function_calling_model
    assert told.is_chat_model
    assert told.num_output == llm.max_tokens


@pytest.mark.parametrize("way", ["achat", "acomplete", "astream_chat", "apredict"])
def test_the_event_loop_does_not_wait_for_the_model_to_load(
    way: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaders: list[threading.Thread] = []
    original = OneGenModel.from_pretrained

    def load(*arguments: Any, **options: Any) -> OneGenModel:
        loaders.append(threading.current_thread())
        return original(*arguments, **options)

    monkeypatch.setattr(shared.OneGenModel, "from_pretrained", load)
    monkeypatch.setattr(shared, "_models", {})
    llm = OneGenLLM(model=folder, max_tokens=2)

    async def ask() -> None:
        if way == "astream_chat":
            await last(llm.astream_chat([ChatMessage("Hello.")]))
        elif way == "achat":
            await llm.achat([ChatMessage("Hello.")])
        elif way == "acomplete":
            await llm.acomplete("Hello.")
        else:
            await llm.apredict(PromptTemplate("Hello."))

    assert llm.metadata.is_chat_model
    assert loaders == []
    asyncio.run(ask())
    assert len(loaders) == 1
    assert loaders[0] is not threading.main_thread()
    assert llm.metadata.model_dump()["context_window"] == 4096


def test_a_stop_may_be_one_text(llm: OneGenLLM, script: OneGenModel) -> None:
    asked = [ChatMessage("Name a town.")]
    for told in (llm.chat(asked, stop="Brig"), llm.chat(asked, stop=["Brig"])):
        assert told.message.content == "Well: Alba, or "
    assert OneGenLLM(model=llm.model, stop="END").stop == ["END"]  # type: ignore[arg-type]


def test_a_loaded_model_is_written_by_its_name_if_it_has_one(
    folder: Path, model: OneGenModel
) -> None:
    named = OneGenLLM(model=model, max_tokens=9)
    assert named.to_dict()["model"] == str(folder)
    assert OneGenLLM.from_dict(named.to_dict()).shared.model is model
    own = OneGenModel.__new__(OneGenModel)
    own.__dict__.update(model.__dict__)
    with pytest.raises(ValueError, match=r"was handed over loaded, .*; expected a path"):
        OneGenLLM.from_dict(OneGenLLM(model=own).to_dict())


def test_an_answer_that_is_finished_is_not_gone_on_with(
    llm: OneGenLLM, script: OneGenModel
) -> None:
    asked = ChatMessage("Name a town.")
    told = llm.chat([asked]).message
    with pytest.raises(InvalidInputError, match="ends in a finished answer of this model"):
        llm.chat([asked, told])


@pytest.mark.parametrize("prefilled", [False, True])
def test_an_answer_that_is_unfinished_is_gone_on_with(
    prefilled: bool, llm: OneGenLLM, script: OneGenModel
) -> None:
    asked = ChatMessage("Name a town.")
    whole: Any = llm.chat([asked])
    begun = ChatMessage("Well: Al", role="assistant")
    if not prefilled:
        begun = llm.chat([asked], max_tokens=3).message
    rest: Any = llm.chat([asked, begun])
    assert f"{begun.content}{rest.message.content}" == whole.message.content
    replay = rest.message.additional_kwargs["onegen"]
    assert len(replay["segments"]) == 1
    assert llm.chat([asked, rest.message, ChatMessage("5")]).message.content == "It is 5."
