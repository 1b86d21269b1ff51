"""What is scored: questions with what a model made of them and what a searcher ranked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onegen_model.evaluation.ask.questions import Question
from onegen_model.evaluation.ask.ranking import Ranking
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.evaluation.score.estimate import Estimate

Columns = dict[str, Estimate]
Frame = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """A question, what a model made of it, and what a searcher ranked for its retrievals."""

    question: Question
    trace: Trace | None = None
    ranking: Ranking | None = None

    @property
    def ranked(self) -> tuple[tuple[str, ...], ...]:
        return self.ranking.hops if self.ranking else ()

    def ranked_at(self, hop: int) -> tuple[str, ...]:
        """Empty where the model asked for no such retrieval: the hop is missed."""
        return self.ranked[hop] if hop < len(self.ranked) else ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the tables. `frame` is what an answer stands in; None: nothing was asked for."""

    name: str
    cases: Sequence[Case]
    frame: Frame | None = None

    def of(self, name: str, cases: Iterable[Case]) -> "Row":
        """The same row over some of its cases."""
        return Row(f"{self.name}, {name}", list(cases), self.frame)
