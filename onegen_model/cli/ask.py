"""`onegen ask`, and the session that all answering subcommands share."""

import contextlib
import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.display import Display, open_display
from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.cli.sources import SourceListing
from onegen_model.cli.where import parse_where, require_known_names
from onegen_model.errors import InvalidInputError
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
        self.display.begin(searches=self.index is not None)
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
    question = _read_question(options.question)
    session = open_session(options, load_model)
    if session.answer(question) is None:
        sys.stderr.write("\nonegen: cancelled\n")
        return INTERRUPTED
    return 0


def _read_question(given: str) -> str:
    """The argument, or standard input for "-"; raises InvalidInputError without any text."""
    try:
        question = sys.stdin.read() if given == "-" else given
        question.encode()  # Python reads other bytes as surrogates where the locale is C.
    except UnicodeError as error:
        what = "Standard input" if given == "-" else "The question"
        raise InvalidInputError(
            f"{what} is not UTF-8; expected a question in text; convert it"
        ) from error
    if not question.strip():
        raise InvalidInputError("The question is empty; expected some text; write one")
    return question.strip() if given == "-" else question


def open_session(options: Namespace, load_model: "LoadModel") -> Session:
    """The model and the index that the options name; raises OneGenError for wrong options first."""
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
        min_score=options.min_score,
        not_found=options.not_found or None,
        window=options.window,
    )
    if options.index is None and options.retrieval != "never":
        raise InvalidInputError(
            "No index is given; expected one to search; add `--index DIR`, or `--retrieval never`"
        )
    if options.index is not None:
        read_manifest(Path(options.index))  # A wrong path is reported before the model is loaded.
    model = load_model(options.model, options.dtype)
    index = None
    if options.index is not None:
        from onegen_model.retrieval.index import PassageIndex

        index = PassageIndex.load(model, options.index)
        require_known_names(retrieval.filter, index.passages)
    root = None if options.index is None else Path(options.index).resolve().parent
    listing = SourceListing(options.sources, root)
    display = open_display(as_json=options.json, template=model.template, sources=listing)
    return Session(model, index, display, sampling, retrieval)
