"""OneGenLLM: text in, the answer out."""

import asyncio
import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.prompts import PromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenLLM
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError, RetrievalError
from tests.integrations.langchain.test_tracing import STEPS, Tracer
from tests.support.script import scripted

QUESTION = "Which town is older?"
LONG = "Say it often!"
TURNS = {
    QUESTION: "Who founded Alba?[RQ]Ann.\nWho founded Brig?[RQ]Bob.\n"
    "<FINAL-ANSWER> founded by Ann </FINAL-ANSWER>",
    LONG: "la " * 60,
}


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def llm(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenLLM:
    return OneGenLLM(model=wide_folder, vectorstore=store, k=1, max_tokens=100)


async def by_astream(llm: OneGenLLM, config: Any) -> str:
    return "".join([piece async for piece in llm.astream(QUESTION, config)])


def by_chain(llm: OneGenLLM, config: Any) -> str:
    return (PromptTemplate.from_template("Hi! {x}") | llm).invoke({"x": QUESTION}, config)


PATHS: dict[str, Callable[[OneGenLLM, Any], str]] = {
    "invoke": lambda llm, config: llm.invoke(QUESTION, config),
    "stream": lambda llm, config: "".join(llm.stream(QUESTION, config)),
    "batch": lambda llm, config: llm.batch([QUESTION], config)[0],
    "ainvoke": lambda llm, config: asyncio.run(llm.ainvoke(QUESTION, config)),
    "astream": lambda llm, config: asyncio.run(by_astream(llm, config)),
    "abatch": lambda llm, config: asyncio.run(llm.abatch([QUESTION], config))[0],
    "chain": by_chain,
}


@pytest.mark.parametrize("path", PATHS)
def test_the_answer_alone_on_all_paths(path: str, llm: OneGenLLM) -> None:
    assert PATHS[path](llm, None) == "founded by Ann"


@pytest.mark.parametrize("path", PATHS)
def test_retrievals_are_children_of_its_run(path: str, llm: OneGenLLM) -> None:
    tracer = Tracer()
    PATHS[path](llm, {"callbacks": [tracer]})
    (root,) = tracer.roots
    model_run = root.child_runs[-1] if path == "chain" else root
    assert model_run.run_type == "llm"
    assert [run.inputs["query"] for run in model_run.child_runs] == STEPS


def test_all_that_is_written_where_nothing_is_searched(llm: OneGenLLM) -> None:
    llm.vectorstore = None
    reply = llm.invoke(QUESTION)
    assert reply == "Who founded Alba?Ann.\nWho founded Brig?Bob.\nfounded by Ann"
    assert "".join(llm.stream(QUESTION)) == reply


def test_prompts_are_one_batch_and_report_their_usage(llm: OneGenLLM, model: OneGenModel) -> None:
    engine: Any = model.engine
    prompts = [f"{n}. {QUESTION}" for n in range(4)]
    begun = engine.steps
    alone = [llm.invoke(prompt) for prompt in prompts]
    one_by_one, begun = engine.steps - begun, engine.steps
    result = llm.generate(prompts)
    assert [one[0].text for one in result.generations] == alone
    assert engine.steps - begun < one_by_one / 2
    info: Any = result.generations[0][0].generation_info
    assert info["finish_reason"] == "stop"
    usage = info["usage_metadata"]
    counted = info["onegen"]["usage"]
    assert counted["retrievals"] == 2
    assert counted["forwarded"] + counted["reused"] == usage["total_tokens"] - 1


def test_callbacks_receive_new_tokens(llm: OneGenLLM) -> None:
    class Listener(BaseCallbackHandler):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_llm_new_token(self, token: str, **_: Any) -> None:
            self.heard.append(token)

    listener = Listener()
    pieces = list(llm.stream(QUESTION, {"callbacks": [listener]}))
    assert "".join(listener.heard) == "".join(pieces) == "founded by Ann"
    assert len(listener.heard) > 2


@pytest.mark.parametrize("asynchronous", [False, True])
def test_callbacks_receive_an_answer_without_a_frame(asynchronous: bool, llm: OneGenLLM) -> None:
    heard: list[str] = []

    class Listener(BaseCallbackHandler):
        def on_llm_new_token(self, token: str, **_: Any) -> None:
            heard.append(token)

    config: Any = {"callbacks": [Listener()]}
    if asynchronous:

        async def ask() -> list[str]:
            return [piece async for piece in llm.astream(LONG, config)]

        pieces = asyncio.run(ask())
    else:
        pieces = list(llm.stream(LONG, config))
    assert "".join(heard) == "".join(pieces) != ""


def test_closing_a_stream_stops_the_network(llm: OneGenLLM, model: OneGenModel) -> None:
    engine: Any = model.engine
    llm.vectorstore = None
    stream = llm.stream(LONG)
    for _ in range(5):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert engine.is_idle


async def test_cancelling_a_call_stops_the_network(llm: OneGenLLM, model: OneGenModel) -> None:
    engine: Any = model.engine
    begun = engine.steps
    task = asyncio.create_task(llm.ainvoke(LONG))
    while engine.steps < begun + 10:
        await asyncio.sleep(0.001)
    task.cancel()
    steps = engine.steps
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    assert engine.steps <= steps + 1
    assert engine.is_idle


def test_copies_and_pickles_share_the_weights(llm: OneGenLLM, model: OneGenModel) -> None:
    for other in (copy.deepcopy(llm), pickle.loads(pickle.dumps(llm))):
        assert other.shared.model is model
        assert other.invoke(QUESTION) == "founded by Ann"


def test_stops_lengths_and_seeds(llm: OneGenLLM) -> None:
    assert llm.invoke(QUESTION, stop=[" by"]) == "founded"
    assert llm.bind(max_tokens=3, retrieval="never").invoke(LONG) == "la "
    hot = {"temperature": 2.0, "max_tokens": 20, "retrieval": "never"}
    one, same, other = (llm.invoke("Anything", seed=seed, **hot) for seed in (1, 1, 2))
    assert one == same != other


def test_tokens_are_counted_without_anything_downloaded(llm: OneGenLLM, model: OneGenModel) -> None:
    assert llm.get_num_tokens(QUESTION) == model.count_tokens(QUESTION)


def test_what_cannot_be_answered_is_one_error(
    llm: OneGenLLM, store: InMemoryVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match="question is empty"):
        llm.invoke(" ")
    with pytest.raises(ValueError, match="a vectorstore and a retriever"):
        OneGenLLM(vectorstore=store, retriever=store.as_retriever())

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("the disk is gone")

    monkeypatch.setattr(InMemoryVectorStore, "similarity_search_with_score_by_vector", fail)
    with pytest.raises(RetrievalError, match="the disk is gone"):
        llm.invoke(QUESTION)
    llm.on_retrieval_error = "continue"
    assert llm.invoke(QUESTION) == "founded by Ann"
