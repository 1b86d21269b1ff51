"""Responses: the items of the output, the events of a stream, and tools."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import Serving, create_app
from onegen_model import OneGenModel, PassageIndex, SamplingParams
from onegen_model.errors import RetrievalError
from tests.integrations.server.response_bodies import (
    CALL,
    FOLLOW_UP,
    QUESTION,
    RESULTS,
    SEARCH,
    TURNS,
    WEATHER,
    ask,
    events,
    types,
)
from tests.support.script import scripted


def test_a_response_has_its_reasoning_its_searches_and_its_cited_answer(
    client: TestClient, model: OneGenModel
) -> None:
    with scripted(model, TURNS):
        whole = ask(client, tools=[SEARCH], include=RESULTS, metadata={"a": "b"})
    assert (whole["object"], whole["status"], whole["model"]) == ("response", "completed", "tiny")
    assert (whole["metadata"], whole["tools"]) == ({"a": "b"}, [SEARCH])
    steps, search, more, message = whole["output"]
    assert types(whole["output"]) == ["reasoning", "file_search_call", "reasoning", "message"]
    assert steps["summary"] == [{"type": "summary_text", "text": "Founder of Alba"}]
    assert more["summary"][0]["text"] == "Ann did."
    assert (search["queries"], search["status"]) == (["Founder of Alba"], "completed")
    (found,) = search["results"]
    assert set(found["attributes"]) == {"tenant", "year"}
    (part,) = message["content"]
    assert (part["text"], message["status"]) == ("Ann", "completed")
    file, address = part["annotations"]
    assert (file["type"], file["file_id"], file["index"]) == ("file_citation", found["file_id"], 3)
    assert file["filename"] == found["filename"]
    assert (address["type"], address["start_index"], address["end_index"]) == ("url_citation", 0, 3)
    assert address["url"] == found["url"]
    assert client.get(address["url"]).status_code == 200
    usage = whole["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"]["retrieved_tokens"] > 0
    assert 0 < usage["output_tokens_details"]["reasoning_tokens"] < usage["output_tokens"]


def test_a_stream_builds_up_the_response(client: TestClient, model: OneGenModel) -> None:
    with scripted(model, TURNS):
        whole = ask(client, tools=[SEARCH])
        shown = events(client, tools=[SEARCH])
    names = [one["type"].removeprefix("response.") for one in shown]
    assert names[:3] == ["created", "in_progress", "output_item.added"]
    assert names[-4:] == [
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    searching = [name for name in names if name.startswith("file_search_call")]
    assert searching == [
        f"file_search_call.{one}" for one in ("in_progress", "searching", "completed")
    ]
    assert names.index("output_text.annotation.added") > names.index("output_text.delta")
    done = [one["item"] for one in shown if one["type"] == "response.output_item.done"]
    last = shown[-1]["response"]
    assert last["output"] == done
    assert done[1]["results"] is None
    deltas = [one["delta"] for one in shown if one["type"] == "response.output_text.delta"]
    assert "".join(deltas) == done[-1]["content"][0]["text"] == "Ann"
    added = [one["annotation"] for one in shown if "annotation" in one]
    assert added == done[-1]["content"][0]["annotations"]
    assert types(added) == types(whole["output"][-1]["content"][0]["annotations"])
    steps = [one["delta"] for one in shown if one["type"].endswith("summary_text.delta")]
    assert "".join(steps) == "Founder of AlbaAnn did."
    assert shown[0]["response"]["status"] == "in_progress"
    assert shown[0]["response"]["id"] == last["id"]
    for name in ("input_tokens", "output_tokens"):
        assert last["usage"][name] == whole["usage"][name]


def test_nothing_is_searched_without_the_tool(client: TestClient, model: OneGenModel) -> None:
    with scripted(model, TURNS):
        for more in ({}, {"tools": [SEARCH], "tool_choice": "none"}):
            whole = ask(client, **more)
            assert whole["usage"]["onegen"]["retrievals"] == 0
            assert whole["output"][-1]["content"][0] == {
                "type": "output_text",
                "text": "Ann",
                "annotations": [],
                "logprobs": [],
            }


@pytest.mark.parametrize("choice", [{"type": "file_search"}, "required"])
def test_a_search_can_be_required(client: TestClient, model: OneGenModel, choice: Any) -> None:
    with scripted(model, {QUESTION: "<FINAL-ANSWER>Ann</FINAL-ANSWER>"}):
        whole = ask(client, tools=[SEARCH, WEATHER], tool_choice=choice)
    assert types(whole["output"]) == ["file_search_call", "message"]
    assert whole["output"][0]["queries"] == [QUESTION]


def test_the_tool_says_how_and_where_to_search(client: TestClient, model: OneGenModel) -> None:
    def found(**more: Any) -> list[str]:
        with scripted(model, TURNS):
            whole = ask(client, tools=[{**SEARCH, **more}], include=RESULTS)
        (search,) = [one for one in whole["output"] if one["type"] == "file_search_call"]
        return sorted(one["document_id"] for one in search["results"])

    old = {"type": "lt", "key": "year", "value": 1910}
    assert found(max_num_results=2) == ["alba", "brig"]
    assert found(max_num_results=2, filters=old) == ["alba"]
    assert found(max_num_results=2, filters={"type": "and", "filters": [old]}) == ["alba"]
    assert found(ranking_options={"score_threshold": 1.0, "ranker": "auto"}) == []


def test_a_key_finds_what_lies_in_its_scope(keyed: TestClient, model: OneGenModel) -> None:
    keyed.headers["Authorization"] = "Bearer secret-acme"
    with scripted(model, TURNS):
        whole = ask(keyed, tools=[{**SEARCH, "max_num_results": 9}], include=RESULTS)
    results = next(one for one in whole["output"] if one["type"] == "file_search_call")["results"]
    assert [one["attributes"]["tenant"] for one in results] == ["acme"]


def test_a_function_is_called_and_its_output_is_read(
    client: TestClient, model: OneGenModel
) -> None:
    with scripted(model, TURNS):
        whole = ask(client, "Rain in Alba?", tools=[WEATHER])
        shown = events(client, "Rain in Alba?", tools=[WEATHER])
        (call,) = whole["output"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "It rains."}
        asked = {"role": "user", "content": "Rain in Alba?"}
        again = ask(client, [asked, call, output], tools=[WEATHER])
        later = ask(client, [output], tools=[WEATHER], previous_response_id=whole["id"])
    assert (call["type"], call["name"], call["arguments"]) == (
        "function_call",
        "weather",
        '{"town": "Alba"}',
    )
    names = [one["type"].removeprefix("response.") for one in shown]
    assert names[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    for answer in (again, later):
        assert answer["output"][-1]["content"][0]["text"] == "Rain"


def test_a_call_of_one_function_can_be_forced(client: TestClient) -> None:
    snow = {**WEATHER, "name": "snow"}
    named = {"type": "function", "name": "weather"}
    for choice in (named, {"type": "allowed_tools", "mode": "required", "tools": [named]}):
        whole = ask(client, tools=[snow, WEATHER, SEARCH], tool_choice=choice)
        assert [one["name"] for one in whole["output"]] == ["weather"]


def test_structured_output(client: TestClient, model: OneGenModel) -> None:
    schema = {"type": "object", "properties": {"name": {"enum": ["Ann"]}}, "required": ["name"]}
    wanted = {"format": {"type": "json_schema", "name": "founder", "schema": schema}}
    with scripted(model, TURNS):
        whole = ask(client, text=wanted, tools=[SEARCH])
    assert whole["output"][-1]["content"][0]["text"] == '{"name": "Ann"}'
    assert "file_search_call" in types(whole["output"])
    assert whole["text"] == wanted


def test_a_response_at_its_limit_is_incomplete(client: TestClient, model: OneGenModel) -> None:
    with scripted(model, TURNS):
        whole = ask(client, "Count!", max_output_tokens=20)
        shown = events(client, "Count!", max_output_tokens=20)
    assert whole["status"] == whole["output"][-1]["status"] == "incomplete"
    assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
    assert whole["usage"]["output_tokens"] == 20
    assert shown[-1]["type"] == "response.incomplete"


def test_what_follows_the_answer_follows_the_message(
    client: TestClient, model: OneGenModel
) -> None:
    written = f"<FINAL-ANSWER>Ann</FINAL-ANSWER> So it is.\n{CALL}"
    with scripted(model, {QUESTION: written}):
        shown = events(client, tools=[WEATHER])
    done = [one["item"] for one in shown if one["type"] == "response.output_item.done"]
    assert types(done) == ["message", "reasoning", "function_call"]
    assert shown[-1]["response"]["output"] == done


def test_an_error_ends_the_stream_as_a_failed_response(
    client: TestClient, model: OneGenModel, index: PassageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RetrievalError("The store is away; expected it there; try again")

    monkeypatch.setattr(PassageIndex, "retrieve", fail)
    with scripted(model, TURNS):
        *_, error, failed = events(client, tools=[SEARCH])
        reply = client.post("/v1/responses", json={"input": QUESTION, "tools": [SEARCH]})
    assert (error["type"], error["code"]) == ("error", "retrieval_failed")
    assert "is away" in error["message"]
    response = failed["response"]
    assert (failed["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"]["code"] == "server_error"
    assert reply.status_code == 502
    assert client.get(f"/v1/responses/{response['id']}").status_code == 404


def test_the_operator_chooses_what_a_request_leaves_open(
    serve: Callable[..., Serving], model: OneGenModel
) -> None:
    serving = serve(sampling=SamplingParams(max_new_tokens=5))
    with TestClient(create_app(serving)) as client, scripted(model, TURNS):
        assert ask(client, "Count!")["usage"]["output_tokens"] == 5
        assert ask(client, FOLLOW_UP, max_output_tokens=40)["status"] == "completed"
