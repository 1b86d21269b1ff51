"""Asks questions over an existing index, keeps every event, and ranks the source of each."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.harness import OnePass, ShouldStop, ask, never
from onegen_model.evaluation.ask.pool import digest
from onegen_model.evaluation.ask.questions import GoldQuestion, spaced
from onegen_model.evaluation.ask.run_folder import JsonLog, RunFolder, RunSettings
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.evaluation.documents.questions import (
    RANKS,
    TASK,
    DocumentQuestion,
    gold_passages,
)
from onegen_model.events import Passage, Query
from onegen_model.model import OneGenModel
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.retrieval.corpus import EmbeddedCorpus
from onegen_model.retrieval.index import PassageIndex

DEPTH = 10  # how far down a source is looked for


@dataclass(frozen=True, slots=True)
class DocumentEvaluationSettings:
    """How the questions are asked; `limit` is a number of them, evenly spaced. Paths may be text.

    `out` is the folder of the run, or the folder of runs in which it gets a name of its own where
    `names_runs`: then each model, index and setting has its own run.
    """

    index: Path
    out: Path
    names_runs: bool = False
    sampling: SamplingParams = field(default_factory=SamplingParams)
    retrieval: RetrievalParams = field(default_factory=RetrievalParams)
    batch: int = 16
    limit: int | None = None
    note: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name in ("index", "out"):
            object.__setattr__(self, name, Path(getattr(self, name)))
        for name in ("batch", "limit"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InvalidInputError(f"{name}={value!r}; expected at least 1; change {name}")


@dataclass(frozen=True, slots=True)
class DocumentEvaluation:
    """An evaluation with its model and index, ready to be carried out."""

    settings: DocumentEvaluationSettings
    questions: Sequence[DocumentQuestion]
    gold: Mapping[str, frozenset[str]]
    model: OneGenModel
    index: PassageIndex
    folder: Path

    def carry_out(self, should_stop: ShouldStop = never) -> RunFolder | None:
        """Ask what the folder lacks, and rank; None where it was stopped before the end."""
        folder = RunFolder.create(self.folder, run_settings(self.settings, self.model, self.index))
        traces = folder.traces()
        missing = [_asked(one) for one in self.questions if one.id not in traces]
        asker = OnePass(
            self.model,
            lambda _: None if self.settings.retrieval.mode == "never" else self.index,
            self.settings.sampling,
            lambda _: self.settings.retrieval,
        )
        asked = 0
        for some in ask(asker, missing, self.settings.batch, should_stop):
            folder.add_traces(some)
            asked += len(some)
        if asked < len(missing):
            return None
        if self.settings.retrieval.mode != "never":
            self._rank(folder)
        return folder

    def _rank(self, folder: RunFolder) -> None:
        log = JsonLog(folder.path / RANKS)
        log.drop_cut_line()
        known = {row["question"]: (row.get("source"), row.get("asked")) for _, row in log.read()}
        traces = folder.traces()
        for one in self.questions:
            queries = [event.text for event in traces[one.id].requested]
            # A rank is out of date where the source was edited or the question asked again.
            if one.source and known.get(one.text) != (one.source, queries):
                found = ranks(self.index, traces[one.id], self.gold[one.text])
                row = {"source": one.source, "asked": queries, "ranks": found}
                log.append([{"question": one.text, **row}])


def _asked(question: DocumentQuestion) -> GoldQuestion:
    return GoldQuestion(question.id, "", "", question.text, question.answers, (), ())


def ranks(index: PassageIndex, trace: Trace, gold: frozenset[str]) -> list[int | None]:
    """The rank of the best passage of `gold` in each retrieval, from 1; None beyond `DEPTH`."""
    queries = [Query(one.query_embedding, one.text, DEPTH) for one in trace.requested]
    places = ([hit.passage.id in gold for hit in hits] for hits in index.retrieve(queries))
    return [found.index(True) + 1 if any(found) else None for found in places]


def prepare_document_evaluation(
    settings: DocumentEvaluationSettings,
    questions: Sequence[DocumentQuestion],
    load_model: Callable[[], OneGenModel],
) -> DocumentEvaluation:
    """Check the questions against the index, then load the model; raises OneGenError."""
    passages = read_index_passages(settings.index)
    gold = gold_passages(questions, passages)
    model = load_model()
    index = PassageIndex.load(model, settings.index)
    folder = settings.out
    if settings.names_runs:
        folder /= run_name(run_settings(settings, model, index), settings.note)
    return DocumentEvaluation(
        settings, spaced_questions(questions, settings.limit), gold, model, index, folder
    )


def spaced_questions(
    questions: Sequence[DocumentQuestion], limit: int | None
) -> list[DocumentQuestion]:
    """At most `limit` of them, evenly spaced over the file."""
    by_text = {one.text: one for one in questions}
    return [by_text[one.text] for one in spaced([_asked(one) for one in questions], limit)]


def evaluate_documents(
    settings: DocumentEvaluationSettings,
    questions: Sequence[DocumentQuestion],
    model: OneGenModel,
    should_stop: ShouldStop = never,
) -> RunFolder | None:
    """Ask the questions that the run does not hold yet; None where `should_stop` ended it.

    The same call continues from there. Raises OneGenError.
    """
    return prepare_document_evaluation(settings, questions, lambda: model).carry_out(should_stop)


def read_index_passages(path: Path) -> list[Passage]:
    """The passages of an index, without its model; raises PassageIndexError."""
    corpus = EmbeddedCorpus.open(path)
    found = {one.id: one for some, _ in corpus.batches() for one in some}
    if not found:
        raise InvalidInputError(
            f"{path} holds no passage; expected some to search; index your documents first"
        )
    return list(found.values())


def run_settings(
    settings: DocumentEvaluationSettings, model: OneGenModel, index: PassageIndex
) -> RunSettings:
    """What the folder records."""
    template = model.template
    params = asdict(settings.retrieval) | {"max_new_tokens": settings.sampling.max_new_tokens}
    return RunSettings(
        task=TASK,
        pipeline="one-pass",
        fingerprint=model.fingerprint,
        dtype=str(model.network.dtype).removeprefix("torch."),
        retriever="own",
        query="span",
        pool="corpus",
        passages=digest(index.passages),
        frame=(template.answer_start, template.answer_end),
        params=json.loads(json.dumps(params)),
        note={"onegen": version("onegen"), "index": str(settings.index), **settings.note},
    )


def run_name(settings: RunSettings, note: Mapping[str, Any]) -> str:
    """`<model>-<digest of the settings>`."""
    plain = {name: value for name, value in settings.to_dict().items() if name != "note"}
    text = json.dumps(plain, sort_keys=True)
    model = Path(str(note.get("checkpoint", "model"))).name or "model"
    return f"{model}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
