"""The engine and the driver of a model: made when first needed, and again in a forked child."""

import os
from typing import TYPE_CHECKING

from onegen_model.engine.base import Engine, StepEngine
from onegen_model.engine.constraint import GrammarCompiler
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.errors import EngineError
from onegen_model.forking import mark_computing, require_own_threads
from onegen_model.generation.driver import Driver
from onegen_model.generation.scheduler import MAX_QUEUE
from onegen_model.locks import ProcessLock
from onegen_model.transcript.renderer import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Runtime:
    """One engine with one driver over one network. All methods may be called from any thread.

    An `engine` that is given belongs to this process; by default it is a `TransformersEngine`.
    """

    def __init__(
        self,
        network: "PreTrainedModel",
        renderer: Renderer,
        engine: Engine | StepEngine | None = None,
        max_queue: int = MAX_QUEUE,
    ) -> None:
        self._network = network
        self._renderer = renderer
        self._engine = engine
        self._max_queue = max_queue
        self._driver: Driver | None = None
        self._lock = ProcessLock()
        self._process = os.getpid()
        self._closed: Exception | None = None

    @property
    def engine(self) -> Engine | StepEngine:
        """What computes the answers; raises CheckpointError for a checkpoint that writes none."""
        with self._lock:
            self.require_own_process()
            self._renderer.require_answers()
            if self._engine is None:
                constrain = GrammarCompiler.of(self._renderer)
                self._engine = TransformersEngine(self._network, constrain=constrain)
            return self._engine

    @property
    def driver(self) -> Driver:
        """What brings requests to the engine, and queries to retrievers."""
        with self._lock:
            engine = self.engine
            if self._driver is None:
                self._driver = Driver(engine, self._renderer, max_queue=self._max_queue)
            return self._driver

    def close(self, error: Exception) -> None:
        """End all requests with `error`, and raise it wherever this object is used later."""
        with self._lock:
            if self._closed is not None:
                return
            driver, self._closed = self._driver, error
            self._engine = self._driver = None
            del self._network  # Memory is freed only when nobody refers to it.
        if driver is not None:
            driver.close(error)

    def require_own_process(self) -> None:
        """In a forked child: begin anew with the same weights, or raise EngineError.

        The threads of torch and the state of a GPU do not survive a fork; a child that used them
        would hang. Raises the error of `close`, too.
        """
        with self._lock:
            if self._closed is not None:
                raise self._closed
            mark_computing()
            if os.getpid() == self._process:
                return
            require_own_threads()
            if self._network.device.type != "cpu":
                raise EngineError(
                    "This model was loaded on a GPU before the process was forked; expected a "
                    'model of the child\'s own; start workers by "spawn" and load it there'
                )
            self._engine = self._driver = None
            self._process = os.getpid()


def end_ids(network: "PreTrainedModel") -> list[int]:
    """Ids that end an answer by the generation config of the network."""
    configured = getattr(network.generation_config, "eos_token_id", None)
    found = configured if isinstance(configured, list) else [configured]
    return [i for i in found if i is not None]
