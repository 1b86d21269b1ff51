"""The command line: `onegen index`, `embed`, `ask`, `chat`, `train` and the rest."""

import logging
import os
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, get_args

from onegen_model.cli.ask import run_ask, run_chat
from onegen_model.cli.demo import run_demo
from onegen_model.cli.embed import add_embed
from onegen_model.cli.evaluate import add_evaluate
from onegen_model.cli.index import run_index
from onegen_model.cli.interrupts import INTERRUPTED
from onegen_model.cli.mine import add_mine
from onegen_model.cli.train import run_data_check, run_train
from onegen_model.errors import InvalidInputError, OneGenError, is_out_of_memory
from onegen_model.params import RetrievalMode

if TYPE_CHECKING:
    from onegen_model.model import OneGenModel

LoadModel = Callable[[str | None, str], "OneGenModel"]

_FAILED = 2


def main(argv: Sequence[str] | None = None, load_model: LoadModel | None = None) -> int:
    """The exit status: 0, 2 after an error, 130 after Ctrl-C; wrong usage raises SystemExit(2)."""
    options = _build_parser().parse_args(argv)
    logging.basicConfig(format="onegen: %(message)s", level=logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        _set_threads(options.threads)
        return int(options.run(options, load_model or _load_model))
    except KeyboardInterrupt:
        return _fail("stopped", INTERRUPTED)
    except BrokenPipeError:
        # The reader has left (`onegen ask … | head`): keep Python from writing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except OneGenError as error:
        if options.debug:
            raise
        return _fail(f"error: {error}", _FAILED)
    except (MemoryError, RuntimeError) as error:
        if options.debug or not is_out_of_memory(error):
            raise
        return _fail(
            f"error: Out of memory; expected it to fit; {_what_takes_less(options)}", _FAILED
        )


def _what_takes_less(options: Namespace) -> str:
    if hasattr(options, "batch"):
        return f"lower --batch (now {options.batch}) and run the same command again"
    return "choose a smaller model, or free some memory"


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"onegen: {' '.join(message.split())}\n")
    return status


def _load_model(path_or_id: str | None, dtype: str) -> "OneGenModel":
    from onegen_model.model import OneGenModel

    return OneGenModel.from_pretrained(path_or_id, dtype=dtype)


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise InvalidInputError(f"threads={threads}; expected at least 1; change --threads")
    import torch

    torch.set_num_threads(threads)


def _build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="onegen", description="Ask one language model that searches your documents by itself."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = _build_common()

    index = commands.add_parser(
        "index",
        parents=[common],
        help="read documents into an index",
        description="Read txt, md and jsonl files (title, text) into an index. Run it again to add "
        "documents, to follow changed files, or to go on after Ctrl-C.",
    )
    index.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    index.add_argument("--out", required=True, metavar="DIR", help="the index, new or existing")
    index.add_argument("--batch", type=int, default=32, help="passages per step (32)")
    index.set_defaults(run=run_index)
    add_embed(commands, common)

    asking = [common, _build_asking()]
    ask = commands.add_parser("ask", parents=asking, help="ask one question")
    ask.add_argument("question")
    ask.set_defaults(run=run_ask)
    chat = commands.add_parser(
        "chat",
        parents=asking,
        help="ask question after question",
        description="/new begins a new conversation, /quit or Ctrl-D leaves, Ctrl-C cancels an "
        "answer.",
    )
    chat.set_defaults(run=run_chat)

    demo = commands.add_parser(
        "demo", parents=[common], help="three questions, asked of a small corpus"
    )
    demo.set_defaults(run=run_demo)
    _add_training(commands)
    add_mine(commands, _build_basic())
    add_evaluate(commands, common)
    return parser


def _add_training(commands: "_SubParsersAction[ArgumentParser]") -> None:
    train = commands.add_parser(
        "train",
        parents=[_build_basic()],
        help="fine-tune a model",
        description="Train what a recipe describes (see training/recipes), or go on with a run "
        "that was stopped.",
    )
    train.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="the recipe")
    train.add_argument("--keys", action="store_true", help="print all keys of a recipe, and stop")
    train.add_argument("--dry-run", action="store_true", help="show what it would do, and stop")
    train.add_argument("--max-steps", type=int, help="instead of the recipe's")
    train.set_defaults(run=run_train)

    data = commands.add_parser("data", help="look at training data")
    check = data.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "check",
        parents=[_build_basic()],
        help="name every problem, by line and field",
        description="Read a training file as `onegen train` does. Exit status 1 means problems.",
    )
    check.add_argument("file", metavar="FILE", help="a .jsonl or .jsonl.gz")
    check.add_argument("--passages", metavar="FILE", help="the corpus of its passage ids")
    check.add_argument(
        "--format",
        choices=("transcripts", "published", "pairs"),
        default="transcripts",
        help="published: OneGen's train.jsonl and db.jsonl (transcripts)",
    )
    check.add_argument("--model", metavar="FOLDER", help="whose tokens are counted (the default)")
    check.add_argument("--max-length", type=int, default=2048, help="of a transcript (2048)")
    check.add_argument("--max-passage-tokens", type=int, help="of a passage (the model's)")
    check.add_argument(
        "--on-truncation",
        choices=("error", "drop"),
        default="error",
        help="drop: what is too long is counted, and no problem (error)",
    )
    check.add_argument("--limit", type=int, default=20, help="problems to print (20)")
    check.set_defaults(run=run_data_check)


def _build_common() -> ArgumentParser:
    common = _build_basic()
    common.add_argument(
        "--model", metavar="CHECKPOINT", help="a folder or hub id (the default one)"
    )
    common.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16 (float32)")
    return common


def _build_basic() -> ArgumentParser:
    common = ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, help="CPU threads (as many as torch likes)")
    common.add_argument("--json", action="store_true", help="JSON lines instead of text")
    common.add_argument("--debug", action="store_true", help="show where an error comes from")
    return common


def _build_asking() -> ArgumentParser:
    asking = ArgumentParser(add_help=False)
    asking.add_argument("--index", metavar="DIR", help="what `onegen index` or `embed` wrote")
    asking.add_argument("--top-k", type=int, default=2, help="passages per retrieval (2)")
    asking.add_argument("--max-retrievals", type=int, default=6, help="per answer (6)")
    asking.add_argument(
        "--retrieval",
        choices=get_args(RetrievalMode),
        default="auto",
        help="auto: the model decides; always: search first; never (auto)",
    )
    asking.add_argument("--max-new-tokens", type=int, default=256, help="per answer (256)")
    asking.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (0)")
    asking.add_argument("--seed", type=int, help="makes sampled answers repeatable")
    return asking
