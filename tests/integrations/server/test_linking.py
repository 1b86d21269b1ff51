"""`/v1/link` finds what `model.link` finds, within the scope of the caller."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import ApiKey, ServerSettings, Serving, create_app
from onegen_model import LinkingParams, OneGenModel, PassageIndex
from tests.support.linking_model import TEXT, entity_index, linking_model

PEOPLE = ApiKey("secret-people", "people", {"kind": "person"})
HEADERS = {"x-api-key": "secret-people"}


@pytest.fixture(scope="module")
def linker() -> OneGenModel:
    return linking_model()


@pytest.fixture(scope="module")
def entities(linker: OneGenModel) -> PassageIndex:
    return entity_index(linker)


@pytest.fixture(scope="module")
def linking(linker: OneGenModel, entities: PassageIndex) -> Iterator[TestClient]:
    serving = Serving({"linker": linker}, entities=entities)
    with TestClient(create_app(serving), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def scoped(linker: OneGenModel, entities: PassageIndex) -> Iterator[TestClient]:
    settings = ServerSettings(keys=(PEOPLE,))
    serving = Serving({"linker": linker}, entities=entities, settings=settings)
    with TestClient(create_app(serving), headers=HEADERS) as client:
        yield client


def places(mentions: Any) -> list[Any]:
    return [
        (one["start"], one["end"], [hit["id"] for hit in one["candidates"]]) for one in mentions
    ]


def test_mentions_are_those_of_the_model(
    linking: TestClient, linker: OneGenModel, entities: PassageIndex
) -> None:
    params = LinkingParams(num_candidates=2, mention_threshold=0.4)
    own = linker.link(TEXT, entities=entities, linking=params)
    assert own.mentions
    chosen = {"num_candidates": 2, "mention_threshold": 0.4}
    reply = linking.post("/v1/link", json={"text": TEXT, **chosen}).json()
    assert (reply["text"], reply["object"]) == (TEXT, "linked_text")
    assert places(reply["mentions"]) == [
        (one.start, one.end, [hit.passage.id for hit in one.candidates]) for one in own.mentions
    ]
    first, expected = reply["mentions"][0], own.mentions[0]
    assert expected.entity is not None
    assert first["surface"] == TEXT[first["start"] : first["end"]]
    assert first["entity"]["id"] == expected.entity.passage.id
    assert first["entity"]["score"] == pytest.approx(first["score"])
    assert reply["usage"]["forwarded"] == own.usage.forwarded

    many = linking.post("/v1/link", json={"texts": [TEXT, "Nothing."], **chosen}).json()
    assert places(many["data"][0]["mentions"]) == places(reply["mentions"])
    assert many["data"][1]["text"] == "Nothing."

    stream = linking.post("/v1/link", json={"text": TEXT, "stream": True, **chosen})
    lines = [line.removeprefix("data: ") for line in stream.text.splitlines() if line]
    *events, completed = map(json.loads, lines[:-1])
    assert (lines[-1], completed["type"]) == ("[DONE]", "completed")
    assert {one["type"] for one in events} == {"mention"}
    assert places(events) == places(reply["mentions"])


def test_given_mentions_are_linked_among_their_candidates(linking: TestClient) -> None:
    body: dict[str, Any] = {"text": TEXT, "mentions": [[0, 12], [23, 34]]}
    body["candidates"] = [["Q3", "Q4"], ["Q1"]]
    mentions = linking.post("/v1/link", json=body).json()["mentions"]
    assert [one["surface"] for one in mentions] == ["Ada Lovelace", "Mount Kenya"]
    assert {hit["id"] for hit in mentions[0]["candidates"]} == {"Q3", "Q4"}
    assert mentions[1]["entity"]["name"] == "Mount Kenya"
    assert mentions[1]["entity"]["description"] == "mountain in Kenya"
    body["nil_threshold"] = 2
    assert linking.post("/v1/link", json=body).json()["mentions"][1]["entity"] is None
    body["name_weight"] = 4
    assert linking.post("/v1/link", json=body).json()["mentions"][1]["score"] > 3


@pytest.mark.parametrize("among", [None, ["Q1", "Q3"], [["Q1", "Q3"]]])
def test_a_key_links_within_its_scope(among: Any, scoped: TestClient) -> None:
    body = {"text": TEXT, "mentions": [[23, 34]], "candidates": among}
    (mention,) = scoped.post("/v1/link", json=body).json()["mentions"]
    found = {hit["id"] for hit in mention["candidates"]}
    assert found == ({"Q3"} if among else {"Q3", "Q4"})
    outside = {**body, "filter": {"kind": "place"}}
    (mention,) = scoped.post("/v1/link", json=outside).json()["mentions"]
    assert (mention["entity"], mention["candidates"]) == (None, [])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "text"),
        ({"text": "a", "texts": ["b"]}, "text"),
        ({"texts": ["a"], "stream": True}, "stream"),
        ({"texts": ["a"], "mentions": [[0, 1]]}, "mentions"),
        ({"text": "a", "mentions": [[0, 9]]}, "0, 9"),
        ({"text": "a", "mentions": [[0, 9]], "stream": True}, "0, 9"),
        ({"text": "a", "window": 3}, "window=3"),
        ({"text": "a", "thresold": 1}, "thresold"),
        ({"text": "a", "filter": {"a": {"$what": 1}}, "candidates": ["Q1"]}, "$what"),
    ],
)
def test_what_cannot_be_linked_is_refused(
    body: dict[str, Any], words: str, linking: TestClient
) -> None:
    reply = linking.post("/v1/link", json=body)
    assert reply.status_code == 400
    assert words in reply.json()["error"]["message"]


def test_a_server_without_entities_says_how_to_start_it(client: TestClient) -> None:
    reply = client.post("/v1/link", json={"text": TEXT})
    assert reply.status_code == 501
    assert "--entities" in reply.json()["error"]["message"]
