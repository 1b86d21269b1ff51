"""Cases to score: a question with its trace and its ranking."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onegen_model.evaluation.ask.questions import GoldQuestion
from onegen_model.evaluation.ask.ranking import Ranking
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.evaluation.score.estimate import Estimate

Columns = dict[str, Estimate]
Frame = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """A question with the model's trace and a retriever's ranking, as far as there are any."""

    question: GoldQuestion
    trace: Trace | None = None
    ranking: Ranking | None = None

    @property
    def ranked(self) -> tuple[tuple[str, ...], ...]:
        return self.ranking.hops if self.ranking else ()

    def ranked_at(self, hop: int) -> tuple[str, ...]:
        """The paragraphs of one retrieval; empty where the model requested fewer."""
        return self.ranked[hop] if hop < len(self.ranked) else ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the tables; `frame` is start and end of the answer frame, if there is one."""

    name: str
    cases: Sequence[Case]
    frame: Frame | None = None

    def of(self, name: str, cases: Iterable[Case]) -> "Row":
        """A row over some of these cases."""
        return Row(f"{self.name}, {name}", list(cases), self.frame)
