"""The benchmark of the server, with a tiny model in this process."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import httpx
import pytest

from benchmarks.serving import full_queue, load, same, tables
from benchmarks.serving.asking import Caller, Outcome, calling
from benchmarks.serving.refused import REFUSED
from benchmarks.serving.server import KEY, Server
from benchmarks.serving.tiny import save_tiny_model
from onegen_integrations.server import ApiKey, ServerSettings, Serving, create_app
from onegen_model import OneGenModel, Passage, PassageIndex, SamplingParams
from onegen_model.checkpoint.loading import load_checkpoint
from onegen_model.engine.transformers import TransformersEngine
from tests.support.serving import running

QUESTIONS = [
    f"Who {verb} the house of {name}?"
    for verb in ("built", "sold", "painted")
    for name in ("Ann", "Ben", "Cleo", "Dora")
]
CHAT = {"max_tokens": 12, "retrieval": {"mode": "always"}, "temperature": 1.0}
LIMITS = full_queue.Limits(max_queue=12, slots=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OneGenModel:
    folder = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", QUESTIONS)
    checkpoint = load_checkpoint(folder)
    engine = TransformersEngine(checkpoint.network, max_requests=LIMITS.slots)
    return OneGenModel(checkpoint, engine=engine, max_queue=LIMITS.max_queue)


@pytest.fixture(scope="module")
def index(model: OneGenModel) -> PassageIndex:
    return PassageIndex.build(model, [Passage(str(at), one) for at, one in enumerate(QUESTIONS)])


@pytest.fixture
def server(model: OneGenModel, index: PassageIndex, tmp_path: Path) -> Iterator[Server]:
    settings = ServerSettings(
        keys=(ApiKey(KEY),),
        max_body=2**16,
        storage=tmp_path,
        sampling=SamplingParams(max_new_tokens=256),
    )
    with running(create_app(Serving({"tiny": model}, index, settings=settings))) as url:
        yield Server(url, os.getpid())


async def test_mixed_requests_get_their_answers_and_leave_nothing(server: Server) -> None:
    plan = load.Plan(8, 3, 1, alone=2, settle_seconds=6, sample_seconds=1)
    async with calling(server.url, QUESTIONS, CHAT, 2**16) as caller:
        found = await load.run(server, caller, plan)
    assert found["faults"] == []
    assert found["requests"] == sum(one["requests"] for one in found["kinds"].values()) > 10
    assert found["one by one"]["streams"] == 2
    assert found["one by one"]["retrievals"] >= 2
    assert found["one by one"]["first_token_seconds"]["p50"] > 0
    before, after = found["counts"]["before"], found["counts"]["after"]
    assert (after["running"], after["waiting"]) == (0, 0)
    assert after["handles"] <= before["handles"] + 8
    assert "| one by one | 2 |" in tables.speed(found)
    assert f"| after | {after['resident']:.0f} |" in tables.counts(found)


async def test_what_must_be_refused_is(server: Server) -> None:
    async with calling(server.url, QUESTIONS, CHAT, 2**16) as caller:
        found = [await load.safely(one, caller, Random(0)) for one in REFUSED]
        wrong = replace(REFUSED[0], status=404)
        other = await load.safely(wrong, caller, Random(0))
    assert load.faults(found) == []
    assert other.fault.startswith("400 in place of 404")


async def test_a_full_queue_refuses_at_once(server: Server) -> None:
    async with calling(server.url, QUESTIONS, CHAT, 2**16) as caller:
        found = await full_queue.measure(server, caller, LIMITS)
    assert found["was_full"]
    assert found["statuses"]["429"] > 0
    assert "429 without Retry-After" not in found["statuses"]
    assert server.settle(0).running == 0


async def test_answers_over_http_are_those_of_generate(
    server: Server, model: OneGenModel, index: PassageIndex
) -> None:
    questions = QUESTIONS[:4]
    answers = same.generated(model, index, questions)
    async with calling(server.url, questions, {}, 2**16) as caller:
        messages = await same.served(caller, questions, at_once=4)
    found = same.compared(questions, answers, messages)
    assert (found["equal"], found["different"]) == (4, [])
    messages[1]["content"] += "!"
    messages[2]["onegen"] = {"retrievals": [{"passages": []}]}
    found = same.compared(questions, answers, messages)
    assert [one["question"] for one in found["different"]] == questions[1:3]


async def test_a_broken_connection_is_a_fault() -> None:
    async def broken(caller: Caller, random: Random) -> Outcome:
        raise httpx.ReadError("gone")

    async with calling("http://127.0.0.1:9", QUESTIONS, CHAT, 2**16) as caller:
        outcome = await load.safely(broken, caller, Random(0))
    assert outcome == Outcome("broken", "ReadError: gone")
    assert load.kinds([outcome])["broken"]["faults"] == 1
    (told,) = load.faults([outcome, outcome, Outcome("stream")])
    assert told == "2 x broken: ReadError: gone"
    assert len(load.cut(told * 9)) == 100
