"""What a caller and a log see of a failure."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import Serving, create_app
from onegen_model import AsyncMentionStream, PassageIndex
from onegen_model.errors import CheckpointError
from tests.support.linking_model import TEXT, entity_index, linking_model


class LinkingModel:
    """Of a checkpoint that links entities and does nothing else."""

    can_link = True
    dimension = 8
    max_passage_tokens = 64

    @property
    def max_context(self) -> NoReturn:
        raise CheckpointError("This checkpoint links entities and answers no questions")

    driver = max_context

    def embed_queries(self, _: object) -> NoReturn:
        raise CheckpointError("This checkpoint links entities and answers no questions")


def test_a_checkpoint_that_only_links_is_listed_and_is_the_wrong_model(
    index: PassageIndex,
) -> None:
    linker: Any = LinkingModel()
    with TestClient(create_app(Serving({"linker": linker}, index))) as client:
        (listed,) = client.get("/v1/models").json()["data"]
        assert (listed["max_model_len"], listed["links_entities"]) == (64, True)
        reply = client.post("/v1/vector_stores/vs_index/search", json={"query": "Who?"})
        error = reply.json()["error"]
        assert (reply.status_code, error["param"]) == (400, "model")
        assert error["code"] == "unsupported_model"


def test_a_path_writes_no_line_of_the_log(
    serve: Callable[..., Serving], caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(serve())

    @app.get("/broken/{name}", response_model=None)
    def broken(name: str) -> NoReturn:
        raise KeyError(name)

    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/broken/a%1B[2J").status_code == 500
    (message,) = [one.getMessage() for one in caplog.records if "/broken" in one.getMessage()]
    assert message == "GET /broken/a%1B%5B2J failed"


def test_a_failure_of_a_stream_of_links_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    linker = linking_model()
    take, taken = AsyncMentionStream.__anext__, list[Any]()

    async def fail(self: AsyncMentionStream) -> Any:
        if taken:
            raise KeyError("a bug")
        taken.append(await take(self))
        return taken[0]

    monkeypatch.setattr(AsyncMentionStream, "__anext__", fail)
    serving = Serving({"linker": linker}, entities=entity_index(linker))
    begin = TEXT.index("Jørn")
    body = {"text": TEXT, "mentions": [[begin, begin + 10], [0, 3]], "stream": True}
    with TestClient(create_app(serving)) as client:
        stream = client.post("/v1/link", json=body).text
    assert "internal_error" in stream
    assert "The stream of links failed" in caplog.text
    assert stream.isascii()  # Some clients take U+2028 for the end of a line.
