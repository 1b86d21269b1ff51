"""`onegen evaluate --questions FILE --index DIR`: questions about one's own documents."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.errors import InvalidInputError

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.evaluation import DocumentEvaluationSettings, RunFolder
    from onegen_model.evaluation.documents.questions import DocumentQuestion

# Option -> the value that it has where it was not given.
_OF_TASKS: Mapping[str, object] = {
    "train": [],
    "pool": "corpus",
    "retriever": None,
    "encoder": None,
    "query": None,
    "baselines": "none",
    "zero_shot": False,
}


def is_about_documents(options: Namespace) -> bool:
    """Whether to ask about the documents of an index, or to score runs that did."""
    from onegen_model.evaluation import find_runs
    from onegen_model.evaluation.documents.questions import TASK

    if options.task is not None:
        return False
    if options.score:
        return any(run.settings.task == TASK for run in find_runs(options.score).values())
    return options.corpus is None and options.index is not None


def run_document_evaluation(options: Namespace, load_model: "LoadModel") -> int:
    """Ask unless --score is given, then print and save the table."""
    from onegen_model.evaluation import find_runs, read_document_questions

    _refuse_options_of_tasks(options)
    questions = read_document_questions(options.questions)
    if options.score:
        _report(find_runs(options.score), questions, options)
        return 0
    settings = _read_settings(options)
    folder = _evaluate(settings, questions, options, load_model)
    if folder is None:
        sys.stderr.write(
            f"onegen: stopped; run the same command again to continue in {settings.out}\n"
        )
        return INTERRUPTED
    _report({folder.path.name: folder}, questions, options)
    return 0


def _refuse_options_of_tasks(options: Namespace) -> None:
    for name, default in _OF_TASKS.items():
        if getattr(options, name) != default:
            flag = f"--{name.replace('_', '-')}"
            raise InvalidInputError(
                f"{flag} without --task; expected --questions and --index alone, and options of "
                f"the answer; add --task and --corpus, or leave {flag} out"
            )


def _read_settings(options: Namespace) -> "DocumentEvaluationSettings":
    from onegen_model.evaluation import DocumentEvaluationSettings
    from onegen_model.params import RetrievalParams, SamplingParams

    questions = Path(options.questions)
    beside = questions.with_name(f"{questions.name.partition('.jsonl')[0]}.evaluation")
    return DocumentEvaluationSettings(
        index=Path(options.index),
        out=Path(options.out) if options.out else beside,
        names_runs=options.out is None,
        sampling=SamplingParams(max_new_tokens=options.max_new_tokens),
        retrieval=RetrievalParams(
            mode=options.retrieval,
            top_k=options.top_k,
            max_retrievals=options.max_retrievals,
            min_score=options.min_score,
            not_found=options.not_found or None,
        ),
        batch=options.batch,
        limit=options.limit,
        note={"checkpoint": options.model or "default", "questions": options.questions},
    )


def _evaluate(
    settings: "DocumentEvaluationSettings",
    questions: "list[DocumentQuestion]",
    options: Namespace,
    load_model: "LoadModel",
) -> "RunFolder | None":
    from onegen_model.evaluation.documents.evaluation import prepare_document_evaluation

    evaluation = prepare_document_evaluation(
        settings, questions, lambda: load_model(options.model, options.dtype)
    )
    with Interrupts() as interrupts:
        return evaluation.carry_out(lambda: interrupts.requested)


def _report(
    runs: "Mapping[str, RunFolder]", questions: "list[DocumentQuestion]", options: Namespace
) -> None:
    """Print the table, and save it in the run's folder, or in --out."""
    from onegen_model.evaluation import (
        document_report,
        document_scores_to_dict,
        score_document_runs,
    )
    from onegen_model.evaluation.ask.run_folder import writing

    scores = score_document_runs(runs, questions)
    text = document_report(scores)
    plain = json.dumps(document_scores_to_dict(scores), ensure_ascii=False)
    out = Path(options.out) if options.out else None
    if out is None and not options.score:
        [folder] = runs.values()
        out = folder.path
    if out is not None:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / "table.md").write_text(text, encoding="utf-8")
            (out / "scores.json").write_text(plain + "\n", encoding="utf-8")
    where = "" if out is None else f"\nEvery answer is in {out}.\n"
    sys.stdout.write(plain + "\n" if options.json else text + where)
