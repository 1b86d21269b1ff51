"""Converts files in a process of its own: a crash or a hang there fails one file only."""

import json
import logging
import os
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from onegen_model.documents.failures import FileProblem
from onegen_model.documents.kinds import suffix_of
from onegen_model.documents.options import ReadingOptions

logger = logging.getLogger(__name__)

_MODULE = "onegen_model.documents.converter_process"
_LENGTH = struct.Struct(">Q")
# Numeric libraries start threads by the number of cores, each with memory of its own.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_MISSING = 'its kind needs the extra "documents"; run pip install "onegen[documents]"'


@dataclass(frozen=True, slots=True)
class Converted:
    """A file as Markdown; see Document for `pages`."""

    text: str
    title: str | None = None
    pages: tuple[int, ...] = ()


class Converter:
    """Starts its process with the first file, and again after each that it did not survive."""

    def __init__(self, options: ReadingOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def convert(self, path: Path) -> Converted:
        """Raises FileProblem."""
        if find_spec("markitdown") is None:
            raise FileProblem(_MISSING)
        request = {
            "path": os.path.abspath(path),
            "suffix": suffix_of(path),
            "encoding": self._options.encoding,
            "max_bytes": self._options.max_file_bytes,
            "max_characters": self._options.max_text_characters,
        }
        answer = self._ask(request)
        if "problem" in answer:
            raise FileProblem(answer["problem"])
        return Converted(answer["text"], answer["title"], tuple(answer["pages"]))

    def close(self) -> None:
        """End the process; a later file starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close(pipe)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process = self._process or _start()
        seconds = self._options.convert_seconds
        ran_out = threading.Event()

        def stop() -> None:
            ran_out.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            answer = _exchange(process, request)
        except OSError:
            answer = None
        except BaseException:  # Ctrl-C, while the answer is under way.
            self.close()
            raise
        finally:
            timer.cancel()
        if answer is not None:
            return answer
        status = process.wait()
        self.close()
        if ran_out.is_set():
            return {"problem": f"its conversion took longer than {seconds:g} s"}
        return {"problem": f"its conversion ended without a result (status {status})"}


def _start() -> "subprocess.Popen[bytes]":
    # This package may have been found by a path that a new interpreter does not know.
    root = str(Path(__file__).parents[2])
    known = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        **_ONE_THREAD,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, known))),
    }
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        # Ctrl-C in a terminal is for the parent, which ends this process.
        start_new_session=True,
    )


def _exchange(process: "subprocess.Popen[bytes]", request: dict[str, Any]) -> dict[str, Any] | None:
    assert process.stdin is not None
    assert process.stdout is not None
    write_message(process.stdin, request)
    return read_message(process.stdout)


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:  # Unsent bytes of a dead process.
        logger.debug("A pipe of the converter was broken")


def write_message(pipe: IO[bytes], plain: dict[str, Any]) -> None:
    """One message: its length, then JSON."""
    data = json.dumps(plain).encode()
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> dict[str, Any] | None:
    """The next message; None where the pipe ends."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    return json.loads(data) if len(data) == length else None
