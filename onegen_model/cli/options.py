"""Options that several subcommands share; each help text ends with the default."""

import os
import re
import sys
from argparse import Action, ArgumentParser
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn, get_args

from onegen_model.errors import InvalidInputError
from onegen_model.params import NOT_FOUND, RetrievalMode

# Words of a metavar that name something on the disk.
_PATHS = {"CHECKPOINT", "CONFIG", "DIR", "FILE", "FOLDER", "MINED", "PATH", "TRAIN"}
_DEVICES = ("cpu", "cuda", "mps", "xpu")

FORMATS = ("transcripts", "published", "pairs", "triples", "entity_linking")
"""Those of training files; the module that defines them takes seconds to import."""


class Parser(ArgumentParser):
    """Replaces `~` in every path, by the metavar: a shell leaves it alone in `--out=~/x`."""

    def add_argument(self, *names: Any, **settings: Any) -> Action:
        if not _PATHS.isdisjoint(re.findall(r"[A-Z]+", str(settings.get("metavar")))):
            settings.setdefault("type", os.path.expanduser)
        return super().add_argument(*names, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Of a required option that is misspelt argparse says only that it is missing."""
        if "required" in message:
            message += self.similar(getattr(self, "_given", ()))
        super().error(message)

    def similar(self, words: Iterable[str]) -> str:
        """What the first misspelt option among the words may mean, as `did_you_mean` says it."""
        known = ["--help", *re.findall(r"--[a-z][a-z-]*", self.format_help())]
        flags = [word.partition("=")[0] for word in words if word.startswith("--")]
        unknown = [flag for flag in flags if not any(one.startswith(flag) for one in known)]
        return next(filter(None, (did_you_mean(flag, known) for flag in unknown)), "")


def did_you_mean(given: str, known: list[str]) -> str:
    """The end of a message on an unknown name; empty where none is similar."""
    similar = get_close_matches(given, known, n=1, cutoff=0.6)
    return f"; did you mean {similar[0]}?" if similar else ""


def require_device_name(device: str | None) -> None:
    """Raise InvalidInputError for a device that torch cannot have, without importing it."""
    if device is None:
        return
    name, _, number = device.partition(":")
    if name not in _DEVICES or (":" in device and not number.isdecimal()):
        raise InvalidInputError(
            f"device {device!r}; expected {', '.join(_DEVICES)}, or one of several as in cuda:1; "
            "change --device"
        )


def basic_options() -> ArgumentParser:
    """The options of every subcommand."""
    basic = Parser(add_help=False)
    add_number(basic, "--threads", None, "CPU threads (default: chosen by torch)")
    basic.add_argument("--json", action="store_true", help="write JSON lines instead of text")
    basic.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return basic


def model_options(default: str | None = None) -> ArgumentParser:
    """The options of every subcommand that loads a model; `default` None: the default one."""
    options = basic_options()
    options.add_argument(
        "--model",
        metavar="CHECKPOINT",
        default=default,
        help=f"folder or hub id of a checkpoint (default: {default or 'the default checkpoint'})",
    )
    options.add_argument(
        "--dtype", default="float32", help="float32, bfloat16 or float16 (default: float32)"
    )
    add_device(options)
    return options


def add_device(parser: ArgumentParser) -> None:
    """Add the option of the device that computes."""
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: cuda if there is one)"
    )


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
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="X",
        help="passages with a lower score are not read (default: none is too low)",
    )
    parser.add_argument(
        "--not-found",
        default=NOT_FOUND,
        metavar="TEXT",
        help="the answer where a search finds nothing; an empty TEXT lets the model write one "
        f'(default: "{NOT_FOUND}")',
    )
    add_number(parser, "--max-new-tokens", 256, "tokens per answer")


def add_number(parser: ArgumentParser, flag: str, default: int | None, text: str) -> None:
    """Add the option of a whole number; `text` itself explains the default None."""
    help_text = text if default is None else f"{text} (default: {default})"
    parser.add_argument(flag, type=int, default=default, metavar="N", help=help_text)
