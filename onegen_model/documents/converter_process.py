"""The process that converts files, which a Converter starts.

Reads requests from its standard input and writes answers to its standard output.
"""

import os
import queue
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

from onegen_model.documents.converter import MISSING, read_message, write_message

# Address space of the process, where the system can limit it.
_MEMORY = 4 << 30


def main() -> None:
    """Answer requests until the input ends."""
    _limit_memory()
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the answers.
    os.dup2(2, 1)
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, requests), daemon=True).start()
    with suppress(ImportError):  # Each file that needs it says so.
        import_module("markitdown")
    write_message(answers, {})
    while True:
        write_message(answers, _answer(requests.get()))


def _receive(pipe: IO[bytes], requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    while (request := read_message(pipe)) is not None:
        requests.put(request)
    os._exit(0)  # The parent is gone, perhaps while a file is converted.


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = _MEMORY if most == resource.RLIM_INFINITY else min(_MEMORY, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):  # A system that knows the limit and cannot set it.
        return


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from onegen_model.documents.conversion import convert
    from onegen_model.documents.failures import FileProblem

    try:
        return convert(request)
    except FileProblem as problem:
        return {"problem": str(problem)}
    except MemoryError:
        return {"problem": "its conversion needs too much memory"}
    except RecursionError:
        return {"problem": "it is nested too deeply"}
    except ImportError:
        return {"problem": MISSING}
    except Exception as error:
        if type(error).__name__ == "MissingDependencyException":  # markitdown without an extra
            return {"problem": MISSING}
        first = str(error).strip().partition("\n")[0][:200]
        what = first or type(error).__name__
        return {"problem": f"it is damaged, or not what its suffix says ({what})"}
