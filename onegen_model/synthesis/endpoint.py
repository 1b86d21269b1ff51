"""Questions by any model behind an OpenAI-compatible endpoint, over plain HTTP."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from onegen_model.errors import InvalidInputError, OneGenError
from onegen_model.events import Passage
from onegen_model.synthesis.candidates import Candidate

PROMPT = """\
Write {count} questions that the passage below answers, each about another fact. A reader who has \
not seen the passage must understand the question: name things in full, and never write "the \
passage" or "the text". The answer is a short span copied from the passage, letter by letter.
Reply with JSON alone: [{{"question": "…", "answer": "…"}}]

Passage:
{passage}"""
_LIST = re.compile(r"\[(?=\s*\{)")
_TRIES = 4
_MAX_DETAIL = 300  # bytes of an error that are shown
_LONGEST_PAUSE = 60.0  # seconds that an endpoint may ask to wait
_SURROGATE = re.compile("[\ud800-\udfff]")
_BUSY = {408, 409, 425, 429, 500, 502, 503, 504}


class EndpointError(OneGenError):
    """An endpoint refused a request, could not be reached, or does not speak the protocol."""


class _NoRedirects(HTTPRedirectHandler):
    """A redirected request would carry the key to another host, and lose its body."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = build_opener(_NoRedirects)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers: `url` ends before `/chat/completions`; `key` is a bearer token.

    `timeout` and the first `pause` before another try are in seconds; a pause doubles, and is as
    long as the endpoint asks for, up to a minute.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 120.0
    pause: float = 2.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidInputError(
                f"The endpoint {self.url!r} is no URL; expected one as in "
                "http://localhost:8000/v1; change it"
            )
        if parts.username is not None or parts.query or parts.fragment:
            # A URL is written to files and messages.
            raise InvalidInputError(
                "The URL of the endpoint holds a user, a query or a fragment; expected one as in "
                "http://localhost:8000/v1; give the key apart from it"
            )
        if not self.model:
            raise InvalidInputError(
                "The endpoint has no model name; expected one that it serves; name it"
            )
        object.__setattr__(self, "key", self.key.strip())
        if not (self.key.isascii() and self.key.isprintable()):
            raise InvalidInputError(
                "The key of the endpoint holds a line break or a letter outside ASCII; expected "
                "one line of ASCII; copy it again"
            )

    def complete(self, prompt: str, seed: int) -> str:
        """The model's reply; a busy endpoint is asked again. Raises EndpointError."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.3,
            "seed": seed,
        }
        for attempt in range(_TRIES):
            is_last, wait = attempt == _TRIES - 1, self.pause * 2**attempt
            try:
                return _content(self._post(body))
            except HTTPError as error:
                if error.code not in _BUSY or is_last:
                    raise self._failed(f"answered {error.code} ({_detail(error)})") from error
                wait = max(wait, _asked_pause(error))
            except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
                if is_last:
                    reason = getattr(error, "reason", error)
                    raise self._failed(f"cannot be reached ({reason})") from error
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                raise self._failed(f"answered something else ({error})") from error
            time.sleep(wait)
        raise AssertionError("unreachable: the last try returns or raises")

    def _post(self, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = Request(
            f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers
        )
        with _OPENER.open(request, timeout=self.timeout) as reply:
            return json.loads(reply.read())

    def _failed(self, what: str) -> EndpointError:
        if self.key:  # Some endpoints quote what they were sent.
            what = what.replace(self.key, "…")
        return EndpointError(
            f"{self.url} {what}; expected an OpenAI-compatible endpoint that serves {self.model}; "
            "check the URL, the model name and the key, and run the same again to continue"
        )


def _content(plain: Any) -> str:
    text = plain["choices"][0]["message"]["content"]
    if not isinstance(text, str):
        raise TypeError(f"the content {text!r}")
    return text


def _detail(error: HTTPError) -> str:
    try:
        said = error.read(_MAX_DETAIL).decode("utf-8", "replace")
    except (HTTPException, OSError):  # the connection ended behind the status
        said = ""
    return " ".join(said.split()) or error.reason


def _asked_pause(error: HTTPError) -> float:
    """The seconds of Retry-After, which may be a date instead; 0 without them."""
    asked = error.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_PAUSE) if asked.isdecimal() else 0.0


@dataclass(frozen=True, slots=True)
class EndpointWriter:
    """Asks an endpoint for `count` questions about a passage."""

    endpoint: Endpoint
    count: int = 3
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.endpoint.model} at {self.endpoint.url}"

    def write(self, passage: Passage) -> Sequence[Candidate]:
        """None where the reply holds no list of questions; raises EndpointError."""
        prompt = PROMPT.format(count=self.count, passage=passage.titled_text)
        reply = self.endpoint.complete(prompt, self.seed)
        return [Candidate(one, answer, passage) for one, answer in read_reply(reply)]


def read_reply(reply: str) -> list[tuple[str, str]]:
    """Questions and answers of the first JSON list of them in a reply, whatever is around it."""
    return next(filter(None, map(_pairs, _lists(reply))), [])


def _lists(reply: str) -> Iterator[list[Any]]:
    """The JSON lists in a text that begin with an object."""
    decoder = json.JSONDecoder()
    for start in _LIST.finditer(reply):
        with suppress(ValueError, RecursionError):
            yield decoder.raw_decode(reply, start.start())[0]


def _pairs(rows: Sequence[Any]) -> list[tuple[str, str]]:
    return [
        (row["question"].strip(), row["answer"].strip())
        for row in rows
        if isinstance(row, dict) and _is_text(row.get("question")) and _is_text(row.get("answer"))
    ]


def _is_text(value: object) -> bool:
    """Whether it is some text that a file can hold."""
    return isinstance(value, str) and not _SURROGATE.search(value)
