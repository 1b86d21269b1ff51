"""One turn of a model: its pieces, its second request, and what closing it leaves."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from onegen_integrations.server.answering import (
    AnswerEnded,
    AnswerPiece,
    CitedSpan,
    ReasoningPiece,
    SearchEnded,
    TextPiece,
)
from onegen_integrations.server.turns import Turn, TurnRequest
from onegen_model import (
    Conversation,
    Grammar,
    OneGenModel,
    PassageIndex,
    RetrievalParams,
    SamplingParams,
    ToolCall,
    render_tool_call,
)
from onegen_model.errors import InvalidInputError
from tests.support.script import QUERY, scripted

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"town": {"enum": ["Alba", "Brig"]}}},
    },
}
CALL = render_tool_call(ToolCall("weather", {"town": "Alba"}))
ASKED = [{"role": "user", "content": "Who founded Alba?"}]
CALLED = [
    *ASKED,
    {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "weather", "arguments": '{"town": "Alba"}'}}],
    },
    {"role": "tool", "content": "Rain."},
]


def pieces_of(model: OneGenModel, messages: Any, **request: Any) -> list[AnswerPiece]:
    async def collect() -> list[AnswerPiece]:
        conversation = Conversation.from_messages(messages)
        async with aclosing(await Turn.begin(model, TurnRequest(conversation, **request))) as turn:
            return [piece async for piece in turn]

    return asyncio.run(collect())


def text_of(pieces: list[AnswerPiece], kind: type[TextPiece | ReasoningPiece] = TextPiece) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, kind))


def test_an_answer_has_its_steps_its_text_and_its_sources(
    model: OneGenModel, index: PassageIndex
) -> None:
    answer = f"Founder of Alba{QUERY}Ann.\n<FINAL-ANSWER>Ann</FINAL-ANSWER>"
    with scripted(model, {"Who founded Alba?": answer}):
        pieces = pieces_of(
            model, ASKED, retriever=index, retrieval=RetrievalParams(top_k=1), tools=[WEATHER]
        )
    assert text_of(pieces) == "Ann"
    assert text_of(pieces, ReasoningPiece).split() == ["Founder", "of", "AlbaAnn."]
    assert [len(one.passages) for one in pieces if isinstance(one, SearchEnded)] == [1]
    assert [one.end for one in pieces if isinstance(one, CitedSpan)] == [3]
    assert isinstance(pieces[-1], AnswerEnded)
    assert pieces[-1].reason == "end"


def test_structured_output_is_written_after_the_searches(
    model: OneGenModel, index: PassageIndex
) -> None:
    schema = {"type": "object", "properties": {"name": {"enum": ["Ann"]}}, "required": ["name"]}
    answer = f"Founder of Alba{QUERY}Ann.\n<FINAL-ANSWER>Ann</FINAL-ANSWER>"
    with scripted(model, {"Who founded Alba?": answer}):
        pieces = pieces_of(
            model,
            ASKED,
            retriever=index,
            retrieval=RetrievalParams(top_k=1),
            response=Grammar.json_schema(schema),
        )
    assert text_of(pieces) == '{"name": "Ann"}'
    assert "Ann." in text_of(pieces, ReasoningPiece)
    assert [one.end for one in pieces if isinstance(one, CitedSpan)] == [15]
    ended = pieces[-1]
    assert isinstance(ended, AnswerEnded)
    assert ended.usage.retrievals == 1
    assert ended.usage.inserted > 0


def test_a_repeated_call_is_dropped_and_the_model_answers(model: OneGenModel) -> None:
    with scripted(model, {"Rain.": [CALL, "<FINAL-ANSWER>Rain</FINAL-ANSWER>"]}):
        pieces = pieces_of(model, CALLED, tools=[WEATHER])
    assert not [one for one in pieces if isinstance(one, ToolCall)]
    assert text_of(pieces) == "Rain"


def test_a_call_ends_the_turn_before_structured_output(model: OneGenModel) -> None:
    with scripted(model, {"Who founded Alba?": CALL}):
        pieces = pieces_of(model, ASKED, tools=[WEATHER], response=Grammar.json_object())
    assert [one for one in pieces if isinstance(one, ToolCall)] == [
        ToolCall("weather", {"town": "Alba"})
    ]
    assert text_of(pieces) == ""


def test_a_forced_call_is_made_without_a_search(model: OneGenModel, index: PassageIndex) -> None:
    pieces = pieces_of(
        model, ASKED, retriever=index, tools=[WEATHER], tool_choice="required", response=None
    )
    (call,) = [one for one in pieces if isinstance(one, ToolCall)]
    assert call.name == "weather"
    assert not [one for one in pieces if isinstance(one, SearchEnded)]


def test_one_call_is_kept_where_calls_may_not_be_parallel(model: OneGenModel) -> None:
    other = render_tool_call(ToolCall("weather", {"town": "Brig"}))
    with scripted(model, {"Who founded Alba?": CALL + other}):
        pieces = pieces_of(model, ASKED, tools=[WEATHER], parallel_tool_calls=False)
    assert len([one for one in pieces if isinstance(one, ToolCall)]) == 1


def test_an_unknown_tool_is_refused(model: OneGenModel) -> None:
    with pytest.raises(InvalidInputError, match="No tool 'snow'"):
        pieces_of(model, ASKED, tools=[WEATHER], tool_choice={"function": {"name": "snow"}})


def test_closing_a_turn_cancels_its_request(model: OneGenModel) -> None:
    async def leave() -> Turn:
        sampling = SamplingParams(max_new_tokens=2000)
        request = TurnRequest(Conversation.from_messages(ASKED), sampling=sampling)
        turn = await Turn.begin(model, request)
        async with aclosing(turn):
            await anext(turn)
        return turn

    turn = asyncio.run(leave())
    with pytest.raises(StopAsyncIteration):
        asyncio.run(anext(turn))
    request = turn._handle.request
    assert request.usage.written < 100
