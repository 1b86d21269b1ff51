"""A job in a forked child of the test's process."""

import os
from typing import Any


def in_child(job: Any) -> str:
    """What `job` returns, or the error that it raises, as text."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = str(job())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(send, text.encode()[:4000])
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as reported:
        text = reported.read()
    os.waitpid(child, 0)
    return text
