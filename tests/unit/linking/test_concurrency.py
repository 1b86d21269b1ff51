"""Linking in threads, on event loops and in other processes; streams that are closed early."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from onegen_model import OneGenModel, PassageIndex
from tests.support.forks import in_child
from tests.support.linking_model import TEXT, entity_index, linking_model


@pytest.fixture(scope="module")
def model() -> OneGenModel:
    return linking_model()


@pytest.fixture(scope="module")
def entities(model: OneGenModel) -> PassageIndex:
    return entity_index(model)


def test_threads_link_and_answer_side_by_side(model: OneGenModel, entities: PassageIndex) -> None:
    expected = model.link(TEXT, entities=entities)
    answer = model.generate("Who wrote it?", retriever=entities)
    found: list[Any] = []

    def link() -> None:
        found.append(model.link(TEXT, entities=entities) == expected)

    def ask() -> None:
        found.append(model.generate("Who wrote it?", retriever=entities).text == answer.text)

    threads = [threading.Thread(target=job) for job in (link, ask, link, ask, link)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [True] * 5


def linking_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("onegen-link")]


def wait_until(is_done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_cancelled_call_leaves_nothing_running(
    model: OneGenModel, entities: PassageIndex
) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(model.alink([TEXT * 3] * 400, entities=entities))
        while not linking_threads():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    wait_until(lambda: not linking_threads())
    assert model.link(TEXT, entities=entities).mentions


def test_streams_that_are_closed_early_are_over(model: OneGenModel, entities: PassageIndex) -> None:
    with model.stream_link(TEXT, entities=entities) as stream:
        assert next(stream) == model.link(TEXT, entities=entities).mentions[0]
    assert list(stream) == []
    with pytest.raises(ValueError, match="not linked"):
        _ = stream.linked

    async def close() -> list[Any]:
        async with model.astream_link(TEXT, entities=entities) as later:
            await anext(later)
        return [one async for one in later]

    assert asyncio.run(close()) == []
    wait_until(lambda: not linking_threads())


def test_consumers_of_one_stream_share_its_mentions(
    model: OneGenModel, entities: PassageIndex
) -> None:
    expected = [one.start for one in model.link(TEXT, entities=entities).mentions]
    stream = model.stream_link(TEXT, entities=entities)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.extend(one.start for one in stream)) for _ in range(3)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(found) == expected
    assert [one.start for one in stream.linked.mentions] == expected

    async def take() -> list[int]:
        stream = model.astream_link(TEXT, entities=entities)

        async def rest() -> list[int]:
            return [one.start async for one in stream]

        return [start for taken in await asyncio.gather(rest(), rest()) for start in taken]

    assert sorted(asyncio.run(take())) == expected


def test_a_forked_child_links(model: OneGenModel, entities: PassageIndex) -> None:
    expected = model.link(TEXT, entities=entities)
    assert in_child(lambda: model.link(TEXT, entities=entities) == expected) == "True"
