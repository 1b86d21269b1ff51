"""Options that several subcommands share; each help text ends with the default."""

from argparse import ArgumentParser
from typing import get_args

from onegen_model.params import RetrievalMode


def basic_options() -> ArgumentParser:
    """The options of every subcommand."""
    basic = ArgumentParser(add_help=False)
    add_number(basic, "--threads", None, "CPU threads (default: chosen by torch)")
    basic.add_argument("--json", action="store_true", help="write JSON lines instead of text")
    basic.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return basic


def model_options() -> ArgumentParser:
    """The options of every subcommand that loads a model."""
    options = basic_options()
    options.add_argument(
        "--model",
        metavar="CHECKPOINT",
        help="folder or hub id of a checkpoint (default: the default checkpoint)",
    )
    options.add_argument(
        "--dtype", default="float32", help="float32, bfloat16 or float16 (default: float32)"
    )
    return options


def add_answer_options(parser: ArgumentParser) -> None:
    """Add the budgets of an answer."""
    add_number(parser, "--top-k", 2, "passages per retrieval")
    add_number(parser, "--max-retrievals", 6, "retrievals per answer")
    parser.add_argument(
        "--retrieval",
        choices=get_args(RetrievalMode),
        default="auto",
        help="auto: the model decides; always: it searches first; never (default: auto)",
    )
    add_number(parser, "--max-new-tokens", 256, "tokens per answer")


def add_number(parser: ArgumentParser, flag: str, default: int | None, text: str) -> None:
    """Add the option of a whole number; `text` itself explains the default None."""
    help_text = text if default is None else f"{text} (default: {default})"
    parser.add_argument(flag, type=int, default=default, metavar="N", help=help_text)
