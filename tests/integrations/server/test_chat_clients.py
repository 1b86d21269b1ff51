"""Real clients against a running server: OpenAI's, LangChain's and LlamaIndex's; and one leaves."""

import asyncio
import time
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from onegen_integrations.server import turn_streams
from onegen_integrations.server.answering import AnswerEnded
from onegen_model import OneGenModel, Usage
from tests.integrations.server.chat_bodies import PATH, QUESTION, TURNS, WEATHER, body
from tests.support.script import scripted

KEY = "none"


class Founder(BaseModel):
    name: str


def test_the_openai_client(url: str, model: OneGenModel) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        asked: Any = body()
        with scripted(model, TURNS):
            whole = client.chat.completions.create(**asked)
            with client.chat.completions.stream(
                **asked, stream_options={"include_usage": True}
            ) as stream:
                chunks = [one.chunk for one in stream if one.type == "chunk"]
                summed = stream.get_final_completion()
        message = whole.choices[0].message
        assert message.content == summed.choices[0].message.content == "Ann"
        assert message.annotations
        assert message.annotations[0].url_citation.url == f"{url}/v1/documents/alba"
        (cited,) = summed.choices[0].message.annotations or ()
        assert cited.url_citation.end_index == 3
        assert len(chunks) > 4
        assert summed.usage
        assert summed.usage.prompt_tokens == whole.usage.prompt_tokens  # type: ignore[union-attr]
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**asked, n=0)
    assert caught.value.param == "n"


def test_langchains_client(url: str, model: OneGenModel) -> None:
    chat = ChatOpenAI(base_url=f"{url}/v1", api_key=KEY, model="tiny", max_retries=0)  # type: ignore[arg-type]
    with scripted(model, TURNS):
        assert chat.invoke(QUESTION).content == "Ann"
        assert "".join(str(one.content) for one in chat.stream(QUESTION)) == "Ann"
        (call,) = chat.bind_tools([WEATHER]).invoke("Rain in Alba?").tool_calls
        assert (call["name"], call["args"]) == ("weather", {"town": "Alba"})
    founder = chat.with_structured_output(Founder).invoke(QUESTION)
    assert isinstance(founder, Founder)


def test_llama_indexs_client(url: str, model: OneGenModel) -> None:
    llm = OpenAILike(
        model="tiny", api_base=f"{url}/v1", api_key=KEY, is_chat_model=True, max_retries=0
    )
    messages = [ChatMessage(QUESTION)]
    with scripted(model, TURNS):
        assert llm.chat(messages).message.content == "Ann"
        assert "".join(str(one.delta or "") for one in llm.stream_chat(messages)) == "Ann"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_request(
    url: str, model: OneGenModel, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    submit, handles = model.submit, []

    def keep(*asked: Any, **options: Any) -> Any:
        handles.append(submit(*asked, **options))
        return handles[-1]

    monkeypatch.setattr(model, "submit", keep)
    asked = body("Count!", max_tokens=2000, n=2, stream=stream)
    with scripted(model, {"Count!": "<FINAL-ANSWER>" + "la " * 1900}):
        if stream:
            with httpx.stream("POST", url + PATH, json=asked) as reply:
                assert "data: " in next(reply.iter_text())
        else:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(url + PATH, json=asked, timeout=0.5)
        until = time.monotonic() + 20
        while not all(one.request.state.value == "finished" for one in handles):
            assert time.monotonic() < until
            time.sleep(0.05)
    assert len(handles) == 2
    reasons = [one.stream.events[-1].reason for one in handles]
    assert reasons == ["cancelled", "cancelled"]


def test_a_silent_stream_has_signs_of_life() -> None:
    class Slow:
        def __init__(self) -> None:
            self.left = 1

        def __aiter__(self) -> "Slow":
            return self

        async def __anext__(self) -> AnswerEnded:
            if not self.left:
                raise StopAsyncIteration
            await asyncio.sleep(0.2)
            self.left -= 1
            return AnswerEnded("end", Usage())

        def cancel(self) -> None: ...

        async def aclose(self) -> None: ...

    async def collect() -> list[Any]:
        turns: Any = [Slow()]
        return [found async for found in turn_streams.follow(turns, heartbeat=0.05)]

    *silent, last = asyncio.run(collect())
    assert silent
    assert set(silent) == {None}
    assert last[0] == 0
