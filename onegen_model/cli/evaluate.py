"""`onegen evaluate`: ask, keep every event, and score; or score what was kept."""

import json
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from onegen_model.cli.interrupts import INTERRUPTED
from onegen_model.errors import InvalidInputError
from onegen_model.params import RetrievalMode

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.evaluation.ask.questions import Question
    from onegen_model.evaluation.ask.run_folder import RunFolder

SEARCHERS = ("own", "bm25", "minilm")
_TASKS = ("multihop", "singlehop", "retrieval")
# Whether it is one, what is wrong, what was expected, what to do.
Problem = tuple[bool, str, str, str]


def add_evaluate(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """The parser of `onegen evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure answers and retrieval",
        description="Ask every question of a file, keep all events in a folder and score them. Run "
        "it again to go on after it was stopped; --score reads such folders and needs no model.",
    )
    parser.add_argument("--questions", required=True, metavar="FILE", help=".jsonl or .jsonl.gz")
    parser.add_argument("--out", metavar="DIR", help="the run, new or to go on with")
    parser.add_argument(
        "--score", nargs="+", metavar="DIR", help="runs to score side by side; nothing is asked"
    )
    parser.add_argument(
        "--train", nargs="+", default=[], metavar="FILE", help="to split by what was gold there"
    )
    parser.add_argument("--task", choices=_TASKS, help="retrieval: rank by question, no answers")
    _add_searching(parser)
    _add_asking(parser)
    parser.set_defaults(run=run_evaluate)


def _add_searching(parser: ArgumentParser) -> None:
    parser.add_argument("--corpus", metavar="FILE", help="paragraphs: id, title, text; or a folder")
    parser.add_argument(
        "--index", metavar="DIR", help="of the corpus; made if it is not there (OUT/index)"
    )
    parser.add_argument(
        "--pool",
        choices=("corpus", "candidates", "own"),
        default="corpus",
        help="search it all, the candidates of all questions, or each question's own (corpus)",
    )
    parser.add_argument("--searcher", choices=SEARCHERS, help="who finds passages (own)")
    parser.add_argument("--encoder", metavar="DIR", help="a sentence encoder instead of MiniLM")
    parser.add_argument(
        "--query",
        choices=("span", "question"),
        help="asked with the line the model wrote (own: its state there) or the question (span)",
    )
    parser.add_argument(
        "--baselines",
        default="none",
        metavar="A,B",
        help=f"of {', '.join(SEARCHERS)}: they rank the same passages, asked with the question and "
        "with what the model wrote (none)",
    )
    parser.add_argument("--top-k", type=int, default=2, help="passages per retrieval (2)")
    parser.add_argument("--max-retrievals", type=int, default=6, help="per answer (6)")


def _add_asking(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--retrieval",
        choices=get_args(RetrievalMode),
        default="auto",
        help="auto: the model decides; always: search first; never (auto)",
    )
    parser.add_argument(
        "--zero-shot",
        action="store_true",
        help="the model's base, untrained: one search (minilm), then an ordinary chat prompt",
    )
    parser.add_argument("--limit", type=int, help="questions, evenly spaced (all)")
    parser.add_argument("--batch", type=int, default=16, help="questions at once (16)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="per answer (256)")


def run_evaluate(options: Namespace, load_model: "LoadModel") -> int:
    from onegen_model.evaluation.ask.questions import gold_of_training, read_questions
    from onegen_model.evaluation.ask.run_folder import find_runs

    _check(options)
    everything = read_questions(Path(options.questions), single_hop=options.task == "singlehop")
    trained = gold_of_training(map(Path, options.train)) if options.train else None
    if options.score:
        runs = find_runs(map(Path, options.score))
    else:
        # Imported here: scoring needs no model and no searcher.
        from onegen_model.cli.evaluation_run import carry_out

        out = Path(options.out)
        try:
            carry_out(options, everything, load_model)
        except KeyboardInterrupt:
            sys.stderr.write(f"\nonegen: stopped; run the same command again to go on in {out}\n")
            return INTERRUPTED
        runs = find_runs([out])
    _tell(options, runs, everything, trained)
    return 0


def _check(options: Namespace) -> None:
    """Raise InvalidInputError for options that do not go together."""
    problems = [*_purpose_problems(options), *_search_problems(options)]
    for name in ("limit", "batch", "top_k"):
        number = getattr(options, name)
        is_wrong = number is not None and number < 1
        option = name.replace("_", "-")
        problems.append((is_wrong, f"{name}={number}", "at least 1", f"change --{option}"))
    for is_wrong, what, expected, advice in problems:
        if is_wrong:
            raise InvalidInputError(f"{what}; expected {expected}; {advice}")


def _purpose_problems(options: Namespace) -> list[Problem]:
    return [
        (
            bool(options.score) and options.task is not None,
            "--score with --task",
            "one of them: a run is scored as it was made",
            "leave out --task",
        ),
        (not options.score and options.task is None, "No task", f"one of {_TASKS}", "add --task"),
        (not options.score and options.out is None, "No folder", "one for the run", "add --out"),
    ]


def _search_problems(options: Namespace) -> list[Problem]:
    searchers = (options.searcher, *options.baselines.split(","))
    return [
        (
            options.zero_shot and ("own" in searchers or options.query == "span"),
            "--zero-shot with --searcher own, --baselines own or --query span",
            "minilm or bm25, asked with the question: an untrained model has no query token",
            "leave these options out",
        ),
        (
            options.retrieval == "never"
            and options.task != "retrieval"
            and not options.zero_shot
            and bool(options.searcher or options.query),
            "--retrieval never with --searcher or --query",
            "one of them: without a retrieval nobody is asked",
            "leave --retrieval out, or the others (--baselines may stay)",
        ),
        (
            options.task == "retrieval" and (options.zero_shot or options.query == "span"),
            "--task retrieval with --zero-shot or --query span",
            "queries from questions: nothing is written",
            "leave these options out",
        ),
    ]


def _tell(
    options: Namespace,
    runs: "dict[str, RunFolder]",
    questions: "list[Question]",
    trained: frozenset[str] | None,
) -> None:
    """Print the tables, and write them into the run's folder."""
    from onegen_model.evaluation.ask.run_folder import writing
    from onegen_model.evaluation.score.comparison import rows_of
    from onegen_model.evaluation.score.scores import score
    from onegen_model.evaluation.score.table import report, scores_to_dict

    scores = score(rows_of(runs, questions), trained)
    text = report(scores)
    plain = json.dumps(scores_to_dict(scores), ensure_ascii=False)
    if options.out:
        out = Path(options.out)
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / "table.md").write_text(text, encoding="utf-8")
            (out / "scores.json").write_text(plain + "\n", encoding="utf-8")
    sys.stdout.write(plain + "\n" if options.json else text)
