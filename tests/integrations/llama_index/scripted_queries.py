"""A question that is answered in two hops, its response, and unusual components."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core import QueryBundle
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode

from onegen_model import OneGenModel

QUESTION = "Which mill is larger?"
TURN = "Wheels of Alba?[RQ]3.\nOf Brig?[RQ]4.\n<FINAL-ANSWER> Brig </FINAL-ANSWER>"
LONG = "Say it often!"
TURNS = {QUESTION: TURN, LONG: "Ask.[RQ]" + "la " * 60}


def plain(response: Any) -> dict[str, Any]:
    """What has to be the same on all paths."""
    nodes = [(one.node.node_id, round(one.score, 4)) for one in response.source_nodes]
    return {"text": response.response, "nodes": nodes, "metadata": response.metadata}


def titles(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [one.node.metadata["title"] for one in nodes]


class Drop(BaseNodePostprocessor):
    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return nodes[1:]


def context_of(script: OneGenModel, ask: Callable[[str], Any]) -> tuple[Any, str]:
    """A response, and all that the model has read for it."""
    read: list[Any] = []
    submit = script.driver.submit

    def keep(*arguments: Any) -> Any:
        ticket = submit(*arguments)
        read.append(ticket)
        return ticket

    script.driver.submit = keep  # type: ignore[method-assign]
    try:
        response = ask(QUESTION)
    finally:
        del script.driver.submit  # type: ignore[method-assign]
    return response, str(script.renderer.tokenizer.decode(read[0].request.ids))


class ByText(BaseRetriever):
    """No vector store; answers two nodes, and knows no scores."""

    asked: list[QueryBundle] = []  # noqa: RUF012

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.asked.append(query_bundle)
        number = len(self.asked)
        return [
            NodeWithScore(node=TextNode(text=f"{n} wheels", id_=f"{number}-{n}")) for n in range(2)
        ]


class Gate:
    """Blocks a search until the event loop opens it, which a blocked loop cannot do."""

    def __init__(self) -> None:
        self.num_held = 0
        self._is_reached, self._is_open = threading.Event(), threading.Event()

    def hold(self) -> None:
        self.num_held += 1
        self._is_reached.set()
        assert self._is_open.wait(30), "the event loop waits for this search"
        self._is_open.clear()

    async def open_until(self, task: "asyncio.Task[Any]") -> None:
        """Opens the gate each time that it is reached, as long as `task` runs."""
        while not task.done():
            if self._is_reached.is_set():
                self._is_reached.clear()
                self._is_open.set()
            await asyncio.sleep(0.001)
