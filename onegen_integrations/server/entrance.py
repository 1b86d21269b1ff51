"""What a caller meets while a server starts and stops; in between every request passes."""

from typing import Literal

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from onegen_integrations.server.errors import Failure

_LOADING = "The server loads its models; expected it ready; ask again in a few seconds"
_DRAINING = "The server stops; expected one that runs; ask again in a few seconds"


class Entrance:
    """An ASGI application in front of another one that is not there yet.

    `/health` answers at any time. Everything else is refused with 503 and Retry-After until `open`,
    and after `drain`; requests that are inside by then go on.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._phase: Literal["loading", "ready", "draining"] = "loading"

    def open(self, app: ASGIApp) -> None:
        """Let requests through, unless the server stops already."""
        self._app = app
        if self._phase == "loading":
            self._phase = "ready"

    def drain(self) -> None:
        """Let no further request in."""
        self._phase = "draining"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self._phase == "ready" and self._app is not None:
            await self._app(scope, receive, send)
        elif scope["path"] == "/health":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif scope["path"] == "/ready":
            headers = {"Retry-After": "1"}
            await JSONResponse({"status": self._phase}, 503, headers)(scope, receive, send)
        else:
            message = _LOADING if self._phase == "loading" else _DRAINING
            failure = Failure(503, message, "server_error", code=self._phase)
            await failure.response()(scope, receive, send)
