"""Errors as OpenAI's clients expect them: a status, and an object `error` in the body."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from onegen_model.errors import (
    CheckpointError,
    ContextTooLongError,
    InvalidInputError,
    MissingExtraError,
    OneGenError,
    PassageIndexError,
    QueueFullError,
    RetrievalError,
    is_out_of_memory,
)

logger = logging.getLogger(__name__)

# Seconds after which a refused request may be sent again.
_RETRY_AFTER = "1"
# The status of a request whose client has left; only logs and metrics see it.
CLIENT_GONE = 499


class NotFoundError(InvalidInputError):
    """What a request names does not exist here."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "not_found") -> None:
        super().__init__(message)
        self.param, self.code = param, code


class StorageError(OneGenError):
    """The folder of the server cannot be used, or there is none."""

    def __init__(self, message: str, *, status: int = 500, code: str = "storage_failed") -> None:
        super().__init__(message)
        self.status, self.code = status, code


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """Turns an OSError, of a full disk for one, into a StorageError that names no path."""
    try:
        yield
    except (OSError, PassageIndexError) as error:
        cause = error.__cause__ if isinstance(error, PassageIndexError) else error
        if not isinstance(cause, OSError):
            raise
        raise StorageError(
            f"The {what} cannot be kept ({cause.strerror}); expected room on the disk of the "
            "server; make room, and send it again",
            status=507,
        ) from error


class ParameterError(InvalidInputError):
    """A parameter of a request cannot be used; `param` names it."""

    def __init__(self, message: str, *, param: str, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param, self.code = param, code


class StoppingError(OneGenError):
    """The server stops, and ends what it still works on."""


@contextmanager
def blaming(param: str) -> Iterator[None]:
    """Give an error of wrong input that names no parameter this one, and one of deep nesting."""
    try:
        yield
    except (ContextTooLongError, NotFoundError, ParameterError):
        raise
    except InvalidInputError as error:
        raise ParameterError(str(error), param=param) from error
    except RecursionError as error:
        raise ParameterError(
            f"{param} is nested too deep; expected less than a hundred levels; make it flatter",
            param=param,
        ) from error


@dataclass(frozen=True, slots=True)
class Failure:
    """An error on the wire."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """The body of the answer, and the data of an event in a stream."""
        about = {"message": self.message, "type": self.type}
        return {"error": {**about, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole answer."""
        headers = {"Retry-After": _RETRY_AFTER} if self.status in (429, 503) else None
        return JSONResponse(self.body, self.status, headers)


# The first kind that an error is of says its status, type and code; its own code goes before.
_KINDS: tuple[tuple[type[OneGenError], int, str, str | None], ...] = (
    (NotFoundError, 404, "invalid_request_error", None),
    (ContextTooLongError, 400, "invalid_request_error", "context_length_exceeded"),
    (RetrievalError, 502, "retrieval_error", "retrieval_failed"),
    (QueueFullError, 429, "rate_limit_error", "queue_full"),
    (StoppingError, 503, "server_error", "server_stopping"),
    (CheckpointError, 400, "invalid_request_error", "unsupported_model"),
    (MissingExtraError, 501, "not_implemented_error", "missing_extra"),
    (InvalidInputError, 400, "invalid_request_error", None),
    (OneGenError, 500, "server_error", None),
)

# The parameter that is wrong where the error does not name it.
_PARAMS: dict[type[OneGenError], str] = {ContextTooLongError: "messages", CheckpointError: "model"}


def failure_of(error: BaseException) -> Failure:
    """What a caller sees of an error. Of a bug it sees that there is one; the log has the rest."""
    for kind, status, name, code in _KINDS:
        if isinstance(error, kind):
            param = getattr(error, "param", None) or _PARAMS.get(kind)
            own = getattr(error, "code", None) or code
            return Failure(getattr(error, "status", status), str(error), name, param, own)
    if is_out_of_memory(error):
        message = "Out of memory; expected a smaller request, or fewer at once; try again later"
        return Failure(503, message, "server_error", code="out_of_memory")
    message = "The server failed; expected no error; see its log"
    return Failure(500, message, "server_error", code="internal_error")


def log_bug(error: BaseException, asked: str) -> None:
    """Log an error that no request can cause; `asked` is its method and path."""
    if failure_of(error).code == "internal_error":
        logger.error("%s failed", asked, exc_info=error)


def add_handlers(app: FastAPI) -> None:
    """Answer every error in one form."""

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> JSONResponse:
        # Quoted: whoever sends a path must not write lines of the log.
        log_bug(error, f"{request.method} {quote(request.scope['path'])}")
        return failure_of(error).response()

    @app.exception_handler(OneGenError)
    async def _(request: Request, error: OneGenError) -> JSONResponse:
        return failure_of(error).response()

    @app.exception_handler(ClientDisconnect)
    async def _(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error).response()

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code not in (404, 405):
            return Failure(error.status_code, str(error.detail)).response()
        # The header of a 405 names the methods that there are.
        asked = f"{request.method} {request.url.path}"
        message = f"There is no {asked}; expected a route of this server; see /openapi.json"
        reply = Failure(error.status_code, message, code="not_found").response()
        reply.headers.update(error.headers or {})
        return reply


def _invalid(error: RequestValidationError) -> Failure:
    """The first of pydantic's findings, by the name of its field; no value is shown."""
    first = error.errors()[0]
    kind, place = str(first["type"]), list(map(str, first["loc"]))
    if kind == "json_invalid":  # Its place is a number of characters.
        why = first.get("ctx", {}).get("error", "it cannot be read")
        message = f"The body is no JSON: {why} at character {place[-1]}; expected JSON; correct it"
        return Failure(400, message, code=kind)
    if place == ["body"] and kind == "model_attributes_type":
        message = (
            "The body is no JSON object, or is not sent as one; expected one, with the header "
            "`Content-Type: application/json`; add it, or correct the body"
        )
        return Failure(400, message, code=kind)
    place = place[1:] if place[:1] and place[0] in ("body", "path", "query") else place
    param = ".".join(place) or None
    message = (
        f"{param or 'The body'}: {first['msg']}; expected what /openapi.json shows; correct it"
    )
    return Failure(400, message, param=param, code=kind)
