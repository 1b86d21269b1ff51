"""Child runs for what is retrieved while a model answers.

LangChain's manager of a model's run cannot have children, and `stream` does not even hand it to
`_stream`. So the run's id and its inheritable handlers are put together here, and kept in a
context variable while LangChain's own code stands in between.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
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
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import get_config_list

T = TypeVar("T")
M = TypeVar("M", bound=BaseCallbackManager)


@dataclass(frozen=True, slots=True)
class Run:
    """The run of a model (or of a retriever): who its children are."""

    id: UUID
    manager: BaseCallbackManager | BaseRunManager

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
    """The run that `manager` manages, or the one that is `entered`."""
    return Run(manager.run_id, manager) if manager else _run.get()


@contextmanager
def entered(run: Run | None) -> Iterator[None]:
    """`run` is the current one."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def begin(config: RunnableConfig | None, *, asynchronous: bool) -> tuple[RunnableConfig, Run]:
    """A config whose run is known before it starts."""
    config = ensure_config(config)
    run_id = config.get("run_id") or uuid4()
    configure: Any = (AsyncCallbackManager if asynchronous else CallbackManager).configure
    manager = configure(
        inheritable_callbacks=config.get("callbacks"),
        inheritable_tags=config.get("tags"),
        inheritable_metadata=config.get("metadata"),
    )
    return {**config, "callbacks": manager, "run_id": run_id}, Run(run_id, manager)


def all_at_once(
    config: RunnableConfig | list[RunnableConfig] | None, count: int
) -> list[RunnableConfig]:
    """As many workers as calls, where the caller does not bound them."""
    configs = get_config_list(config, count)
    return [{"max_concurrency": count, **one} for one in configs]


def each_in(run: Run, items: Iterator[T]) -> Generator[T, None, None]:
    """`items`, with `run` current while each is made and not while it is used."""
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
