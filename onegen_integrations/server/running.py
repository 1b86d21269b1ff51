"""Runs a server from its first byte to its last: load, serve, drain.

The port opens at once, and models load in a thread meanwhile. After SIGTERM or Ctrl-C nobody is let
in, what runs may end within `drain_seconds`, and the rest ends with an error that says why.
"""

import asyncio
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from onegen_integrations.server.entrance import Entrance
from onegen_integrations.server.errors import StoppingError
from onegen_integrations.server.listening import Listener
from onegen_model.errors import OneGenError

if TYPE_CHECKING:
    from onegen_integrations.server.serving import Serving

_INTERRUPTED = 130  # the exit status after Ctrl-C
_LAST_WORDS = 3  # seconds for the errors of answers that were ended to reach their callers


@dataclass(frozen=True, slots=True)
class Run:
    """What a server does: `load` runs in a thread, `announce` when requests are answered."""

    load: "Callable[[], Serving]"
    announce: "Callable[[Serving], None]"
    drain_seconds: float = 30


def run(job: Run, listener: Listener) -> int:
    """Serve until a signal; the exit status. Raises what `load` raises."""
    server = _Server(job, listener)
    with server.signals():
        asyncio.run(server.work())
    return server.status


class _Server(uvicorn.Server):
    def __init__(self, job: Run, listener: Listener) -> None:
        self.entrance = Entrance()
        super().__init__(
            uvicorn.Config(
                self.entrance,
                lifespan="off",  # The application behind the entrance has its own.
                log_config=None,
                log_level="error",
                access_log=False,
                timeout_graceful_shutdown=math.ceil(job.drain_seconds) + _LAST_WORDS,
            )
        )
        self._job, self._listener = job, listener
        self._serving: Serving | None = None
        self.status = 0

    async def work(self) -> None:
        """Load and serve."""
        listening = asyncio.create_task(self.serve([self._listener.socket]))
        loading = _in_thread(self._job.load)
        first: set[asyncio.Future[Any]] = {listening, loading}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():  # Nothing is lost, and the thread cannot be stopped.
            listening.result()
            _exit(self.status)
        try:
            self._serving = loading.result()
            await self._open(self._serving, listening)
        except BaseException:
            self.should_exit = True
            await asyncio.wait({listening})
            raise

    async def _open(self, serving: "Serving", listening: "asyncio.Task[None]") -> None:
        from onegen_integrations.server.app import create_app

        app = create_app(serving)
        async with app.router.lifespan_context(app):
            self.entrance.open(app)
            self._job.announce(serving)
            await listening
        await asyncio.to_thread(serving.observer.close)

    async def shutdown(self, sockets: object = None) -> None:
        """Called by uvicorn when `should_exit` is set."""
        self.entrance.drain()
        ending = asyncio.create_task(self._end_answers())
        await super().shutdown([self._listener.socket])
        ending.cancel()

    async def _end_answers(self) -> None:
        """Have each route tell its caller, in its own form, why the answer ends."""
        await asyncio.sleep(self._job.drain_seconds)
        error = StoppingError(
            f"The server stops and has waited {self._job.drain_seconds:g} s for this answer; "
            "expected it to end by then; ask again"
        )
        for model in self._serving.models.values() if self._serving else ():
            with suppress(OneGenError):  # One that only links has no driver.
                await asyncio.to_thread(model.driver.close, error)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Those of uvicorn would end the process by the signal, not with a status."""
        return nullcontext()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handle SIGTERM and Ctrl-C from the first moment to the last."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains; Ctrl-C after it ends the process at once."""
        if sig == signal.SIGINT:
            self.status = _INTERRUPTED
            if self.should_exit:
                _exit(self.status)
        self.should_exit = True


def _exit(status: int) -> None:
    """End the process now, whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _in_thread(load: "Callable[[], Serving]") -> "asyncio.Future[Serving]":
    """The result of `load`, from a thread that does not keep the process alive."""
    future: Future[Serving] = Future()

    def work() -> None:
        try:
            future.set_result(load())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="onegen-load", daemon=True).start()
    return asyncio.wrap_future(future)
