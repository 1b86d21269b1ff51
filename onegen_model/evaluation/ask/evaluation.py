"""Runs an evaluation: asks the questions that its folder lacks, then adds missing rankings."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.documents.finding import find_files
from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.harness import Asker, OnePass, ShouldStop, ask, never
from onegen_model.evaluation.ask.pool import (
    digest,
    pieces,
    read_paragraphs,
    require_candidates,
    require_gold,
)
from onegen_model.evaluation.ask.questions import GoldQuestion, spaced
from onegen_model.evaluation.ask.ranking import (
    PARAGRAPH,
    FilterOf,
    Ranker,
    among_candidates,
    asked_texts,
    everywhere,
    queries_of_questions,
    queries_of_spans,
)
from onegen_model.evaluation.ask.retriever_set import RetrieverSet
from onegen_model.evaluation.ask.retrievers import FixedQueryRetriever
from onegen_model.evaluation.ask.run_folder import RunFolder, RunSettings
from onegen_model.evaluation.ask.settings import EvaluationSettings, QueryKind, RetrieverName
from onegen_model.evaluation.ask.zero_shot import ZeroShot
from onegen_model.events import Passage
from onegen_model.model import OneGenModel
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.protocol import Retriever

_RANK_BATCH = 32


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The folder of an evaluation; `is_complete` unless `should_stop` ended it early."""

    folder: RunFolder
    is_complete: bool


def run_evaluation(
    settings: EvaluationSettings,
    questions: Sequence[GoldQuestion],
    model: OneGenModel,
    should_stop: ShouldStop = never,
) -> EvaluationResult:
    """Ask the questions, and make the rankings, that `settings.out` does not hold yet.

    `questions` are those of the whole file: they make up the pool of candidates, and
    `settings.limit` chooses among them. `model` is `load_base(…)` for a zero-shot run.
    `should_stop` is called between events, passages and rankings; finished work is kept, and
    the same call continues from there. Raises OneGenError.
    """
    return prepare_evaluation(settings, questions, lambda: model).carry_out(should_stop)


def prepare_evaluation(
    settings: EvaluationSettings,
    questions: Sequence[GoldQuestion],
    load_model: Callable[[], OneGenModel],
) -> "Evaluation":
    """Check questions and corpus, then load the model and split the corpus into passages."""
    chosen = spaced(questions, settings.limit)
    if settings.task == "retrieval":
        _require_hops(chosen)
    if settings.needs_passages:
        _require_paths(settings)
        if settings.pool == "own":
            require_candidates(chosen)
    model = load_model()
    passages = _read_passages(settings, model, questions) if settings.needs_passages else ()
    if settings.needs_passages:
        require_gold(chosen, passages)
    retrievers = RetrieverSet(model, passages, settings.index_path, settings.encoder)
    return Evaluation(settings, chosen, model, retrievers)


def _require_paths(settings: EvaluationSettings) -> None:
    """Raise InvalidInputError for a missing path before the model is loaded."""
    if settings.corpus is not None:
        find_files([settings.corpus])
    elif not settings.index_path.is_dir():
        raise InvalidInputError(
            f"There is no index at {settings.index_path}; expected one; check the path, or name "
            "the corpus to make it"
        )
    if settings.encoder is not None and not settings.encoder.is_dir():
        raise InvalidInputError(
            f"There is no folder {settings.encoder}; expected a sentence encoder; check the path"
        )


def _require_hops(questions: Sequence[GoldQuestion]) -> None:
    for question in questions:
        if not question.hops:
            raise InvalidInputError(
                f"Question {question.id} has no hops; expected its gold paragraphs in the "
                "retrieval task; add them, or choose another task"
            )


