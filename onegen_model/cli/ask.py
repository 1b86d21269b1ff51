"""`onegen ask` and `onegen chat`."""

import contextlib
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.display import Display, open_display
from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.cli.where import parse_where, require_known_names
from onegen_model.errors import InvalidInputError, OneGenError
from onegen_model.events import Finished
from onegen_model.params import RetrievalParams, SamplingParams

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.model import OneGenModel
    from onegen_model.retrieval.index import PassageIndex
    from onegen_model.transcript.answer import Answer


@dataclass(frozen=True, slots=True)
class Session:
    """A model, its index, and the display of its answers."""

    model: "OneGenModel"
    index: "PassageIndex | None"
    display: Display
    sampling: SamplingParams = field(default_factory=SamplingParams)
    retrieval: RetrievalParams = field(default_factory=RetrievalParams)

    def answer(self, question: str, history: "Answer | None" = None) -> "Answer | None":
        """Show the answer while it is written; None after Ctrl-C."""
        started = time.perf_counter()
        stream = self.model.stream(
            question,
            retriever=self.index,
            sampling=self.sampling,
            retrieval=self.retrieval,
            history=history,
        )
        with Interrupts() as interrupts, contextlib.closing(stream):
            for event in stream:
                self.display.event(event)
                if interrupts.requested and not isinstance(event, Finished):
                    return None
        self.display.answer(stream.answer, time.perf_counter() - started)
        return stream.answer


def run_ask(options: Namespace, load_model: "LoadModel") -> int:
    if not options.question.strip():
        raise InvalidInputError("The question is empty; expected some text; write one")
    session = _open_session(options, load_model)
    if session.answer(options.question) is None:
        sys.stderr.write("\nonegen: cancelled\n")
        return INTERRUPTED
    return 0


def run_chat(options: Namespace, load_model: "LoadModel") -> int:
    session = _open_session(options, load_model)
    history: Answer | None = None
    for question in _read_questions():
        if question == "/new":
            history = None
            continue
        try:
            history = _answer_or_report(session, question, history)
        except OneGenError as error:
            if options.debug:
                raise
            sys.stderr.write(f"onegen: error: {error}\n")
    return 0


def _answer_or_report(session: Session, question: str, history: "Answer | None") -> "Answer | None":
    answer = session.answer(question, history)
    if answer is None:
        sys.stderr.write("\nonegen: cancelled; the conversation continues without this question\n")
        return history
    return answer


def _read_questions() -> Iterator[str]:
    """Lines until /quit or the end of input."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (gives `input` editing and a history)
        sys.stderr.write("Ask a question; /new begins a new conversation, /quit or Ctrl-D leaves\n")
    while True:
        try:
            line = input("> " if is_terminal else "").strip()
        except EOFError:
            if is_terminal:
                sys.stderr.write("\n")
            return
        except KeyboardInterrupt:
            sys.stderr.write("\n/quit or Ctrl-D leaves\n")
            continue
        except UnicodeDecodeError:
            sys.stderr.write("onegen: error: The line is not UTF-8; expected text; try again\n")
            continue
        if line == "/quit":
            return
        if line:
            yield line


def _open_session(options: Namespace, load_model: "LoadModel") -> Session:
    from onegen_model.retrieval.index import PassageIndex
    from onegen_model.retrieval.manifest import read_manifest

    sampling = SamplingParams(
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        seed=options.seed,
    )
    retrieval = RetrievalParams(
        mode=options.retrieval,
        top_k=options.top_k,
        max_retrievals=options.max_retrievals,
        filter=parse_where(options.where),
    )
    if options.index is None and options.retrieval != "never":
        raise InvalidInputError(
            "No index is given; expected one to search; add `--index DIR`, or `--retrieval never`"
        )
    if options.index is not None:
        read_manifest(Path(options.index))  # A wrong path is reported before the model is loaded.
    model = load_model(options.model, options.dtype)
    index = None if options.index is None else PassageIndex.load(model, options.index)
    if index is not None:
        require_known_names(retrieval.filter, index.passages)
    return Session(model, index, open_display(as_json=options.json), sampling, retrieval)
