"""Pauses Python's garbage collector while a network is loaded."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Collect no garbage inside the block; it may be entered again inside.

    Importing transformers and building a network makes millions of objects that all stay. Walking
    through them again and again takes about a quarter of the time to load a small model.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
