"""`onegen evaluate --task linking`: entities of marked mentions, and mentions that are found."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.errors import InvalidInputError
from onegen_model.linking.params import LinkingParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onegen_model.cli import LoadModel
    from onegen_model.evaluation import LinkingDocument, LinkingEvaluationSettings, RunFolder

TASK = "linking"
CHECKPOINT = "entity-linking"  # the default of this task
_DEFAULT = LinkingParams()

# Option -> the value that it has where it was not given.
_ONLY_HERE: dict[str, object] = {
    "documents": None,
    "entities": None,
    "entity_file": None,
    "mention_threshold": 0.5,
    "thresholds": "",
    "nil_threshold": None,
    "name_weight": _DEFAULT.name_weight,
    "no_detection": False,
    "encoder_index": None,
}
_NOT_HERE: dict[str, object] = {
    "questions": None,
    "corpus": None,
    "index": None,
    "pool": "corpus",
    "retriever": None,
    "query": None,
    "zero_shot": False,
}


def add_subjects(parser: ArgumentParser) -> None:
    """Add the options of the file to evaluate with: one of them is needed."""
    subjects = parser.add_mutually_exclusive_group(required=True)
    subjects.add_argument(
        "--questions",
        metavar="FILE",
        type=os.path.expanduser,
        help="JSON Lines with question and answer (.jsonl or .jsonl.gz)",
    )
    subjects.add_argument(
        "--documents",
        metavar="FILE",
        type=os.path.expanduser,
        help="JSON Lines with id, text and mentions, for --task linking",
    )


def add_linking_options(parser: ArgumentParser) -> None:
    """Add the options that only this task has."""
    parser.add_argument(
        "--entities",
        metavar="DIR",
        help="linking: index of all entities, as `onegen entities` makes it",
    )
    parser.add_argument(
        "--entity-file",
        metavar="FILE",
        help="linking: records of entities, in place of --entities: only the candidates of the "
        "documents are embedded, and nothing is measured over all entities",
    )
    parser.add_argument(
        "--mention-threshold",
        type=float,
        default=0.5,
        metavar="X",
        help="linking: how sure the model has to be of a mention (default: 0.5)",
    )
    parser.add_argument(
        "--thresholds",
        default="",
        metavar="A,B",
        help="linking: find the mentions with each of these thresholds as well (default: none)",
    )
    parser.add_argument(
        "--no-detection",
        action="store_true",
        help="linking: measure given mentions alone, which is faster",
    )
    parser.add_argument(
        "--encoder-index",
        metavar="DIR",
        help="linking: MiniLM's vectors of the entities, made if missing (default: in OUT)",
    )


def add_linking_score_options(parser: ArgumentParser) -> None:
    """Add the options of this task that only scoring heeds."""
    parser.add_argument(
        "--nil-threshold",
        type=float,
        metavar="X",
        help="linking: entities with a lower score are none (default: none is)",
    )
    parser.add_argument(
        "--name-weight",
        type=float,
        default=_DEFAULT.name_weight,
        metavar="X",
        help="linking: how much names count beside cosines; other weights have a table of their "
        f"own (default: {_DEFAULT.name_weight})",
    )


def require_task_options(options: Namespace) -> None:
    """Raise InvalidInputError for options of another task."""
    is_here = options.task == TASK
    for name, default in (_NOT_HERE if is_here else _ONLY_HERE).items():
        if getattr(options, name) != default:
            flag, with_or_without = _flag(name), "with" if is_here else "without"
            raise InvalidInputError(
                f"{flag} {with_or_without} --task linking; expected options of one task, which "
                f"are --documents and those of linking, or --questions; leave {flag} out"
            )


def run_linking_evaluation(options: Namespace, load_model: "LoadModel") -> int:
    """Link unless --score is given, then print and save the tables."""
    from onegen_model.evaluation import find_runs, read_linking_documents

    documents = read_linking_documents(options.documents)
    if options.score:
        _report(find_runs(options.score), documents, options)
        return 0
    settings = _read_settings(options)
    folder = _evaluate(settings, documents, options, load_model)
    if folder is None:
        sys.stderr.write(
            f"onegen: stopped; run the same command again to continue in {settings.out}\n"
        )
        return INTERRUPTED
    _report({folder.path.name: folder}, documents, options)
    return 0


def _read_settings(options: Namespace) -> "LinkingEvaluationSettings":
    from onegen_model.evaluation import LinkingEvaluationSettings

    if options.out is None:
        raise InvalidInputError("--out is missing; expected the folder of the run; add --out DIR")
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("out", "entities", "entity_file", "encoder", "encoder_index")
    }
    names = tuple(name for name in _listed(options.baselines) if name != "none")
    return LinkingEvaluationSettings(
        **given,
        mention_threshold=options.mention_threshold,
        thresholds=tuple(_number(text) for text in _listed(options.thresholds)),
        detects=not options.no_detection,
        baselines=names,  # type: ignore[arg-type]  # the settings check the names
        batch=options.batch,
        limit=options.limit,
        note={"checkpoint": options.model or CHECKPOINT, "documents": options.documents},
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(
            f"--thresholds has {text!r}; expected numbers between 0 and 1, with commas between "
            "them; correct it"
        ) from None


def _evaluate(
    settings: "LinkingEvaluationSettings",
    documents: "list[LinkingDocument]",
    options: Namespace,
    load_model: "LoadModel",
) -> "RunFolder | None":
    from onegen_model.evaluation.linking.evaluation import prepare_linking_evaluation

    evaluation = prepare_linking_evaluation(
        settings, documents, lambda: load_model(options.model or CHECKPOINT, options.dtype)
    )
    with Interrupts() as interrupts:
        return evaluation.carry_out(lambda: interrupts.requested)


def _report(
    runs: "Mapping[str, RunFolder]", documents: "list[LinkingDocument]", options: Namespace
) -> None:
    """Print the tables, and save them in --out."""
    from onegen_model.evaluation import (
        linking_report,
        read_trained_entities,
        score_linking_runs,
        scores_to_dict,
    )
    from onegen_model.evaluation.ask.run_folder import writing
    from onegen_model.evaluation.linking.documents import spaced_documents

    scores = score_linking_runs(
        runs,
        spaced_documents(documents, options.limit),
        read_trained_entities(options.train) if options.train else None,
        mention_threshold=options.mention_threshold,
        nil_threshold=options.nil_threshold,
        name_weight=options.name_weight,
    )
    text = linking_report(scores)
    plain = json.dumps(scores_to_dict(scores), ensure_ascii=False)
    if options.out is not None:
        out = Path(options.out)
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / "table.md").write_text(text, encoding="utf-8")
            (out / "scores.json").write_text(plain + "\n", encoding="utf-8")
    sys.stdout.write(plain + "\n" if options.json else text)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
