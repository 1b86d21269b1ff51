"""What an operator sees: health, readiness, metrics, the access log and spans."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from onegen_integrations.server import ApiKey, ServerSettings, Serving, create_app
from onegen_integrations.server.observing.metrics import read_twice
from onegen_integrations.server.observing.tracing import Tracing
from onegen_model import OneGenModel, RetrievalParams, SamplingParams, Usage
from onegen_model.errors import InvalidInputError
from tests.support.script import scripted

SCRIPT = {"Ann": "Who?\n[RQ] then\n[RQ]<FINAL-ANSWER>Alba</FINAL-ANSWER>"}


def numbers(client: TestClient) -> dict[str, float]:
    """The samples of `/metrics` by name and the values of their labels, sorted by label."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


async def ask(serving: Serving, *, stop_after: int | None = None, **options: Any) -> None:
    """Ask the tiny model as a route does; leave after some events."""
    model = serving.models["tiny"]
    options = {
        "retriever": serving.index,
        "sampling": SamplingParams(max_new_tokens=60),
        "retrieval": RetrievalParams(top_k=1),
        **options,
    }
    handle = model.submit("What did Ann found?", **options)
    events = serving.observer.of(model)(handle, model.driver.adrive(handle))
    seen = 0
    try:
        async for _ in events:
            seen += 1
            if seen == stop_after:
                break
    finally:
        await events.aclose()


def test_a_server_lives_and_is_ready(serve: Callable[..., Serving]) -> None:
    with TestClient(create_app(serve())) as client:
        assert client.get("/health").json() == {"status": "ok"}
        ready = client.get("/ready").json()
        assert (ready["models"], ready["index"]) == (["tiny"], {"passages": 2})
        assert ready["summary"] == "tiny; index of 2 passages; files are kept"
    with TestClient(create_app(serve(with_index=False, storage=None))) as client:
        assert client.get("/ready").json()["index"] is None
        assert client.get("/ready").json()["summary"] == "tiny; no index: plain chat; no files"


def test_metrics_need_a_key_and_readiness_does_not(keyed: TestClient) -> None:
    assert [keyed.get(path).status_code for path in ("/health", "/ready", "/metrics")] == [
        *(200, 200, 401)
    ]


async def test_an_answer_is_counted(serve: Callable[..., Serving]) -> None:
    serving = serve()
    with scripted(serving.models["tiny"], SCRIPT):
        await ask(serving)
    found = numbers(TestClient(create_app(serving)))
    assert found["onegen:request_success_total stop tiny"] == 1
    assert found["onegen:retrievals_total tiny found"] == 2
    assert found["onegen:retrieval_seconds_count tiny"] == 2
    assert found["onegen:time_to_first_token_seconds_count tiny"] == 1
    assert found["onegen:request_queue_time_seconds_count tiny"] == 1
    written = found["onegen:generation_tokens_total tiny"]
    # Between the first token and the end, and not across the two searches' query tokens.
    assert found["onegen:inter_token_latency_seconds_count tiny"] == written - 1
    read = found["onegen:positions_forwarded_total tiny"]
    prompt, inserted = (
        found[f"onegen:{name}_tokens_total tiny"] for name in ("prompt", "inserted")
    )
    assert read + found["onegen:prompt_tokens_cached_total tiny"] == prompt + written + inserted - 1
    assert found["onegen:positions_read_twice_total tiny"] == 0
    assert found["onegen:num_requests_running tiny"] == 0
    assert found["onegen:kv_cache_usage_perc tiny"] == 0


def test_a_position_that_is_read_again_is_counted() -> None:
    assert read_twice(Usage(prompt=10, written=5, inserted=7, forwarded=18, reused=3)) == 0
    assert read_twice(Usage(prompt=10, written=5, inserted=7, forwarded=30, reused=3)) == 12


async def test_an_answer_that_is_left_is_an_abort(serve: Callable[..., Serving]) -> None:
    serving = serve()
    await ask(serving, stop_after=3)
    found = numbers(TestClient(create_app(serving)))
    assert found["onegen:request_success_total abort tiny"] == 1
    assert found["onegen:num_requests_running tiny"] == 0


async def test_a_search_that_fails_is_an_error(serve: Callable[..., Serving]) -> None:
    class Broken:
        def retrieve(self, queries: object) -> object:
            raise RuntimeError("hush")

    serving = serve()
    with pytest.raises(Exception, match="hush"), scripted(serving.models["tiny"], SCRIPT):
        await ask(serving, retriever=Broken())
    found = numbers(TestClient(create_app(serving)))
    assert found["onegen:retrievals_total tiny failed"] == 1
    assert found["onegen:request_success_total error tiny"] == 1


