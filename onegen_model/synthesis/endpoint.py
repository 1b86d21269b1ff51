"""Questions by any model behind an OpenAI-compatible endpoint, over plain HTTP."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

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
_LIST = re.compile(r"\[.*\]", re.DOTALL)
_TRIES = 4
_BUSY = {408, 409, 425, 429, 500, 502, 503, 504}


class EndpointError(OneGenError):
    """An endpoint refused a request, could not be reached, or does not speak the protocol."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers: `url` ends before `/chat/completions`; `key` is a bearer token.

    `timeout` and the first `pause` before another try are in seconds; a pause doubles.
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
        if not self.model:
            raise InvalidInputError(
                "The endpoint has no model name; expected one that it serves; name it"
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
            try:
                return _content(self._post(body))
            except HTTPError as error:
                if error.code not in _BUSY or attempt == _TRIES - 1:
                    raise self._failed(f"answered {error.code} ({_detail(error)})") from error
            except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
                if attempt == _TRIES - 1:
                    reason = getattr(error, "reason", error)
                    raise self._failed(f"cannot be reached ({reason})") from error
            except (ValueError, LookupError, TypeError) as error:
                raise self._failed(f"answered something else ({error})") from error
            time.sleep(self.pause * 2**attempt)
        raise AssertionError("unreachable: the last try returns or raises")

    def _post(self, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = Request(
            f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers
        )
        with urlopen(request, timeout=self.timeout) as reply:  # http or https, checked above
            return json.loads(reply.read())

    def _failed(self, what: str) -> EndpointError:
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
    return " ".join(error.read(300).decode("utf-8", "replace").split()) or error.reason


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
    """Questions and answers of the JSON list in a reply, whatever is around it."""
    found = _LIST.search(reply)
    try:
        rows = json.loads(found[0]) if found else []
    except ValueError:
        return []
    return [
        (row["question"].strip(), row["answer"].strip())
        for row in rows
        if isinstance(row, dict)
        and isinstance(row.get("question"), str)
        and isinstance(row.get("answer"), str)
    ]
