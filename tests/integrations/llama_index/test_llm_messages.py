"""OneGenLLM: the messages that it reads, an unfinished turn included."""

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock

from onegen_integrations.llama_index import OneGenLLM
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.integrations.llama_index.conftest import Positions, Recorder
from tests.integrations.llama_index.scripted_turns import ADD, TURNS
from tests.support.script import scripted


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 200
    with scripted(model, TURNS):
        yield model


def test_a_system_prompt_is_read_once_by_every_method(
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


def test_a_changed_turn_is_read_again(llm: OneGenLLM, script: OneGenModel) -> None:
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
        reply: Any = llm.chat([asked, message, ChatMessage("Go on.")], max_tokens=1)
        lengths.append(reply.raw["prompt"])
    assert len(set(lengths)) == 4


def test_anything_but_text_is_refused(llm: OneGenLLM) -> None:
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


def test_a_stop_may_be_one_text(llm: OneGenLLM, script: OneGenModel) -> None:
    asked = [ChatMessage("Name a town.")]
    for reply in (llm.chat(asked, stop="Brig"), llm.chat(asked, stop=["Brig"])):
        assert reply.message.content == "Well: Alba, or "
    assert OneGenLLM(model=llm.model, stop="END").stop == ["END"]  # type: ignore[arg-type]


def test_a_finished_answer_is_not_continued(llm: OneGenLLM, script: OneGenModel) -> None:
    asked = ChatMessage("Name a town.")
    reply = llm.chat([asked]).message
    with pytest.raises(InvalidInputError, match="ends in a finished answer of this model"):
        llm.chat([asked, reply])


@pytest.mark.parametrize("prefilled", [False, True])
def test_an_unfinished_answer_is_continued(
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


@pytest.mark.parametrize("segments", [[{}], None, ["I add."]])
def test_a_stored_turn_that_a_user_has_changed_is_named(
    segments: Any, llm: OneGenLLM, script: OneGenModel
) -> None:
    asked = ChatMessage("Add 2 and 3.")
    first = llm.chat([asked]).message
    first.additional_kwargs["onegen"]["segments"] = segments
    with pytest.raises(InvalidInputError, match="of a message was changed"):
        llm.chat([asked, first, ChatMessage("And 3 and 4?")])
