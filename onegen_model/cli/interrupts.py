"""Handles Ctrl-C between the steps of a long job."""

import signal
import threading
from types import FrameType
from typing import Any, Self

INTERRUPTED = 130  # the exit status after Ctrl-C


class Interrupts:
    """Defers Ctrl-C while entered: the first one sets `requested`, a second one interrupts."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def raise_requested(self) -> None:
        """Raise KeyboardInterrupt if there was a Ctrl-C."""
        if self.requested:
            raise KeyboardInterrupt

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
