"""A batch that is stopped or fails, on a driver whose events are given."""

from collections.abc import Generator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError, RetrievalError
from onegen_model.evaluation import GoldQuestion
from onegen_model.evaluation.ask.harness import Submission, ask
from onegen_model.events import Event, Finished, Token, Usage

QUESTIONS = [GoldQuestion(f"q{n}", "", "", f"Who {n}?", ("A",), (), ()) for n in range(2)]
EVENTS = (Token(0, 5, text="A"), Finished(0, "end", Usage()), Token(1, 5, text="B"))


@dataclass
class GivenEvents:
    """An asker and its driver: requests 0 and 1, and events that are given."""

    events: tuple[Event, ...]
    failure: Exception | None = None
    submitted: int = 0
    is_closed: bool = False

    @property
    def driver(self) -> Any:
        return self

    def submit(self, question: GoldQuestion) -> Submission:
        self.submitted += 1
        request = SimpleNamespace(id=self.submitted - 1)
        return Submission(SimpleNamespace(request=request))  # type: ignore[arg-type]

    def drive(self, *_: object) -> Generator[Event, None, None]:
        try:
            yield from self.events
            if self.failure is not None:
                raise self.failure
        finally:
            self.is_closed = True


def test_a_stop_inside_a_batch_keeps_the_questions_that_have_finished() -> None:
    asker = GivenEvents((*EVENTS, Finished(1, "end", Usage())))
    answers = iter([False, False, False, True])
    [traces] = ask(asker, QUESTIONS, 2, lambda: next(answers))  # type: ignore[arg-type]
    assert [trace.question_id for trace in traces] == ["q0"]
    assert asker.is_closed  # which cancels the request that has not finished


def test_a_stop_between_batches_asks_nothing_more() -> None:
    asker = GivenEvents(EVENTS)
    assert list(ask(asker, QUESTIONS, 2, lambda: True)) == []  # type: ignore[arg-type]
    assert asker.submitted == 0


def test_a_question_that_fails_does_not_lose_the_others_of_its_batch() -> None:
    failure = RetrievalError("It raised; expected passages; see the cause")
    asker = GivenEvents((*EVENTS, Finished(1, "failed", Usage())), failure)
    batches = ask(asker, QUESTIONS, 2)  # type: ignore[arg-type]
    assert [trace.question_id for trace in next(batches)] == ["q0"]
    with pytest.raises(RetrievalError, match="It raised"):
        next(batches)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="batch=0; expected at least 1"):
        list(ask(GivenEvents(()), QUESTIONS, 0))  # type: ignore[arg-type]
