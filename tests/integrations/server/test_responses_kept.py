"""Responses that are continued, shown and deleted by their ids."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import Serving, create_app
from onegen_integrations.server.errors import NotFoundError
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.responses.keeping import Bounds, KeptResponses
from onegen_integrations.server.responses.kept_response import KeptResponse, owner_of
from onegen_model import Message, OneGenModel, Passage, Segment, ToolCall, render_tool_call
from tests.integrations.server.response_bodies import (
    CALL,
    FOLLOW_UP,
    PATH,
    QUESTION,
    RESULTS,
    SEARCH,
    TURNS,
    WEATHER,
    ask,
    events,
    refused,
    types,
)
from tests.support.script import scripted


def found(response: dict[str, Any]) -> list[str]:
    searches = [one for one in response["output"] if one["type"] == "file_search_call"]
    return [hit["document_id"] for one in searches for hit in one["results"]]


def text(response: dict[str, Any]) -> str:
    return str(response["output"][-1]["content"][0]["text"])


def test_the_next_turn_reads_only_what_is_new(client: TestClient, model: OneGenModel) -> None:
    more: dict[str, Any] = {"tools": [SEARCH], "include": RESULTS, "instructions": "Be brief."}
    with scripted(model, TURNS):
        first = ask(client, **more)
        second = ask(client, FOLLOW_UP, previous_response_id=first["id"], **more)
        third = events(client, QUESTION, previous_response_id=second["id"], **more)[-1]["response"]
    for earlier, later in ((first, second), (second, third)):
        before, usage = earlier["usage"]["total_tokens"], later["usage"]
        new = usage["total_tokens"] - before
        # The last token of a turn is never forwarded in it; the chat template closes the turn.
        assert before - 1 <= usage["input_tokens_details"]["cached_tokens"] <= before
        assert usage["onegen"]["forwarded"] <= new + 1 < before
    assert (found(first), text(first)) == (["alba"], "Ann")
    assert (found(second), text(second)) == (["brig"], "Ben")
    assert found(third) == []  # Both are in the context.
    assert text(third) == "Ann"


def test_a_passage_of_an_earlier_turn_is_not_inserted_again(
    client: TestClient, model: OneGenModel
) -> None:
    with scripted(model, TURNS):
        first = ask(client, tools=[SEARCH], include=RESULTS)
        again = ask(
            client, tools=[SEARCH], include=RESULTS, previous_response_id=first["id"], store=False
        )
        alone = ask(client, tools=[SEARCH], include=RESULTS)
    assert found(first) == found(alone) == ["alba"]
    assert found(again) == ["brig"]


def test_instructions_are_not_carried_over(client: TestClient, model: OneGenModel) -> None:
    read = []
    with scripted(model, TURNS):
        for instructions in (None, "Answer in one word, and in no other way."):
            first = ask(client, instructions=instructions)
            second = ask(client, FOLLOW_UP, previous_response_id=first["id"])
            read.append((first["usage"]["input_tokens"], second["usage"]["input_tokens"]))
    (plain, after_plain), (instructed, after_instructed) = read
    assert plain < instructed
    assert after_plain == after_instructed


def test_a_call_that_was_not_shown_is_not_read_again(
    serve: Callable[..., Serving], model: OneGenModel
) -> None:
    serving = serve()
    other = render_tool_call(ToolCall("weather", {"town": "Brig"}))
    with (
        TestClient(create_app(serving)) as client,
        scripted(model, {QUESTION: CALL + other}),
    ):
        whole = ask(client, tools=[WEATHER], parallel_tool_calls=False)
        both = ask(client, tools=[WEATHER])
        kept, whole_turn = (
            serving.responses.get(one["id"], Caller()).messages[-1].segments[-1]
            for one in (whole, both)
        )
    assert types(whole["output"]) == ["function_call"]
    assert kept.text == CALL
    assert "Brig" in whole_turn.text
    assert whole_turn.ids is not None


def test_a_kept_response_is_shown_listed_and_deleted(
    client: TestClient, model: OneGenModel
) -> None:
    with scripted(model, TURNS):
        first = ask(client, tools=[SEARCH], include=RESULTS)
        second = ask(client, FOLLOW_UP, previous_response_id=first["id"], metadata={"a": "b"})
        plain = ask(client, store=False)
    path = f"{PATH}/{first['id']}"
    assert client.get(path, params={"include[]": RESULTS}).json() == first
    bare = client.get(path).json()
    assert [one.get("results") for one in bare["output"]] == [None] * len(first["output"])
    assert client.get(f"{PATH}/{second['id']}").json()["metadata"] == {"a": "b"}
    items = client.get(f"{PATH}/{second['id']}/input_items", params={"order": "asc"}).json()
    assert types(items["data"]) == ["message", *types(first["output"]), "message"]
    assert items["data"][0]["content"] == [{"type": "input_text", "text": QUESTION}]
    page = client.get(f"{PATH}/{second['id']}/input_items", params={"limit": 1}).json()
    assert (page["data"], page["has_more"]) == (items["data"][-1:], True)
    assert client.post(f"{path}/cancel").json()["error"]["code"] == "not_cancellable"
    assert client.get(path, params={"stream": True}).json()["error"]["param"] == "stream"
    assert client.delete(path).json() == {"id": first["id"], "object": "response", "deleted": True}
    for gone in (first["id"], plain["id"], "resp_0", "..%2F..%2Fserver.lock"):
        assert client.get(f"{PATH}/{gone}").status_code == 404
        assert client.delete(f"{PATH}/{gone}").status_code == 404
    status, param, message = refused(client, previous_response_id=first["id"])
    assert (status, param) == (404, "previous_response_id")
    assert first["id"] in message
    with scripted(model, TURNS):  # What continues it holds all that it needs.
        assert text(ask(client, previous_response_id=second["id"])) == "Ann"


def test_a_response_belongs_to_the_key_that_made_it(keyed: TestClient, model: OneGenModel) -> None:
    acme, other = ({"Authorization": f"Bearer secret-{one}"} for one in ("acme", "all"))
    keyed.headers.update(acme)
    with scripted(model, TURNS):
        made = ask(keyed)
    assert keyed.get(f"{PATH}/{made['id']}").status_code == 200
    keyed.headers.update(other)
    assert refused(keyed, previous_response_id=made["id"])[:2] == (404, "previous_response_id")
    for method in ("get", "delete"):
        assert getattr(keyed, method)(f"{PATH}/{made['id']}").status_code == 404
    assert keyed.get(f"{PATH}/{made['id']}/input_items").status_code == 404


def test_a_response_outlives_the_server(
    serve: Callable[..., Serving], model: OneGenModel, tmp_path: Path
) -> None:
    with TestClient(create_app(serve(storage=tmp_path))) as client, scripted(model, TURNS):
        first = ask(client, tools=[SEARCH], include=RESULTS)
    with TestClient(create_app(serve(storage=tmp_path))) as client, scripted(model, TURNS):
        second = ask(client, FOLLOW_UP, previous_response_id=first["id"], tools=[SEARCH])
    cached = second["usage"]["input_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["total_tokens"] - 1


def test_a_server_without_a_folder_keeps_responses_in_memory(
    serve: Callable[..., Serving], model: OneGenModel
) -> None:
    with TestClient(create_app(serve(storage=None))) as client, scripted(model, TURNS):
        first = ask(client, tools=[SEARCH])
        assert client.get(f"{PATH}/{first['id']}").json() == first
        assert refused(client, tools=[{**SEARCH, "vector_store_ids": ["vs_0"]}])[:2] == (
            404,
            "tools.0.vector_store_ids",
        )


MESSAGES = (
    Message("user", "Who?"),
    Message(
        "assistant",
        segments=(
            Segment("Founder", True, (Passage("alba", "Ann", "Alba", {"year": 1901}),), (1, 2)),
            Segment("Ann"),
        ),
    ),
)


def kept(number: int, content: str = "") -> KeptResponse:
    body = {"id": f"resp_{number:032x}", "output": [], "content": content}
    return KeptResponse(owner_of(Caller("acme", {"tenant": "acme"})), body, [], MESSAGES)


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_kept_is_bounded(tmp_path: Path, on_disk: bool) -> None:
    owner, folder = Caller("acme", {"tenant": "acme"}), tmp_path if on_disk else None
    size = len(kept(0).dump())
    responses = KeptResponses(folder, Bounds(most=3, max_size=2 * size, max_total=3 * size + 1))
    for number in range(5):
        assert responses.add(kept(number))
    assert not responses.add(kept(5, "long" * size))
    for number in (2, 3, 4):
        assert responses.get(kept(number).id, owner) == kept(number)
    for number in (0, 1, 5):
        with pytest.raises(NotFoundError):
            responses.get(kept(number).id, owner)
    assert responses.add(kept(6, "x" * (size // 2)))  # It takes the room of two.
    with pytest.raises(NotFoundError):
        responses.get(kept(3).id, owner)
    with pytest.raises(NotFoundError):
        responses.get(kept(4).id, replace(owner, scope=None))
    if on_disk:
        assert len(list(tmp_path.iterdir())) == 2


def test_old_responses_are_forgotten(tmp_path: Path) -> None:
    owner = Caller("acme", {"tenant": "acme"})
    responses = KeptResponses(tmp_path)
    for number in range(3):
        responses.add(kept(number))
    (tmp_path / ".0.staged").write_text("cut")
    old = time.time() - 2 * Bounds().max_age
    os.utime(tmp_path / f"{kept(1).id}.json", (old, old))
    again = KeptResponses(tmp_path, Bounds(max_age=Bounds().max_age))
    assert {one.stem for one in tmp_path.iterdir()} == {kept(0).id, kept(2).id}
    assert again.get(kept(2).id, owner).messages == MESSAGES
    hasty = KeptResponses(tmp_path, Bounds(max_age=0.05))
    time.sleep(0.1)
    with pytest.raises(NotFoundError):
        hasty.get(kept(2).id, owner)
