"""Real clients of responses against a running server: OpenAI's and LangChain's."""

from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from openai.types.responses import Response, ResponseFileSearchToolCall, ResponseOutputMessage
from pydantic import BaseModel

from onegen_model import OneGenModel
from tests.integrations.server.response_bodies import (
    FOLLOW_UP,
    QUESTION,
    RESULTS,
    SEARCH,
    TURNS,
    WEATHER,
    body,
)
from tests.support.script import scripted

KEY = "none"


class Founder(BaseModel):
    name: str


def test_the_openai_client(url: str, model: OneGenModel) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        asked: Any = body(tools=[SEARCH], include=RESULTS)
        with scripted(model, TURNS):
            whole = client.responses.create(**asked)
            with client.responses.stream(**asked) as stream:
                shown = list(stream)
                final = stream.get_final_response()
            second: Any = body(FOLLOW_UP, tools=[SEARCH], previous_response_id=whole.id)
            later = client.responses.create(**second)
        # The types of the client itself, which it does not check by itself.
        Response.model_validate(whole.model_dump())
        assert whole.output_text == final.output_text == "Ann"
        assert later.output_text == "Ben"
        assert later.usage
        assert whole.usage
        cached = later.usage.input_tokens_details.cached_tokens
        assert cached >= whole.usage.total_tokens - 1
        _, search, _, message = whole.output
        assert isinstance(search, ResponseFileSearchToolCall)
        assert search.results
        assert search.results[0].filename
        assert isinstance(message, ResponseOutputMessage)
        kinds = [one.type for one in message.content[0].annotations]  # type: ignore[union-attr]
        assert kinds == ["file_citation", "url_citation"]
        types = [one.type for one in shown]
        assert types[0] == "response.created"
        assert types[-1] == "response.completed"
        assert "response.file_search_call.searching" in types
        assert "response.output_text.annotation.added" in types
        parsed = client.responses.parse(model="tiny", input=QUESTION, text_format=Founder)
        assert isinstance(parsed.output_parsed, Founder)
        assert client.responses.retrieve(whole.id).output_text == "Ann"
        (item,) = client.responses.input_items.list(whole.id).data
        assert item.type == "message"
        client.responses.delete(whole.id)
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.create(**second)
    assert caught.value.param == "previous_response_id"


def test_langchains_client(url: str, model: OneGenModel) -> None:
    chat = ChatOpenAI(
        base_url=f"{url}/v1",
        api_key=KEY,  # type: ignore[arg-type]
        model="tiny",
        max_retries=0,
        use_responses_api=True,
        output_version="responses/v1",
    )
    searching = chat.bind_tools([SEARCH])
    with scripted(model, TURNS):
        answer = searching.invoke(QUESTION)
        chunks = list(searching.stream(QUESTION))
        (call,) = chat.bind_tools([WEATHER]).invoke("Rain in Alba?").tool_calls
        # A whole history, with the items of this server's own answer.
        again = searching.invoke([("user", QUESTION), answer, ("user", FOLLOW_UP)])
    streamed = sum(chunks[1:], chunks[0])
    for message in (answer, streamed):
        assert message.text == "Ann"
        assert [one["type"] for one in message.content] == [  # type: ignore[index]
            "reasoning",
            "file_search_call",
            "reasoning",
            "text",
        ]
        (text,) = [one for one in message.content if one["type"] == "text"]  # type: ignore[index]
        assert [one["type"] for one in text["annotations"]] == ["file_citation", "url_citation"]  # type: ignore[index]
        assert message.usage_metadata
    assert (call["name"], call["args"]) == ("weather", {"town": "Alba"})
    assert isinstance(again, AIMessage)
    assert again.text == "Ben"
    founder = chat.with_structured_output(Founder).invoke(QUESTION)
    assert isinstance(founder, Founder)
