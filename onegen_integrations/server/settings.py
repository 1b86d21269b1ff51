"""What the operator of a server chooses once, at its start."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from onegen_integrations.server.keys import ApiKey
from onegen_model import RetrievalParams, SamplingParams
from onegen_model.errors import InvalidInputError

MAX_BODY = 64 * 2**20
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]+")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of a server.

    Without `keys` every caller is let in. Of a request the header Host must name one of `hosts`,
    if there are any. `cors` are origins whose pages may call the server.
    `max_body` is the largest body of a request, in bytes. At most `max_queue` requests wait to be
    embedded, and as many to be linked; the queue of answers is that of the model. `access_log` logs
    every request, without its texts, under `onegen_integrations.server.access`; `tracing` sends
    OpenTelemetry spans. `storage` is the folder of files, vector stores and kept responses; None:
    no files, and responses are kept in memory. `sampling` and `retrieval` are what a request leaves
    open. `public_url` begins the addresses of citations; empty: the address that the caller used.
    """

    keys: tuple[ApiKey, ...] = ()
    hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    max_body: int = MAX_BODY
    max_queue: int = 256
    access_log: bool = False
    tracing: bool = False
    storage: Path | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    retrieval: RetrievalParams = field(default_factory=RetrievalParams)
    public_url: str = ""

    def __post_init__(self) -> None:
        for name in ("max_body", "max_queue"):
            if (value := getattr(self, name)) < 1:
                raise InvalidInputError(f"{name}={value}; expected at least 1; change {name}")
        for origin in self.cors:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise InvalidInputError(
                    f"{origin!r} is no origin; expected one as browsers send it, such as "
                    "https://app.example.com; change cors"
                )
