"""A model for the command line that finds by words and answers with the best passage."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model.citations import Citation, cite
from onegen_model.cli import main
from onegen_model.events import (
    Event,
    Finished,
    Passage,
    PassagesInserted,
    Query,
    RetrievalRequested,
    ScoredPassage,
    Token,
    Usage,
)
from onegen_model.transcript.template import Template
from tests.support.fake_embedder import FakeEmbedder, unit

ROOT = Path(__file__).parents[2]


@dataclass
class FakeRetrieval:
    hop: int
    query: str
    passages: tuple[ScoredPassage, ...]


@dataclass
class FakeAnswer:
    question: str
    history: "FakeAnswer | None"
    text: str = ""
    steps: tuple[str, ...] = ("Who is it?",)
    retrievals: list[FakeRetrieval] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "end"
    reason: str = ""

    @property
    def found(self) -> bool:
        return not self.reason

    @property
    def sources(self) -> tuple[Citation, ...]:
        return cite(scored for one in self.retrievals for scored in one.passages)


class FakeStream:
    """One retrieval for the question itself, then an answer that names the best passage."""

    def __init__(self, model: "FakeModel", question: str, options: dict[str, Any]) -> None:
        self.model = model
        self.options = options
        self.answer = FakeAnswer(question, options["history"])
        self.is_closed = False
        self._events = self._run(question)

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def close(self) -> None:
        self.is_closed = True
        self._events.close()

    def _run(self, question: str) -> Iterator[Event]:
        yield Token(0, 1, text="Who is")
        yield Token(0, 2, text=" it?")
        reused = 10 if self.options["history"] else 0
        found: tuple[ScoredPassage, ...] = ()
        if self.options["retriever"] is not None:
            yield RetrievalRequested(0, 0, array("f", [1.0]), "Who is it?")
            query = Query(array("f", unit(question)), "Who is it?", self.options["retrieval"].top_k)
            least = self.options["retrieval"].min_score
            found = tuple(
                hit
                for hit in self.options["retriever"].retrieve([query])[0]
                if least is None or hit.score >= least
            )
            self.answer.reason = "" if found else 'Nothing was found for "Who is it?".'
            yield PassagesInserted(0, 0, found, 7 * len(found), reason=self.answer.reason)
            self.answer.retrievals.append(FakeRetrieval(0, "Who is it?", found))
        if self.model.on_answer is not None:
            self.model.on_answer()
        nothing = self.options["retrieval"].not_found or "no idea"
        self.answer.text = found[0].passage.text if found else nothing
        yield Token(0, 3, text=f"It is {self.answer.text}.")
        self.answer.usage = Usage(
            prompt=10 + reused,
            written=4,
            forwarded=20,
            reused=reused,
            retrievals=len(self.answer.retrievals),
        )
        yield Finished(0, "end", self.answer.usage)


class FakeModel(FakeEmbedder):
    template = Template()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.streams: list[FakeStream] = []
        self.on_answer: Any = None
        self.on_embed: Any = None
        self.loaded: tuple[Any, ...] = ()

    def load(self, path_or_id: str | None, dtype: str) -> "FakeModel":
        self.loaded = (path_or_id, dtype)
        return self

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed_passages(self, passages: Sequence[Passage], *, progress: bool = False) -> np.ndarray:
        if self.on_embed is not None:
            self.on_embed()
        return super().embed_passages(passages)

    def stream(self, question: str, **options: Any) -> FakeStream:
        self.streams.append(FakeStream(self, question, options))
        return self.streams[-1]


def run(model: FakeModel, *argv: str) -> int:
    return main(argv, load_model=model.load)


def fails(capsys: pytest.CaptureFixture[str], model: FakeModel, *argv: str, status: int = 2) -> str:
    """The one line on stderr of a run that fails."""
    assert run(model, *argv) == status
    captured = capsys.readouterr()
    [line] = [line for line in captured.err.splitlines() if line.startswith("onegen: ")]
    assert "Traceback" not in captured.err
    return line
