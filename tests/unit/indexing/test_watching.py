"""Files are watched for as long as it is asked for."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.indexing import watching
from onegen_model.indexing.watching import watch_files

watchfiles = pytest.importorskip("watchfiles")


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def test_a_folder_that_is_made_again_is_watched_again(docs: Path) -> None:
    ended, seen = threading.Event(), list[int]()

    def watch() -> None:
        for _ in watch_files([docs], docs.parent / "i", ended.is_set, pause=0.05):
            seen.append(len(list(docs.iterdir())) if docs.is_dir() else -1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        wait_for(lambda: seen == [20])
        shutil.rmtree(docs)
        wait_for(lambda: seen[-1] == -1)
        docs.mkdir()
        (docs / "a.txt").write_text("a")
        wait_for(lambda: seen[-1] == 1)
        (docs / "b.txt").write_text("b")
        wait_for(lambda: seen[-1] == 2)
    finally:
        ended.set()
        thread.join()


def test_a_watch_that_fails_says_so(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watching.import_watchfiles(), "watch", refuse)
    with pytest.raises(InvalidInputError, match=r"cannot be watched .*limit reached"):
        list(watch_files([docs], docs.parent / "i", lambda: False))
