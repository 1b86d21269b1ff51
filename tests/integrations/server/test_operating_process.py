"""A real `onegen serve`: it starts, is stopped while it streams, and says how it ended."""

import signal
import time
from pathlib import Path

import httpx
import pytest

from onegen_model import OneGenModel, PassageIndex
from tests.integrations.server.conftest import PASSAGES
from tests.support.served_process import ServedProcess, served

# A route that streams what the tiny model writes: the same word, until it has as many as it may.
SLOW = """
import onegen_integrations.server.app as app
from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from onegen_integrations.server.errors import failure_of
from onegen_integrations.server.serving import serving_of
from onegen_model import SamplingParams, Token

router = APIRouter()

@router.get("/slow/{tokens}")
async def slow(tokens: int, serving=Depends(serving_of)):
    model = serving.model(None)
    word = model.token_ids("so")[0]
    model.engine.sampler = lambda logits, choices: [word] * len(choices)
    handle = model.submit("Who?", sampling=SamplingParams(max_new_tokens=tokens))
    async def write():
        try:
            async for event in model.driver.adrive(handle):
                if isinstance(event, Token):
                    yield "data: token\\n\\n"
        except Exception as error:
            yield f"data: {failure_of(error).code}\\n\\n"
    return StreamingResponse(write(), media_type="text/event-stream")

app.ROUTERS += (router,)
"""


@pytest.fixture(scope="module")
def saved_index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("indexes") / "served.index"
    PassageIndex.build(OneGenModel.from_pretrained(folder), PASSAGES).save(path)
    return path


def ready(server: ServedProcess) -> str:
    """The address, once requests are answered."""
    assert server.event()["event"] == "listening"
    event = server.event()
    assert event["event"] == "serving"
    return str(event["url"])


@pytest.mark.slow
def test_a_server_starts_and_answers_until_it_is_stopped(folder: Path, saved_index: Path) -> None:
    with served("--model", f"tiny={folder}", "--index", str(saved_index)) as server:
        url = str(server.event()["url"])
        loading = httpx.get(f"{url}/ready")
        assert (loading.status_code, loading.json()) == (503, {"status": "loading"})
        refused = httpx.get(f"{url}/v1/models")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "loading"
        assert httpx.get(f"{url}/health").status_code == 200
        event = server.event()
        assert event["summary"] == "tiny; index of 2 passages; no files"
        found = httpx.get(f"{url}/ready").json()
        assert (found["models"], found["index"]) == (["tiny"], {"passages": 2})
        server.stop()
        assert server.ended() == (0, "")


@pytest.mark.slow
def test_an_open_stream_ends_by_itself_when_the_server_stops(folder: Path) -> None:
    with (
        served("--model", str(folder), script=SLOW) as server,
        httpx.Client(base_url=ready(server), timeout=60) as client,
        client.stream("GET", "/slow/60") as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines) == "data: token"
        server.stop()
        assert [line for line in lines if line] == ["data: token"] * 59
        assert server.ended() == (0, "")


@pytest.mark.slow
def test_a_stream_that_takes_too_long_ends_with_an_error(folder: Path) -> None:
    with (
        served("--model", str(folder), "--drain-seconds", "0.2", script=SLOW) as server,
        httpx.Client(base_url=ready(server), timeout=60) as client,
        client.stream("GET", "/slow/4000") as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines) == "data: token"
        server.stop()
        assert [line for line in lines if line][-1] == "data: server_stopping"
        assert server.ended() == (0, "")


@pytest.mark.slow
def test_a_second_interrupt_ends_the_process_at_once(folder: Path) -> None:
    with (
        served("--model", str(folder), script=SLOW) as server,
        httpx.Client(base_url=ready(server), timeout=60) as client,
        client.stream("GET", "/slow/4000") as stream,
    ):
        lines = stream.iter_lines()  # Letting go of it would close the stream.
        assert next(lines) == "data: token"
        begun = time.monotonic()
        server.stop(signal.SIGINT)
        time.sleep(0.5)
        server.stop(signal.SIGINT)
        assert server.ended() == (130, "")
        assert time.monotonic() - begun < 20


@pytest.mark.slow
def test_a_load_that_fails_ends_the_process_with_one_line(folder: Path) -> None:
    with served("--model", str(folder), "--index", str(folder)) as server:
        assert server.event()["event"] == "listening"
        status, errors = server.ended()
        assert status == 2
        assert errors.startswith("onegen: error: ")
        assert "is not an index" in errors
        assert len(errors.splitlines()) == 1
