"""`onegen mine`: hard negatives for a training file."""

import json
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.interrupts import INTERRUPTED
from onegen_model.errors import InvalidInputError

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.finetune.mining.mine import MiningSummary
    from onegen_model.finetune.mining.negatives import MiningSettings
    from onegen_model.finetune.mining.search import Corpus, Searcher


def add_mine(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """The subcommand and its options."""
    mine = commands.add_parser(
        "mine",
        parents=[common],
        help="find hard negatives for training data",
        description="Search a corpus with the queries of training examples, and make what is found "
        "and wrong their negatives. Run it again to go on after Ctrl-C.",
    )
    mine.add_argument("file", metavar="TRAIN.jsonl")
    mine.add_argument("--out", required=True, metavar="MINED.jsonl", help="a new training file")
    mine.add_argument(
        "--passages", metavar="FILE", help="the corpus; what stands in TRAIN itself is part of it"
    )
    mine.add_argument(
        "--format", choices=("transcripts", "pairs"), default="transcripts", help="(transcripts)"
    )
    mine.add_argument(
        "--with",
        dest="search",
        default="bm25",
        metavar="bm25|model|CHECKPOINT",
        help="who searches: words, the default checkpoint, or another one (bm25)",
    )
    mine.add_argument("--dtype", default="float32", help="of a model (float32)")
    mine.add_argument(
        "--vectors", metavar="DIR", help="where a model's vectors are kept (vectors, beside --out)"
    )
    mine.add_argument("--force", action="store_true", help="replace MINED.jsonl, or start anew")
    _add_choice(mine)
    mine.set_defaults(run=run_mine)


def _add_choice(mine: ArgumentParser) -> None:
    """What of that which is found becomes a negative."""
    mine.add_argument("--negatives", type=int, default=4, help="per retrieval (4)")
    mine.add_argument(
        "--ranks", default="2-30", metavar="FROM-TO", help="of what is found, from 1 (2-30)"
    )
    mine.add_argument(
        "--margin",
        type=float,
        default=0.05,
        help="how far below the positive's score, as a share of it; below 0: anywhere (0.05)",
    )
    mine.add_argument("--absolute-margin", type=float, help="the same, as a score")
    mine.add_argument("--max-score", type=float, help="of a negative")
    mine.add_argument(
        "--sampling", choices=("top", "random"), default="top", help="the best, or any (top)"
    )
    mine.add_argument("--seed", type=int, default=0, help="of --sampling random (0)")
    mine.add_argument(
        "--keep-answers", action="store_true", help="also passages that hold the short answer"
    )
    mine.add_argument(
        "--keep-negatives", action="store_true", help="add to the negatives that are there"
    )


def run_mine(options: Namespace, load_model: "LoadModel") -> int:
    # Imported here: the other commands do without the seconds that it takes.
    from onegen_model.finetune.data.datasets import open_data
    from onegen_model.finetune.mining.mine import Sources, mine, require_out

    settings = _settings(options)
    passages = Path(options.passages) if options.passages else None
    out = Path(options.out)
    if passages is not None and out.resolve() == passages.resolve():
        raise InvalidInputError(f"{out} is the corpus; expected a new file; change --out")
    require_out(out, Path(options.file), force=options.force)
    sources = Sources(open_data(options.format, Path(options.file), passages))
    searcher = _open_searcher(options, sources.corpus, load_model)
    try:
        found = mine(sources, searcher, settings, out, force=options.force)
    except KeyboardInterrupt:
        sys.stderr.write("onegen: stopped; run the same command again to go on\n")
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


def _open_searcher(options: Namespace, corpus: "Corpus", load_model: "LoadModel") -> "Searcher":
    from onegen_model.finetune.mining.search import Bm25Searcher, ModelSearcher

    if options.search == "bm25":
        return Bm25Searcher(corpus)
    name = None if options.search == "model" else options.search
    folder = Path(options.vectors) if options.vectors else Path(options.out).parent / "vectors"
    return ModelSearcher(load_model(name, options.dtype), corpus, folder)


def format_summary(out: Path, found: "MiningSummary", asked: int) -> list[str]:
    """What was mined, what was left out, and what is missing."""
    searched = max(1, found.queries - found.unread)
    return [
        f"{out}: {found.examples} examples",
        f"Negatives:  {found.negatives} for {found.queries} retrievals with a positive "
        f"({found.negatives / searched:.2f} each)",
        f"Left out:   {found.holding_answer} candidates hold the answer, {found.scoring_high} "
        "score too near a positive",
        f"Fewer:      {found.short} retrievals got fewer than {asked}; {found.none} of them none, "
        "and stay as they were",
        f"Not read:   {found.unread} retrievals, in transcripts too long for the model",
    ]
