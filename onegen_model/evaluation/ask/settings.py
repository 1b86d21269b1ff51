"""The settings of one evaluation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from onegen_model.errors import InvalidInputError
from onegen_model.params import NOT_FOUND, RetrievalMode, RetrievalParams, SamplingParams

Task = Literal["multihop", "singlehop", "retrieval"]
# Search the whole corpus, the candidates of all questions, or each question's own candidates.
Pool = Literal["corpus", "candidates", "own"]
RetrieverName = Literal["own", "bm25", "minilm"]
# A retriever is asked with what the model wrote ("own": its state there), or with the question.
QueryKind = Literal["span", "question"]
RETRIEVERS: tuple[RetrieverName, ...] = get_args(RetrieverName)

# What is wrong, what was expected, what to do.
_Problem = tuple[str, str, str]


def _as_path(name: str, path: object) -> Path:
    if isinstance(path, str | PathLike):
        return Path(path)
    raise InvalidInputError(f"{name}={path!r}; expected a path; change {name}")


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What one evaluation asks, how it retrieves, and the folder `out` that keeps it.

    `corpus` is a file or folder of paragraphs; `index` is the index of it (default: `out/index`).
    `retriever` and `query` default to the model's own index and the text that it writes; in a
    zero-shot run, to MiniLM and the question. `baselines` are further retrievers that rank
    the same passages. `encoder` is the folder of a sentence encoder that replaces MiniLM.
    `zero_shot` evaluates an untrained base in the usual pipeline of two models. `limit` is a number
    of questions, evenly spaced. `note` is kept with the run and may differ when the run continues.

    Paths may be strings. Raises InvalidInputError for settings that contradict each other.
    """

    task: Task
    out: Path
    corpus: Path | None = None
    index: Path | None = None
    pool: Pool = "corpus"
    retriever: RetrieverName | None = None
    query: QueryKind | None = None
    baselines: tuple[RetrieverName, ...] = ()
    encoder: Path | None = None
    zero_shot: bool = False
    limit: int | None = None
    batch: int = 16
    max_new_tokens: int = 256
    top_k: int = 2
    max_retrievals: int = 6
    retrieval: RetrievalMode = "auto"
    min_score: float | None = None
    not_found: str | None = NOT_FOUND
    note: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name in ("out", "corpus", "index", "encoder"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, _as_path(name, path))
        for what, expected, advice in (*self._choice_problems(), *self._pair_problems()):
            raise InvalidInputError(f"{what}; expected {expected}; {advice}")
        SamplingParams(max_new_tokens=self.max_new_tokens)
        self.retrieval_params(None)

    def retrieval_params(self, filter: Mapping[str, Any] | None) -> RetrievalParams:
        """How a question retrieves among the passages of `filter`."""
        return RetrievalParams(
            self.retrieval,
            self.top_k,
            self.max_retrievals,
            filter,
            self.min_score,
            self.not_found,
        )

    @property
    def recorded(self) -> dict[str, Any]:
        """What a run depends on; later settings only where they are not the default."""
        names = ("max_new_tokens", "top_k", "max_retrievals", "retrieval")
        later = {"min_score": None, "not_found": NOT_FOUND}
        others = [name for name, usual in later.items() if getattr(self, name) != usual]
        return {name: getattr(self, name) for name in (*names, *others)}

    @property
    def writes_answers(self) -> bool:
        """Whether the model is asked at all; the retrieval task only ranks."""
        return self.task != "retrieval"

    @property
    def retrieves(self) -> bool:
        return self.retrieval != "never" or self.zero_shot or not self.writes_answers

    @property
    def needs_passages(self) -> bool:
        return self.retrieves or bool(self.baselines)

    @property
    def chosen_retriever(self) -> RetrieverName:
        return self.retriever or ("minilm" if self.zero_shot else "own")

    @property
    def chosen_query(self) -> QueryKind:
        if self.zero_shot or not self.writes_answers:
            return "question"
        return self.query or "span"

    @property
    def index_path(self) -> Path:
        return self.index or self.out / "index"

    def _choice_problems(self) -> Iterator[_Problem]:
        choices = {"task": Task, "pool": Pool, "retriever": RetrieverName, "query": QueryKind}
        for name, kind in choices.items():
            value, known = getattr(self, name), get_args(kind)
            if value not in known and not (value is None and name in ("retriever", "query")):
                yield f"{name}={value!r}", f"one of {', '.join(known)}", f"change {name}"
        if unknown := [name for name in self.baselines if name not in RETRIEVERS]:
            expected = f"one of {', '.join(RETRIEVERS)}"
            yield f"The baseline {unknown[0]!r}", expected, "correct the name"
        for name in ("limit", "batch", "top_k"):
            value = getattr(self, name)
            is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not is_number and not (value is None and name == "limit"):
                yield f"{name}={value!r}", "at least 1", f"change {name}"

    def _pair_problems(self) -> Iterator[_Problem]:
        """Settings that contradict each other."""
        if self.zero_shot and ("own" in (self.retriever, *self.baselines) or self.query == "span"):
            yield (
                "A zero-shot run with the retriever or baseline own, or with the query span",
                "minilm or bm25 asked with the question: an untrained model has no query token",
                "leave these settings out",
            )
        if self.writes_answers and not self.retrieves and (self.retriever or self.query):
            yield (
                "Retrieval never with a retriever or query",
                "one of them: without a retrieval no retriever is asked",
                "change the retrieval, or leave the others out (baselines may stay)",
            )
        if not self.writes_answers and (self.zero_shot or self.query == "span"):
            yield (
                "The retrieval task with a zero-shot run or with the query span",
                "queries from questions: the model writes nothing",
                "leave these settings out",
            )
        if (
            self.needs_passages
            and self.corpus is None
            and (self.index is None or self.pool == "candidates")
        ):
            yield (
                f"No corpus for the pool {self.pool}",
                "passages to search",
                "name a corpus (or, to search all of one, its index)",
            )
