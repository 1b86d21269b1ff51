"""A lock that survives a fork: another thread of the parent may have held it."""

import os
import threading
import weakref
from contextlib import suppress
from types import TracebackType


class ProcessLock:
    """A reentrant lock, as a context manager; a forked child begins with a fresh one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> "ProcessLock":
        self._lock.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(RuntimeError):  # A fork inside of the block has replaced the lock.
            self._lock.release()

    def renew(self) -> None:
        """Forget who holds the lock."""
        self._lock = threading.RLock()


_locks: "weakref.WeakSet[ProcessLock]" = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
