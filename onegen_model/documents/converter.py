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

# Not `python -m`, which would look for modules in the folder that is read, and run what is there.
# This package may have been found by a path that a new interpreter does not know, or knows for
# another release of it.
_CODE = """\
import sys
places = (at for at, path in enumerate(sys.path) if path.endswith("-packages"))
sys.path.insert(next(places, len(sys.path)), sys.argv[1])
from onegen_model.documents.converter_process import main
main()
"""
_ROOT = str(Path(__file__).parents[2])
_LENGTH = struct.Struct(">Q")
# Numeric libraries start threads by the number of cores, each with memory of its own.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Seconds in which a process that has closed its output should have ended.
_GRACE = 5.0
# It imports its libraries before it takes a file; a machine may be busy.
_START_SECONDS = 120.0
MISSING = 'its kind needs the extra "documents"; run pip install "onegen[documents]"'


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
            raise FileProblem(MISSING)
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
        if self._process is None:
            self._process = _start()
            ready = self._answer(_START_SECONDS, "its converter did not start")
            if "problem" in ready:
                return ready
        return self._answer(self._options.convert_seconds, "its conversion gave no result", request)

    def _answer(
        self, seconds: float, what: str, request: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The next answer; a problem where the process ends or takes longer."""
        process = self._process
        assert process is not None
        ran_out = threading.Event()

        def stop() -> None:
            ran_out.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            answer = _exchange(process, request)
        except OSError:  # The process has ended.
            answer = None
        except BaseException:  # Ctrl-C, while the answer is under way.
            self.close()
            raise
        finally:
            timer.cancel()
        if ran_out.is_set():
            answer = answer or {"problem": f"{what} in {seconds:g} s"}
        elif answer is None:
            answer = {"problem": f"{what} ({_end_of(process)})"}
        else:
            return answer
        self.close()
        return answer


def _start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _CODE, _ROOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_ONE_THREAD},
        # Ctrl-C in a terminal is for the parent, which ends this process.
        start_new_session=True,
    )


def _end_of(process: "subprocess.Popen[bytes]") -> str:
    try:
        status = process.wait(_GRACE)
    except subprocess.TimeoutExpired:  # It closed its output and hangs.
        return "no answer"
    return f"signal {-status}" if status < 0 else f"status {status}"


def _exchange(
    process: "subprocess.Popen[bytes]", request: dict[str, Any] | None
) -> dict[str, Any] | None:
    assert process.stdin is not None
    assert process.stdout is not None
    if request is not None:
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
