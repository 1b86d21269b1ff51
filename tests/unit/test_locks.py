"""Locks and forks."""

import os
import threading

import pytest

from onegen_model.locks import ProcessLock
from tests.support.forks import in_child


def test_a_lock_keeps_threads_apart_and_lets_its_own_in() -> None:
    lock = ProcessLock()
    entered = threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    with lock, lock:
        other = threading.Thread(target=enter, daemon=True)
        other.start()
        assert not entered.wait(0.05)
    other.join(20)
    assert entered.is_set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    lock, held, go_on = ProcessLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            go_on.wait(20)

    def enter() -> str:
        with lock:
            return "entered"

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(20)
    assert in_child(enter) == "entered"
    with_fork_inside = ProcessLock()
    with with_fork_inside:
        assert in_child(lambda: with_fork_inside.__exit__(None, None, None)) == "None"
    go_on.set()