def _read_passages(
    settings: EvaluationSettings, model: OneGenModel, questions: Sequence[GoldQuestion]
) -> Sequence[Passage]:
    if settings.corpus is not None:
        return pieces(model, read_paragraphs(settings.corpus, questions, settings.pool))
    passages = PassageIndex.load(model, settings.index_path).passages
    if settings.pool == "own" and not all(PARAGRAPH in one.metadata for one in passages):
        raise InvalidInputError(
            f"{settings.index_path} does not name the paragraph of each passage; expected an index "
            "made by an evaluation with the pool own; name the corpus to make one"
        )
    return passages


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation with its model and passages, ready to be carried out."""

    settings: EvaluationSettings
    questions: Sequence[GoldQuestion]
    model: OneGenModel
    retrievers: RetrieverSet
    filter_of: FilterOf = field(init=False)

    def __post_init__(self) -> None:
        wanted = among_candidates if self.settings.pool == "own" else everywhere
        object.__setattr__(self, "filter_of", wanted)

    def carry_out(self, should_stop: ShouldStop = never) -> EvaluationResult:
        """Ask, then rank; see `run_evaluation`."""
        folder = RunFolder.create(self.settings.out, self.run_settings())
        is_complete = self._ask(folder, should_stop) and self._rank(folder, should_stop)
        return EvaluationResult(folder, is_complete)

    def run_settings(self) -> RunSettings:
        """What the folder records."""
        settings, template = self.settings, self.model.template
        writes = settings.writes_answers
        framed = writes and not settings.zero_shot
        return RunSettings(
            task=settings.task,
            pipeline="zero-shot" if settings.zero_shot else "one-pass" if framed else "ranking",
            fingerprint=self.model.fingerprint,
            dtype=str(self.model.network.dtype).removeprefix("torch."),
            retriever=_label(settings, settings.chosen_retriever),
            query=settings.chosen_query,
            pool=settings.pool,
            passages=digest(self.retrievers.passages),
            frame=(template.answer_start, template.answer_end) if framed else None,
            params=settings.recorded if writes else {},
            note={
                "onegen": version("onegen"),
                "corpus": str(settings.corpus or settings.index or ""),
                "passages": len(self.retrievers.passages),
                **settings.note,
            },
        )

    def _ask(self, folder: RunFolder, should_stop: ShouldStop) -> bool:
        """False if it was stopped before all questions were asked."""
        if not self.settings.writes_answers:
            return True
        traces = folder.traces()
        missing = [question for question in self.questions if question.id not in traces]
        if not missing:
            return True
        # First of all, so that embedding a corpus does not count as a cost of the questions.
        if self.settings.retrieves and not self._open(self.settings.chosen_retriever, should_stop):
            return False
        asked = 0
        for some in ask(self._asker(), missing, self.settings.batch, should_stop):
            folder.add_traces(some)
            asked += len(some)
        return asked == len(missing)

    def _open(self, name: RetrieverName, should_stop: ShouldStop) -> bool:
        return self.retrievers.prepare(name, should_stop)

    def _asker(self) -> Asker:
        settings = self.settings
        sampling = SamplingParams(max_new_tokens=settings.max_new_tokens)
        if settings.zero_shot:
            retriever = self.retrievers.get(settings.chosen_retriever)
            return ZeroShot(self.model, retriever, sampling, settings.top_k, self.filter_of)
        return OnePass(self.model, self._retriever_of, sampling, self._retrieval_of)

    def _retrieval_of(self, question: GoldQuestion) -> RetrievalParams:
        return self.settings.retrieval_params(self.filter_of(question))

    def _retriever_of(self, question: GoldQuestion) -> Retriever | None:
        settings = self.settings
        if not settings.retrieves:
            return None
        retriever = self.retrievers.get(settings.chosen_retriever)
        if settings.chosen_query == "span":
            return retriever
        vector = self._embed(settings.chosen_retriever, question.text)
        return FixedQueryRetriever(retriever, question.text, vector if len(vector) else None)

    def _embed(self, name: RetrieverName, text: str) -> "array[float]":
        """The query embedding of a question; empty for retrievers that are asked with text."""
        return self.model.embed_queries([text])[0] if name == "own" else array("f")

    def _rank(self, folder: RunFolder, should_stop: ShouldStop) -> bool:
        """False if it was stopped before all questions were ranked."""
        traces = folder.traces()
        # A ranking of another text is out of date: its question was asked again, or edited.
        done = {(one.retriever, one.query, one.question_id): one.asked for one in folder.rankings()}
        for name, query in self._rankings():
            label = _label(self.settings, name)
            missing = [
                one
                for one in self.questions
                if done.get((label, query, one.id)) != asked_texts(query, one, traces.get(one.id))
            ]
            if not missing:  # Opening a retriever may load a whole corpus.
                continue
            if not self._open(name, should_stop):
                return False
            ranker = self._ranker(name, query)
            bar = tqdm(missing, desc=f"{label} ({query})", disable=None, leave=False)
            found = (ranker.rank(question, traces.get(question.id)) for question in bar)
            while some := list(islice(found, _RANK_BATCH)):
                folder.add_rankings(some)
                if should_stop():
                    return False
        return True

    def _rankings(self) -> list[tuple[RetrieverName, QueryKind]]:
        """Retrievers and what they are asked with: the evaluation's own, then the baselines."""
        settings = self.settings
        own = (settings.chosen_retriever, settings.chosen_query)
        kinds: list[QueryKind] = ["question"]
        if settings.retrieves and settings.chosen_query == "span":
            kinds.append("span")
        baselines = [(name, kind) for name in settings.baselines for kind in kinds]
        return list(dict.fromkeys([own, *baselines] if settings.retrieves else baselines))

    def _ranker(self, name: RetrieverName, query: QueryKind) -> Ranker:
        queries = (
            queries_of_spans(self.filter_of)
            if query == "span"
            else queries_of_questions(self.filter_of, lambda text: self._embed(name, text))
        )
        return Ranker(_label(self.settings, name), query, self.retrievers.get(name), queries)


def _label(settings: EvaluationSettings, name: RetrieverName) -> str:
    """The name of a retriever in files and tables."""
    return _encoder_label(settings.encoder) if name == "minilm" and settings.encoder else name


@cache
def _encoder_label(folder: Path) -> str:
    """The folder's name with a digest of the weights: folders of many encoders are named alike."""
    return f"{folder.resolve().name} {weights_sha256(folder)[:8]}"
