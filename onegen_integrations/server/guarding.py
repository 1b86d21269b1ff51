"""What every request passes first: its key, and the size of its body."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onegen_integrations.server.errors import Failure
from onegen_integrations.server.keys import Caller, find_caller
from onegen_integrations.server.settings import ServerSettings

# Answered without a key: what a supervisor asks, and the page, which asks its reader for one.
OPEN_PATHS = frozenset({"/", "/health", "/ready", "/favicon.ico"})
OPEN_FOLDERS = ("/page/",)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuses wrong keys (401) and bodies that are too large (413) before anything is read."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._is_foreign(scope, headers):
            await self._forbidden()(scope, receive, send)
            return
        if not self._is_for_us(headers):
            await self._misdirected()(scope, receive, send)
            return
        caller = self._caller(scope, headers)
        if caller is None:
            await self._unauthorised()(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._settings.max_body:
            await self._too_large()(scope, receive, send)
            return
        await self._app(scope, self._bounded(receive), send)

    def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        keys = self._settings.keys
        path = scope["path"]
        if not keys or path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return Caller()
        if scope["method"] == "OPTIONS":  # A browser asks before it sends a key.
            return Caller()
        kind, _, secret = headers.get("authorization", "").partition(" ")
        given = secret.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        return find_caller(keys, given)

    def _is_foreign(self, scope: Scope, headers: Headers) -> bool:
        """Whether a page of another origin changes something: a browser sends forms without asking
        first, also to a server that only this computer can reach."""
        origin = headers.get("origin")
        if origin is None or scope["method"] in _SAFE:
            return False
        outer = host_name(self._settings.public_url)  # A proxy may send another Host.
        own = origin.partition("://")[2] == headers.get("host")
        own = own or (outer is not None and host_name(origin) == outer)
        return not own and origin not in self._settings.cors and "*" not in self._settings.cors

    def _forbidden(self) -> ASGIApp:
        message = "The request comes from a page of another origin; expected one that is allowed; "
        message += "start the server with --cors ORIGIN"
        return Failure(403, message, "permission_error", code="foreign_origin").response()

    def _is_for_us(self, headers: Headers) -> bool:
        """Whether the request names this server: a page whose name is made to point to this machine
        would else be of the server's own origin."""
        hosts = self._settings.hosts
        return not hosts or host_name(f"//{headers.get('host', '')}") in hosts

    def _misdirected(self) -> ASGIApp:
        message = f"The request is for another host; expected {' or '.join(self._settings.hosts)}; "
        message += "call the server by that name, or start it with a key or --public-url"
        return Failure(421, message, "permission_error", code="foreign_host").response()

    def _bounded(self, receive: Receive) -> Receive:
        left = self._settings.max_body

        async def read() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:  # A body without a length, in chunks.
                raise HTTPException(413, too_large(self._settings.max_body).message)
            return message

        return read

    def _unauthorised(self) -> ASGIApp:
        message = "The API key is missing or wrong; expected `Authorization: Bearer KEY`; send one"
        return Failure(401, message, "authentication_error", code="invalid_api_key").response()

    def _too_large(self) -> ASGIApp:
        return too_large(self._settings.max_body).response()


def host_name(url: str) -> str | None:
    """The host of a URL in small letters; None where there is none, or it cannot be read."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def too_large(limit: int) -> Failure:
    """The failure of a body that is larger than `limit` bytes."""
    message = f"The body is larger than {limit} bytes; expected less; send less, or raise max_body"
    return Failure(413, message, code="body_too_large")
