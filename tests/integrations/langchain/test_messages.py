"""Messages sent back: what the model wrote is read from the cache, what was edited is read anew."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumps, loads
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_chunk_to_message,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from onegen_integrations.langchain import OneGenChatModel
from onegen_integrations.langchain.messages import to_conversation
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from onegen_model.transcript.conversation import conversation_ids
from tests.support.script import scripted

QUESTION = "Which town is older?"
NEXT = "And Brig?"
TURNS = {
    QUESTION: "Who founded Alba?[RQ]Ann did.\nWho founded Brig?[RQ]Bob did.\n"
    "<FINAL-ANSWER> founded by Ann </FINAL-ANSWER>",
    NEXT: "Bob, of course.\n<FINAL-ANSWER>Bob</FINAL-ANSWER>",
}


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=200)


def prompt(model: OneGenModel, *messages: BaseMessage, tools: Any = ()) -> str:
    """What the model reads."""
    conversation = to_conversation(messages, model.template, tools)
    return str(model.renderer.tokenizer.decode(conversation_ids(model.renderer, conversation)))


def through_dict(message: BaseMessage) -> BaseMessage:
    return messages_from_dict(json.loads(json.dumps(messages_to_dict([message]))))[0]


def through_langgraph(message: BaseMessage) -> BaseMessage:
    serializer = JsonPlusSerializer()
    read: BaseMessage = serializer.loads_typed(serializer.dumps_typed(message))
    return read


WAYS: dict[str, Callable[[Any], BaseMessage]] = {
    "as it is": lambda message: message,
    "messages_to_dict": through_dict,
    "langgraph": through_langgraph,
    "dumps": lambda message: loads(dumps(message)),
    "pydantic": lambda message: AIMessage.model_validate_json(message.model_dump_json()),
}


def by_stream(chat: OneGenChatModel) -> BaseMessage:
    first, *others = chat.stream(QUESTION)
    return sum(others, first)


def by_events(chat: OneGenChatModel) -> BaseMessage:
    stream = chat.stream_events(QUESTION, version="v3")
    list(stream)
    reply: BaseMessage = stream.output
    return reply


ASKED: dict[str, Callable[[OneGenChatModel], BaseMessage]] = {
    "invoke": lambda chat: chat.invoke(QUESTION),
    "stream": by_stream,
    "chunk to message": lambda chat: message_chunk_to_message(by_stream(chat)),  # type: ignore[arg-type]
    "events v3": by_events,
    "v1": lambda chat: chat.model_copy(update={"output_version": "v1"}).invoke(QUESTION),
}


def check_is_replayed(chat: OneGenChatModel, first: Any, again: BaseMessage) -> None:
    second = chat.invoke([HumanMessage(QUESTION), again, HumanMessage(NEXT)])
    read_before = first.usage_metadata["total_tokens"]
    usage: Any = second.usage_metadata
    assert usage["input_token_details"]["cache_read"] >= read_before - 1
    assert second.text.endswith("Bob")


@pytest.mark.parametrize("way", WAYS)
def test_a_turn_sent_back_is_not_read_again(way: str, chat: OneGenChatModel) -> None:
    first = chat.invoke(QUESTION)
    check_is_replayed(chat, first, WAYS[way](first))


@pytest.mark.parametrize("asked", ASKED)
def test_however_it_was_asked_for(asked: str, chat: OneGenChatModel) -> None:
    first = ASKED[asked](chat)
    check_is_replayed(chat, first, first)
    check_is_replayed(chat, first, through_dict(first))


@pytest.mark.parametrize("asked", ASKED)
def test_a_string_is_replayed_too(asked: str, chat: OneGenChatModel) -> None:
    chat.vectorstore = None
    first = ASKED[asked](chat)
    assert "[RQ]" not in first.text
    check_is_replayed(chat, first, through_dict(first))


def test_an_unframed_answer_is_replayed_too(
    wide_folder: Path, tiny: OneGenModel, store: InMemoryVectorStore
) -> None:
    chat = OneGenChatModel(model=wide_folder, vectorstore=store, k=1)
    with scripted(tiny, {QUESTION: "Who was it?[RQ] It was Ann. ", NEXT: "Bob"}):
        check_is_replayed(chat, first := chat.invoke(QUESTION), first)


def edit(message: AIMessage, kind: str, **values: Any) -> AIMessage:
    """The last block of a kind, changed."""
    blocks: list[Any] = json.loads(json.dumps(message.content))
    last = next(block for block in reversed(blocks) if block["type"] == kind)
    last.update(values)
    return message.model_copy(update={"content": blocks})


def test_a_turn_is_read_as_it_was_written(chat: OneGenChatModel, model: OneGenModel) -> None:
    read = prompt(model, HumanMessage(QUESTION), chat.invoke(QUESTION), HumanMessage(NEXT))
    assert (
        "<|im_start|>assistant\n"
        "Who founded Alba?[RQ]<paragraph>Alba\nIt was founded by Ann.</paragraph>"
        "Ann did.\nWho founded Brig?[RQ]<paragraph>Brig\nBob founded it.</paragraph>"
        "Bob did.\n<FINAL-ANSWER> founded by Ann </FINAL-ANSWER><|im_end|>" in swapped(read)
    )


def swapped(read: str) -> str:
    """A random model may find Brig first; what it finds is not the point."""
    alba, brig = ("Alba\nIt was founded by Ann.", "Brig\nBob founded it.")
    if read.find(alba) > read.find(brig):
        read = read.replace(alba, "\0").replace(brig, alba).replace("\0", brig)
    return read


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("text", {"text": "founded by Eve"}, "<FINAL-ANSWER> founded by Eve</FINAL-ANSWER>"),
        ("reasoning", {"reasoning": "Nobody did.\n"}, "</paragraph>Nobody did.\n<FINAL-ANSWER>"),
        (
            "server_tool_result",
            {"output": [{"id": "x", "page_content": "New [RQ].", "metadata": {}}]},
            "[RQ]<paragraph>New [RQ].</paragraph>Bob did.",
        ),
        ("server_tool_result", {"output": []}, "[RQ]<paragraph></paragraph>Bob did."),
        ("server_tool_result", {"output": "gone"}, "[RQ]<paragraph></paragraph>Bob did."),
    ],
)
def test_an_edited_message_is_read_as_edited(
    kind: str, values: Any, expected: str, chat: OneGenChatModel, model: OneGenModel
) -> None:
    edited = edit(chat.invoke(QUESTION), kind, **values)
    read = prompt(model, HumanMessage(QUESTION), edited, HumanMessage(NEXT))
    assert expected in read
    assert "Who founded Alba?[RQ]<paragraph>" in read, "and the rest as it was"
    query = model.renderer.query_id
    conversation = to_conversation([HumanMessage(QUESTION), edited], model.template)
    assert conversation_ids(model.renderer, conversation).count(query) == 2, "text is only text"
    assert chat.invoke([HumanMessage(QUESTION), edited, HumanMessage(NEXT)]).text == "Bob"


def test_blocks_without_their_record_are_rendered(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    message = chat.invoke(QUESTION)
    bare = AIMessage(message.content)
    expected = prompt(model, HumanMessage(QUESTION), message).replace("Ann </", "Ann</")
    assert prompt(model, HumanMessage(QUESTION), bare) == expected


def test_turns_of_others_are_text(model: OneGenModel) -> None:
    anthropic = AIMessage(
        [{"type": "reasoning", "reasoning": "Hm. "}, {"type": "text", "text": "It is Alba."}]
    )
    for reply, expected in ((AIMessage("It is Alba."), ""), (anthropic, "Hm. ")):
        read = prompt(model, HumanMessage(QUESTION), reply, HumanMessage(NEXT))
        assert f"<|im_start|>assistant\n{expected}It is Alba.<|im_end|>" in read


def test_roles_calls_and_results_find_their_place(model: OneGenModel) -> None:
    call = {"name": "add", "args": {"a": 1}, "id": "1"}
    broken = {"name": None, "args": "<tool_call>\n{oops", "id": "2", "error": None}
    read = prompt(
        model,
        SystemMessage("Be brief."),
        SystemMessage([{"type": "text", "text": "Be kind."}]),
        HumanMessage(["One ", {"type": "text", "text": "and one?"}]),
        AIMessage("", tool_calls=[call], invalid_tool_calls=[broken]),
        ToolMessage("2", tool_call_id="1"),
        ToolMessage("no number", tool_call_id="2", status="error"),
        ChatMessage(role="assistant", content="Two."),
        ChatMessage(role="user", content="Sure?"),
    )
    places = [
        *("Be brief.\n\nBe kind.", "user\nOne and one?"),
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>\n{oops',
        *("2", "Error: no number", "assistant\nTwo.", "user\nSure?"),
    ]
    found = [read.find(place) for place in places]
    assert -1 not in found
    assert found == sorted(found)


def test_a_message_of_no_known_role_is_one_error(model: OneGenModel) -> None:
    for message in (FunctionMessage("2", name="add"), ChatMessage(role="judge", content="no")):
        with pytest.raises(InvalidInputError, match="expected system, human, ai or tool"):
            prompt(model, HumanMessage(QUESTION), message)


def test_an_edited_string_is_not_framed_where_its_answer_was(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    chat.vectorstore = None
    first = chat.invoke(QUESTION)
    assert "<FINAL-ANSWER> founded" in prompt(model, HumanMessage(QUESTION), first)
    edited = first.model_copy(update={"content": f"Well. {first.content} Or not."})
    read = prompt(model, HumanMessage(QUESTION), edited, HumanMessage(NEXT))
    assert f"assistant\n{edited.content}<|im_end|>" in read


@pytest.mark.parametrize("searches", [True, False])
def test_an_answer_that_starts_in_its_frame_ends_in_it(
    searches: bool, wide_folder: Path, tiny: OneGenModel, store: InMemoryVectorStore
) -> None:
    chat = OneGenChatModel(model=wide_folder, vectorstore=store if searches else None)
    begun = AIMessage("Bob, of course.\n<FINAL-ANSWER> Bo")
    with scripted(tiny, {NEXT: "Bob, of course.\n<FINAL-ANSWER> Bob it was</FINAL-ANSWER>"}):
        assert chat.invoke([HumanMessage(NEXT), begun]).text == "b it was"


def test_a_complete_answer_is_not_continued(chat: OneGenChatModel) -> None:
    plain = chat.model_copy(update={"vectorstore": None})
    for one in (chat, plain):
        with pytest.raises(
            InvalidInputError, match=r"answer that is complete.*add a human message"
        ):
            one.invoke([HumanMessage(QUESTION), one.invoke(QUESTION)])
