"""The command line: `onegen index`, `embed`, `ask`, `chat`, `train` and the rest."""

import gc
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from onegen_model.checkpoint.collector import paused_collector
from onegen_model.cli.interrupts import INTERRUPTED
from onegen_model.cli.options import require_device_name
from onegen_model.cli.parser import parse_arguments
from onegen_model.cli.printable import PrintableFormatter, printable
from onegen_model.cli.system_errors import explain_os_error
from onegen_model.errors import InvalidInputError, OneGenError, is_out_of_memory

if TYPE_CHECKING:
    from onegen_model.model import OneGenModel

LoadModel = Callable[[str | None, str], "OneGenModel"]

_FAILED = 2


def main(argv: Sequence[str] | None = None, load_model: LoadModel | None = None) -> int:
    """The exit status: 0, 2 after an error, 130 after Ctrl-C; wrong usage raises SystemExit(2)."""
    _open_closed_streams()
    try:
        options = parse_arguments(sys.argv[1:] if argv is None else argv)
        return _run(options, load_model)
    except KeyboardInterrupt:
        return _fail("stopped", INTERRUPTED)


def _open_closed_streams() -> None:
    """A stream that the shell has closed is None in Python, and used like an empty one here."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (until the process ends)


def _run(options: Namespace, load_model: LoadModel | None) -> int:
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("onegen: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        _set_threads(options.threads)
        return int(options.run(options, load_model or _loader(options)))
    except BrokenPipeError:
        # The reader has left (`onegen ask … | head`): keep Python from writing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except Exception as error:
        message = None if options.debug else _explain(error, options)
        if message is None:
            raise
        return _fail(f"error: {message}", _FAILED)


def _explain(error: Exception, options: Namespace) -> str | None:
    """The message in place of a traceback; None for a bug."""
    if isinstance(error, OneGenError):
        return str(error)
    if is_out_of_memory(error):
        return f"Out of memory; expected it to fit; {_less_memory(options)}"
    if isinstance(error, OSError):
        return explain_os_error(error)
    return None


def _less_memory(options: Namespace) -> str:
    if hasattr(options, "batch"):
        return f"lower --batch (now {options.batch}) and run the same command again"
    return "choose a smaller model, or free some memory"


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"onegen: {printable(' '.join(message.split()))}\n")
    return status


def _loader(options: Namespace) -> LoadModel:
    """Loads onto the device of the options, whose name is checked here, with their queue."""
    device: str | None = getattr(options, "device", None)
    require_device_name(device)
    further = {"max_queue": options.max_queue} if hasattr(options, "max_queue") else {}

    def load(path_or_id: str | None, dtype: str) -> "OneGenModel":
        with paused_collector():
            from onegen_model.model import OneGenModel

            model = OneGenModel.from_pretrained(path_or_id, dtype=dtype, device=device, **further)
            gc.freeze()  # What is here now stays until the end.
        return model

    return load


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise InvalidInputError(f"threads={threads}; expected at least 1; change --threads")
    # Read by torch and faiss when they are imported, which takes seconds and may not be needed.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