def test_two_servers_of_a_process_count_apart(serve: Callable[..., Serving]) -> None:
    one, other = TestClient(create_app(serve())), TestClient(create_app(serve()))
    for _ in range(3):
        one.get("/v1/models/tiny")
    route = "onegen:http_requests_total GET /v1/models/{name:path} 200"
    assert numbers(one)[route] == 3
    assert route not in numbers(other)


def test_requests_are_counted_by_route(keyed: TestClient) -> None:
    key = {"Authorization": "Bearer secret-all"}
    keyed.get("/v1/models")
    for path in ("/v1/unknown-1", "/v1/unknown-2"):
        keyed.get(path, headers=key)
    keyed.request("BREW", "/v1/models", headers=key)
    text = keyed.get("/metrics", headers=key).text
    assert 'onegen:http_requests_total{method="GET",route="other",status="401"} 1.0' in text
    assert 'onegen:http_requests_total{method="GET",route="other",status="404"} 2.0' in text
    assert "unknown" not in text
    assert "BREW" not in text


def test_the_access_log_has_names_and_no_texts(
    serve: Callable[..., Serving], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "onegen_integrations.server.access")
    keys = (ApiKey("hush-key", "acme"),)
    headers = {"Authorization": "Bearer hush-key"}
    with TestClient(create_app(serve(keys=keys))) as client:
        client.get("/v1/models", headers=headers)
    assert not caplog.messages
    with TestClient(create_app(serve(keys=keys, access_log=True))) as client:
        client.get("/v1/models?query=hush", headers=headers)
        client.get("/v1/models/a%0Ab", headers=headers)
        client.post("/v1/models", json={"text": "hush"})
    lines = [line.split(" ") for line in caplog.messages]
    assert [(line[:3], line[-1]) for line in lines] == [
        (["GET", "/v1/models", "200"], "acme"),
        (["GET", "/v1/models/a%0Ab", "404"], "acme"),
        (["POST", "/v1/models", "401"], "-"),
    ]
    assert "hush" not in caplog.text


async def test_spans_tell_of_an_answer_and_its_searches(serve: Callable[..., Serving]) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider, serving = InMemorySpanExporter(), TracerProvider(), serve()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    serving.observer.tracing = tracing = Tracing(provider)
    parent = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    with tracing.within(parent), scripted(serving.models["tiny"], SCRIPT):
        await ask(serving)
    client = TestClient(create_app(serving))
    assert client.post("/v1/embeddings", json={"input": "Ann"}).status_code == 200
    *searches, chat, embeddings = exporter.get_finished_spans()
    assert [span.name for span in searches] == ["retrieval", "retrieval"]
    assert [dict(span.attributes or {})["onegen.retrieval.hop"] for span in searches] == [0, 1]
    assert {span.parent.span_id for span in searches if span.parent} == {chat.context.span_id}
    assert f"{chat.context.trace_id:x}" == "1" * 32
    attributes: dict[str, Any] = dict(chat.attributes or {})
    assert chat.name == "chat tiny"
    assert attributes["gen_ai.request.model"] == "tiny"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.output_tokens"] > 0
    assert embeddings.name == "embeddings tiny"
    texts = " ".join(span.to_json() for span in (*searches, chat, embeddings))
    assert "Ann" not in texts
    assert "Alba" not in texts


def test_a_full_queue_refuses_at_once(folder: Any) -> None:
    model = OneGenModel.from_pretrained(folder, max_queue=1)
    serving = Serving({"tiny": model}, settings=ServerSettings())
    app = create_app(serving)
    handles = []

    @app.post("/ask")
    def submit() -> str:
        handles.append(model.submit("Who?", sampling=SamplingParams(max_new_tokens=1)))
        return "waits"

    client = TestClient(app)
    # Nobody drives: the first request waits, and a queue of one is full.
    replies = [client.post("/ask") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 429, 429]
    assert replies[1].headers["Retry-After"] == "1"
    assert replies[1].json()["error"]["code"] == "queue_full"
    found = numbers(client)
    assert found["onegen:num_requests_waiting tiny"] == 1
    assert found["onegen:num_requests_running tiny"] == 0
    assert handles[0].queue_seconds is None
    for _ in model.driver.drive(*handles):
        pass
    assert handles[0].queue_seconds > 0
    assert client.post("/ask").status_code == 200


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", ""])
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(InvalidInputError, match="is no origin"):
        ServerSettings(cors=(origin,))
