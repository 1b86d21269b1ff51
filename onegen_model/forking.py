"""Forked processes: torch threads stay in the parent, and a child that waits for them hangs."""

import os

import torch

from onegen_model.errors import EngineError

# Whether this process has computed with torch, and whether its parent had before the fork.
_has_computed = False
_parent_had_computed = False


def mark_computing() -> None:
    """Remember that torch may have started its threads in this process."""
    global _has_computed
    _has_computed = True


def require_own_threads() -> None:
    """Raise EngineError in a child whose torch would wait for threads that it does not have."""
    if _parent_had_computed and torch.get_num_threads() > 1:
        raise EngineError(
            "This process was forked from one that had computed with several torch threads; "
            "expected a process that was started afresh, because threads do not survive a fork; "
            'start workers by "spawn" and load the model there, or call torch.set_num_threads(1) '
            "in the child"
        )


def _after_fork() -> None:
    global _has_computed, _parent_had_computed
    _parent_had_computed = _parent_had_computed or _has_computed
    _has_computed = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
