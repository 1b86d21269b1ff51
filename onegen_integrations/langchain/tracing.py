"""Child runs for the retrievals of an answer, and how many calls run at once.

LangChain's manager of a model's run cannot have children, and `stream` does not pass it to
`_stream`. So this module combines the run's id with its inheritable handlers and carries both in a
context variable through LangChain's own code.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

from langchain_core.callbacks import (
    AsyncCallbackManager,
    BaseCallbackManager,
    CallbackManager,
)
from langchain_core.callbacks.manager import AsyncRunManager, BaseRunManager
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import get_config_list

# Rows of the engine's batch: each further call would only wait, in one more thread.
MAX_ROWS = 64

T = TypeVar("T")
M = TypeVar("M", bound=BaseCallbackManager)


@dataclass(frozen=True, slots=True)
class Run:
    """The run of a model or a retriever, as the parent of other runs."""

    id: UUID
    manager: BaseCallbackManager | BaseRunManager

    @property
    def is_asynchronous(self) -> bool:
        """Whether the run was started in an event loop."""
        return isinstance(self.manager, AsyncCallbackManager | AsyncRunManager)

    def child(self) -> CallbackManager:
        """Callbacks of a child run."""
        return self._inherit(CallbackManager(handlers=[], parent_run_id=self.id))

    def achild(self) -> AsyncCallbackManager:
        """Callbacks of a child run, for event loops."""
        return self._inherit(AsyncCallbackManager(handlers=[], parent_run_id=self.id))

    def _inherit(self, child: M) -> M:
        child.set_handlers(self.manager.inheritable_handlers)
        child.add_tags(self.manager.inheritable_tags)
        child.add_metadata(self.manager.inheritable_metadata)
        return child


_run: ContextVar[Run | None] = ContextVar("onegen_run", default=None)


def current_run(manager: BaseRunManager | None) -> Run | None:
    """The run that `manager` manages, or else the `entered` one."""
    return Run(manager.run_id, manager) if manager else _run.get()


@contextmanager
def entered(run: Run | None) -> Iterator[None]:
    """Context in which `run` is the current run."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


_prompt_runs: ContextVar[Sequence[Run]] = ContextVar("onegen_prompt_runs", default=())


def runs_of_prompts(manager: BaseRunManager | None, count: int) -> list[Run | None]:
    """The run of each of `count` prompts; LangChain passes the `manager` of the first one."""
    runs = _prompt_runs.get()
    if manager is not None and len(runs) == count and runs[0].manager is manager:
        return list(runs)
    return [current_run(manager)] * count


@contextmanager
def prompts_entered(managers: Sequence[BaseRunManager]) -> Iterator[None]:
    """Context in which `managers` manage the runs of the prompts of one call, in their order."""
    token = _prompt_runs.set([Run(manager.run_id, manager) for manager in managers])
    try:
        yield
    finally:
        _prompt_runs.reset(token)


def begin(config: RunnableConfig | None, *, asynchronous: bool) -> tuple[RunnableConfig, Run]:
    """A config that fixes its run's id and callbacks before the run starts, and that run."""
    config = ensure_config(config)
    run_id = config.get("run_id") or uuid4()
    configure: Any = (AsyncCallbackManager if asynchronous else CallbackManager).configure
    manager = configure(
        inheritable_callbacks=config.get("callbacks"),
        inheritable_tags=config.get("tags"),
        inheritable_metadata=config.get("metadata"),
    )
    return {**config, "callbacks": manager, "run_id": run_id}, Run(run_id, manager)


def bounded(
    config: RunnableConfig | list[RunnableConfig] | None, count: int
) -> list[RunnableConfig]:
    """Configs for `count` calls, of which at most `MAX_ROWS` run at once by default."""
    configs = get_config_list(config, count)
    return [{"max_concurrency": min(count, MAX_ROWS), **one} for one in configs]


def each_in(run: Run, items: Iterator[T]) -> Generator[T, None, None]:
    """`items`; `run` is current while one is produced, not while the consumer uses it."""
    try:
        while True:
            with entered(run):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    finally:
        with entered(run):
            items.close()  # type: ignore[attr-defined]


async def aeach_in(run: Run, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """`each_in` for event loops."""
    try:
        while True:
            with entered(run):
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            yield item
    finally:
        with entered(run):
            await items.aclose()  # type: ignore[attr-defined]
