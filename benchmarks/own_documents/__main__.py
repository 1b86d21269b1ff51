"""A folder of documents in all kinds, and questions about them.

    python -m benchmarks.own_documents make DIR
    python -m benchmarks.own_documents ask DIR --index INDEX [--min-score X] [--label NAME]

`ask` indexes the folder with `onegen index` where INDEX does not exist, and asks 44 questions that
the documents answer and 16 that they do not, with the defaults of the library but for
`--min-score`. An answer is right when it holds one of the accepted answers as whole words.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.own_documents.asking import Asker, Outcome, to_dict
from benchmarks.own_documents.making import make
from benchmarks.own_documents.questions import read_own_questions
from benchmarks.own_documents.scoring import score, score_limits, score_refusals
from onegen_model import OneGenModel, PassageIndex, RetrievalParams
from onegen_model.cli import main as onegen
from onegen_model.evaluation.score.table import table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_documents", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write the folder")
    making.add_argument("folder", type=Path)
    asking = commands.add_parser("ask", help="ask the questions")
    asking.add_argument("folder", type=Path)
    asking.add_argument("--index", type=Path, required=True, help="made where there is none")
    asking.add_argument("--min-score", type=float, help="refuse what is found with less")
    asking.add_argument("--batch", type=int, default=8, help="questions asked at once")
    asking.add_argument("--label", default="", help="part of the name of the result")
    options = parser.parse_args(argv)
    if options.command == "make":
        print(f"{len(make(options.folder))} files in {options.folder}")
        return 0
    return ask(options)


def ask(options: argparse.Namespace) -> int:
    if not options.index.exists():
        status = onegen(["index", str(options.folder), "--out", str(options.index)])
        if status:
            return status
    model = OneGenModel.from_pretrained()
    index = PassageIndex.load(model, options.index)
    retrieval = RetrievalParams(min_score=options.min_score)
    asker = Asker(model, index, options.folder, options.index.resolve().parent, retrieval)
    outcomes = list(asker.ask(read_own_questions(), options.batch))
    rows = score(outcomes)
    refusals = {"no limit": score_refusals(outcomes), **score_limits(outcomes)}
    print(f"\n{len(index)} passages\n\n{table('questions about', rows)}\n")
    print(table("questions", refusals), "\n")
    print("\n".join(map(_line, outcomes)))
    measured = {
        "passages": len(index),
        "rows": rows,
        "refusals": refusals,
        "outcomes": [to_dict(one) for one in outcomes],
    }
    name = "-".join(filter(None, ["own-documents", options.label]))
    print(f"\nWritten to {report.save(name, model, options, measured)}")
    return 0


def _line(outcome: Outcome) -> str:
    """One outcome, to be looked at by eye."""
    asked = outcome.question
    wanted = " or ".join(asked.answers) or "nothing"
    return (
        f"{asked.id} {asked.kind}: {outcome.verdict}\n    {asked.question}\n"
        f"    expected {wanted}; answered {outcome.answer.text!r}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
