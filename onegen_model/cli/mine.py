"""`onegen mine`: hard negatives for a training file."""

import json
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.interrupts import INTERRUPTED
from onegen_model.cli.options import FORMATS, add_device, add_number
from onegen_model.errors import InvalidInputError

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.finetune.mining.mine import MiningSummary
    from onegen_model.finetune.mining.negatives import MiningSettings
    from onegen_model.finetune.mining.search import CandidateRetriever, MiningCorpus


def add_mine(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Add the parser of `onegen mine`."""
    mine = commands.add_parser(
        "mine",
        parents=[common],
        help="find hard negatives for training data",
        description="Search a corpus with the queries of training examples, and add passages that "
        "rank high but are not positives as negatives. Run the same command again to continue "
        "after Ctrl-C.",
    )
    mine.add_argument("file", metavar="TRAIN.jsonl", help="the training file")
    mine.add_argument("--out", required=True, metavar="MINED.jsonl", help="a new training file")
    mine.add_argument(
        "--passages", metavar="FILE", help="the corpus; passages of TRAIN belong to it as well"
    )
    mine.add_argument(
        "--format",
        choices=FORMATS,
        default="transcripts",
        help="format of TRAIN, of which transcripts and pairs can be mined (default: transcripts)",
    )
    mine.add_argument(
        "--with",
        dest="search",
        default="bm25",
        metavar="bm25|model|CHECKPOINT",
        help="the retriever: BM25, the default checkpoint, or another checkpoint (default: bm25)",
    )
    mine.add_argument(
        "--dtype", default="float32", help="float32, bfloat16 or float16 (default: float32)"
    )
    add_device(mine)
    mine.add_argument(
        "--vectors",
        metavar="DIR",
        help="folder for the vectors of a model (default: vectors, beside --out)",
    )
    mine.add_argument("--force", action="store_true", help="replace MINED.jsonl, finished or not")
    _add_choice(mine)
    mine.set_defaults(run=run_mine)


def _add_choice(mine: ArgumentParser) -> None:
    """Add the options that decide which of the found passages become negatives."""
    add_number(mine, "--negatives", 4, "negatives per retrieval")
    mine.add_argument(
        "--ranks",
        default="2-30",
        metavar="FROM-TO",
        help="ranks of the candidates, counted from 1 (default: 2-30)",
    )
    _add_limits(mine)
    mine.add_argument(
        "--sampling",
        choices=("top", "random"),
        default="top",
        help="which candidates are taken: the best, or random ones (default: top)",
    )
    add_number(mine, "--seed", 0, "seed of --sampling random")
    mine.add_argument(
        "--keep-answers", action="store_true", help="allow passages that contain the short answer"
    )
    mine.add_argument(
        "--keep-negatives",
        action="store_true",
        help="add to the negatives of TRAIN instead of replacing them",
    )


def _add_limits(mine: ArgumentParser) -> None:
    """Add the options that limit the score of a negative."""
    mine.add_argument(
        "--margin",
        type=float,
        default=0.05,
        metavar="X",
        help="least distance below the positive's score, as a share of it; below 0: no limit "
        "(default: 0.05)",
    )
    mine.add_argument(
        "--absolute-margin",
        type=float,
        metavar="X",
        help="least distance below the positive's score (default: no limit)",
    )
    mine.add_argument(
        "--max-score",
        type=float,
        metavar="X",
        help="highest score of a negative (default: no limit)",
    )


def run_mine(options: Namespace, load_model: "LoadModel") -> int:
    for name in filter(None, (options.file, options.passages)):
        Path(name).open("rb").close()  # A wrong path is reported before seconds of imports.
    # Imported here: other commands should not need the seconds that the import takes.
    from onegen_model.finetune.data.datasets import likely_format, open_data
    from onegen_model.finetune.mining.mine import MiningSources, mine, require_minable, require_out
    from onegen_model.jsonl import JsonLines

    settings = _settings(options)
    # Before the corpus, which may not be one of passages.
    require_minable(likely_format(JsonLines(Path(options.file))) or options.format)
    passages = Path(options.passages) if options.passages else None
    out = Path(options.out)
    if passages is not None and out.resolve() == passages.resolve():
        raise InvalidInputError(f"{out} is the corpus; expected a new file; change --out")
    require_out(out, Path(options.file), force=options.force)
    sources = MiningSources(open_data(options.format, Path(options.file), passages))
    retriever = _open_retriever(options, sources.corpus, load_model)
    try:
        found = mine(sources, retriever, settings, out, force=options.force)
    except KeyboardInterrupt:
        sys.stderr.write("onegen: stopped; run the same command again to continue\n")
        return INTERRUPTED
    if options.json:
        text = json.dumps({"file": str(out), **asdict(found)}, ensure_ascii=False)
    else:
        text = "\n".join(format_summary(out, found, settings.num_negatives))
    sys.stdout.write(text + "\n")
    return 0


def _settings(options: Namespace) -> "MiningSettings":
    from onegen_model.finetune.mining.negatives import MiningSettings

    first, _, last = options.ranks.partition("-")
    if not (first.isdecimal() and last.isdecimal()):
        raise InvalidInputError(
            f"ranks {options.ranks!r}; expected two numbers as in 2-30; change --ranks"
        )
    return MiningSettings(
        num_negatives=options.negatives,
        range_min=int(first),
        range_max=int(last),
        relative_margin=None if options.margin < 0 else options.margin,
        absolute_margin=options.absolute_margin,
        max_score=options.max_score,
        sampling_strategy=options.sampling,
        keep_answers=options.keep_answers,
        keep_negatives=options.keep_negatives,
        seed=options.seed,
    )


def _open_retriever(
    options: Namespace, corpus: "MiningCorpus", load_model: "LoadModel"
) -> "CandidateRetriever":
    from onegen_model.finetune.mining.search import Bm25CandidateRetriever, ModelCandidateRetriever

    if options.search == "bm25":
        return Bm25CandidateRetriever(corpus)
    name = None if options.search == "model" else options.search
    folder = Path(options.vectors) if options.vectors else Path(options.out).parent / "vectors"
    return ModelCandidateRetriever(load_model(name, options.dtype), corpus, folder)


def format_summary(out: Path, found: "MiningSummary", asked: int) -> list[str]:
    """Lines on what was mined, left out and missing."""
    searched = max(1, found.queries - found.unread)
    return [
        f"{out}: {found.examples} examples",
        f"Negatives:  {found.negatives} for {found.queries} retrievals with a positive "
        f"({found.negatives / searched:.2f} each)",
        f"Left out:   {found.holding_answer} candidates contain the answer, {found.scoring_high} "
        "score too close to a positive",
        f"Fewer:      {found.short} retrievals got fewer than {asked}; {found.none} of them none, "
        "and keep the negatives they had",
        f"Not read:   {found.unread} retrievals, in transcripts too long for the model",
    ]
