"""`onegen evaluate`: ask, keep every event, and score; or score what was kept."""

import json
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.evaluate_linking import (
    TASK,
    add_linking_options,
    add_linking_score_options,
    add_subjects,
    require_task_options,
    run_linking_evaluation,
)
from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.cli.options import add_answer_options, add_number
from onegen_model.errors import InvalidInputError

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.evaluation import EvaluationSettings, GoldQuestion, RunFolder
    from onegen_model.model import OneGenModel

_RETRIEVERS = ("own", "bm25", "minilm")
_LINKERS = ("name", "name+words", "bm25", "minilm", "two-step")
_TASKS = ("multihop", "singlehop", "retrieval", "linking")


def add_evaluate(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Add the parser of `onegen evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure answers and retrieval",
        description="Ask every question of a file, keep all events in a folder and score them. "
        "For your own documents --questions and --index are enough. Run the same command again "
        "to continue after Ctrl-C. --score reads such folders and needs no model.",
    )
    add_subjects(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the run, new or to continue (default without --task: a folder of its own "
        "in QUESTIONS.evaluation)",
    )
    parser.add_argument(
        "--score", nargs="+", metavar="DIR", help="score these runs side by side; nothing is asked"
    )
    parser.add_argument(
        "--train",
        nargs="+",
        default=[],
        metavar="FILE",
        help="training files; split scores by whether a paragraph was gold there",
    )
    parser.add_argument(
        "--task",
        choices=_TASKS,
        help="what to measure with gold paragraphs; retrieval ranks and writes no answers; "
        "linking marks and links the mentions of texts "
        "(default: questions about the documents of --index)",
    )
    _add_retrieval(parser)
    _add_asking(parser)
    add_linking_options(parser)
    add_linking_score_options(parser)
    parser.set_defaults(run=run_evaluate)


def _add_retrieval(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--corpus", metavar="PATH", help="paragraphs to search: JSON Lines with id, title and text"
    )
    parser.add_argument(
        "--index", metavar="DIR", help="index of the corpus, made if missing (default: OUT/index)"
    )
    parser.add_argument(
        "--pool",
        choices=("corpus", "candidates", "own"),
        default="corpus",
        help="paragraphs to search: all, the candidates of all questions, or each question's own "
        "candidates (default: corpus)",
    )
    parser.add_argument(
        "--retriever",
        choices=_RETRIEVERS,
        help="what finds passages (default: own, the model's index)",
    )
    # The name of --retriever in release 0.1.
    parser.add_argument("--searcher", dest="retriever", choices=_RETRIEVERS, help=SUPPRESS)
    parser.add_argument(
        "--encoder", metavar="DIR", help="folder of a sentence encoder in place of MiniLM"
    )
    parser.add_argument(
        "--query",
        choices=("span", "question"),
        help="query of a retrieval: what the model wrote, or the question (default: span)",
    )
    parser.add_argument(
        "--baselines",
        default="none",
        metavar="A,B",
        help=f"further retrievers that rank the same passages: {', '.join(_RETRIEVERS)}; with "
        f"--task linking: {', '.join(_LINKERS)} (default: none)",
    )


def _add_asking(parser: ArgumentParser) -> None:
    add_answer_options(parser)
    parser.add_argument(
        "--zero-shot",
        action="store_true",
        help="evaluate the untrained base: one retrieval by MiniLM, then a chat prompt",
    )
    add_number(
        parser, "--limit", None, "number of questions or texts, evenly spaced (default: all)"
    )
    add_number(parser, "--batch", 16, "questions or texts at a time")


def run_evaluate(options: Namespace, load_model: "LoadModel") -> int:
    """Run an evaluation unless --score is given, then print and save the tables."""
    from onegen_model.cli.evaluate_documents import is_about_documents, run_document_evaluation
    from onegen_model.evaluation import find_runs, read_questions, read_training_gold

    require_task_options(options)
    if options.task == TASK:
        return run_linking_evaluation(options, load_model)
    if is_about_documents(options):
        return run_document_evaluation(options, load_model)
    settings = None if options.score else _read_settings(options)
    if options.score and options.task:
        raise InvalidInputError(
            "--score with --task; expected one of them, since a run is scored by its own task; "
            "leave out --task"
        )
    questions = read_questions(options.questions, single_hop=options.task == "singlehop")
    trained = read_training_gold(options.train) if options.train else None
    if settings is not None and not _evaluate(options, settings, questions, load_model):
        sys.stderr.write(
            f"onegen: stopped; run the same command again to continue in {settings.out}\n"
        )
        return INTERRUPTED
    runs = find_runs(options.score or [options.out])
    _report(options, runs, questions, trained)
    return 0


def _read_settings(options: Namespace) -> "EvaluationSettings":
    from onegen_model.evaluation import EvaluationSettings

    for name in ("task", "out"):
        if getattr(options, name) is None:
            raise InvalidInputError(
                f"--{name} is missing; expected one; add --{name}, or --score, or name --index "
                "alone to ask about your own documents"
            )
    return EvaluationSettings(
        task=options.task,
        out=Path(options.out),
        corpus=_path(options.corpus),
        index=_path(options.index),
        pool=options.pool,
        retriever=options.retriever,
        query=options.query,
        baselines=tuple(name for name in options.baselines.split(",") if name not in ("", "none")),
        encoder=_path(options.encoder),
        zero_shot=options.zero_shot,
        limit=options.limit,
        batch=options.batch,
        max_new_tokens=options.max_new_tokens,
        top_k=options.top_k,
        max_retrievals=options.max_retrievals,
        retrieval=options.retrieval,
        min_score=options.min_score,
        not_found=options.not_found or None,
        note={"checkpoint": options.model or "default", "questions": options.questions},
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _evaluate(
    options: Namespace,
    settings: "EvaluationSettings",
    questions: "list[GoldQuestion]",
    load_model: "LoadModel",
) -> bool:
    """Whether the evaluation is complete; False after Ctrl-C."""
    # Imported here: scoring needs no model and no retriever.
    from onegen_model.evaluation.ask.evaluation import prepare_evaluation
    from onegen_model.evaluation.ask.zero_shot import load_base
    from onegen_model.evaluation.score.ranking_metrics import import_pytrec_eval

    if settings.needs_passages:
        import_pytrec_eval()  # raises before hours of asking instead of after them

    def load() -> "OneGenModel":
        if settings.zero_shot:
            return load_base(options.model, options.dtype, options.device)
        return load_model(options.model, options.dtype)

    evaluation = prepare_evaluation(settings, questions, load)
    with Interrupts() as interrupts:
        return evaluation.carry_out(lambda: interrupts.requested).is_complete


def _report(
    options: Namespace,
    runs: "dict[str, RunFolder]",
    questions: "list[GoldQuestion]",
    trained: frozenset[str] | None,
) -> None:
    """Print the tables, and save them in the run's folder."""
    from onegen_model.evaluation import report, score_runs, scores_to_dict
    from onegen_model.evaluation.ask.run_folder import writing

    scores = score_runs(runs, questions, trained)
    text = report(scores)
    plain = json.dumps(scores_to_dict(scores), ensure_ascii=False)
    if options.out:
        out = Path(options.out)
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / "table.md").write_text(text, encoding="utf-8")
            (out / "scores.json").write_text(plain + "\n", encoding="utf-8")
    sys.stdout.write(plain + "\n" if options.json else text)
