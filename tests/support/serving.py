"""A server of the tiny model: inside the process of a test, or behind a real port."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

_DEADLINE = 20


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve `app` in a thread; the address, without a slash at the end."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + _DEADLINE
    while not server.started:
        if time.monotonic() > until or not thread.is_alive():
            raise TimeoutError("the server did not start")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(_DEADLINE)
