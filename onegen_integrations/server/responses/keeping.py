"""Responses that can be asked for and continued by their ids."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onegen_integrations.server.durable import replacing, sync_folder
from onegen_integrations.server.errors import NotFoundError, StorageError
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.responses.kept_response import KeptResponse, owner_of

DAY = 24 * 3600.0
_ID = re.compile(r"resp_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept, in bytes and seconds; the oldest responses are forgotten first."""

    most: int = 10_000
    max_size: int = 4 * 2**20
    max_total: int = 2**30
    max_age: float = 30 * DAY


IN_MEMORY = Bounds(most=1_000, max_total=64 * 2**20)


class KeptResponses:
    """In a folder, or in memory for None; safe to use from several threads."""

    def __init__(self, folder: Path | None, bounds: Bounds | None = None) -> None:
        self._folder = folder
        self._bounds = bounds or (Bounds() if folder else IN_MEMORY)
        self._lock = threading.Lock()
        # Id -> size and time, the oldest first.
        self._known: dict[str, tuple[int, float]] = {}
        self._contents: dict[str, bytes] = {}
        if folder is not None:
            self._open(folder)

    def add(self, response: KeptResponse) -> bool:
        """Keep a response, which survives a kill once this has returned; False: it is too large.

        Raises StorageError.
        """
        content = response.dump()
        if len(content) > self._bounds.max_size:
            return False
        if self._folder is None:
            self._contents[response.id] = content
        else:
            try:
                with replacing(self._folder / f"{response.id}.json") as file:
                    file.write(content)
            except OSError as error:
                raise StorageError(
                    f"The response cannot be kept ({error.strerror}); expected room on the "
                    "server's disk; make room, or send store=false"
                ) from error
        with self._lock:
            self._known[response.id] = (len(content), time.time())
            outdated = list(self._outdated())
        for one in outdated:
            self._drop(one)
        return True

    def get(self, response_id: str, caller: Caller, param: str = "response_id") -> KeptResponse:
        """Raises NotFoundError for what is not there, and for what another key has made."""
        content = self._content(response_id)
        kept = None
        if content is not None:
            try:
                kept = KeptResponse.load(content)
            except (ValueError, TypeError, KeyError) as error:
                raise StorageError(
                    f"The response {response_id} cannot be read ({type(error).__name__}); expected "
                    "what this server wrote; delete its file"
                ) from error
        if kept is None or kept.owner != owner_of(caller):
            raise NotFoundError(
                f"There is no response {response_id[:80]!r}; expected the id of one that is kept; "
                "send the whole conversation as input",
                param=param,
                code="response_not_found",
            )
        return kept

    def remove(self, response_id: str, caller: Caller) -> None:
        """Forget a response; those that continue it stay. Raises NotFoundError."""
        self._drop(self.get(response_id, caller).id)

    def _open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for staged in folder.glob(".*.staged"):
            staged.unlink(missing_ok=True)
        found = [(one.stat(), one.stem) for one in folder.glob("*.json") if _ID.fullmatch(one.stem)]
        found.sort(key=lambda one: one[0].st_mtime)
        self._known = {name: (stat.st_size, stat.st_mtime) for stat, name in found}
        for one in list(self._outdated()):
            self._drop(one)

    def _outdated(self) -> Iterator[str]:
        """What exceeds the bounds, the oldest first."""
        bounds, now = self._bounds, time.time()
        count, total = len(self._known), sum(size for size, _ in self._known.values())
        for name, (size, made) in self._known.items():
            if count <= bounds.most and total <= bounds.max_total and now - made <= bounds.max_age:
                return
            yield name
            count, total = count - 1, total - size

    def _content(self, response_id: str) -> bytes | None:
        known = self._known.get(response_id)
        if known is None or time.time() - known[1] > self._bounds.max_age:
            return None
        if self._folder is None:
            return self._contents.get(response_id)
        try:
            return (self._folder / f"{response_id}.json").read_bytes()
        except FileNotFoundError:
            return None

    def _drop(self, response_id: str) -> None:
        with self._lock:
            self._known.pop(response_id, None)
            self._contents.pop(response_id, None)
        if self._folder is not None:
            (self._folder / f"{response_id}.json").unlink(missing_ok=True)
            sync_folder(self._folder)
