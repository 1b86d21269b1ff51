"""Every HTTP request: counted by route and status, and logged where the operator wants it."""

import logging
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onegen_integrations.server.errors import CLIENT_GONE
from onegen_integrations.server.observing.observer import Observer

logger = logging.getLogger("onegen_integrations.server.access")

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class RequestWatcher:
    """The outermost layer. The log has no query, no body and no key; of a key it has the name."""

    def __init__(self, app: ASGIApp, observer: Observer, *, access_log: bool = False) -> None:
        self._app, self._observer, self._access_log = app, observer, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = perf_counter(), CLIENT_GONE

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self._trace(scope):
                await self._app(scope, receive, watch)
        except Exception:
            status = 500 if status == CLIENT_GONE else status
            raise
        finally:
            self._ended(scope, status, perf_counter() - begun)

    def _trace(self, scope: Scope) -> AbstractContextManager[None]:
        tracing = self._observer.tracing
        return tracing.within(Headers(scope=scope)) if tracing else nullcontext()

    def _ended(self, scope: Scope, status: int, seconds: float) -> None:
        metrics, method = self._observer.metrics, scope["method"]
        # Not the path: everybody could make series without end.
        route = getattr(scope.get("route"), "path", "other")
        method = method if method in _METHODS else "other"
        metrics.http_requests.labels(method, route, str(status)).inc()
        metrics.http_seconds.labels(method, route).observe(seconds)
        if self._access_log:
            caller = scope.get("state", {}).get("caller")
            name = quote(caller.name, safe=" ") if caller and caller.name else "-"
            path = quote(scope["path"])
            logger.info("%s %s %d %.3f s %s", method, path, status, seconds, name)
