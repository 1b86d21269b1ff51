"""The options of `onegen link`."""

from argparse import ArgumentParser, Namespace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from onegen_model.cli.options import add_number
from onegen_model.cli.reading_options import add_reading_options
from onegen_model.cli.where import add_where
from onegen_model.linking.params import LinkingParams

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel

DEFAULT_MODEL = "entity-linking"
_DEFAULT = LinkingParams()


def add_link(commands: Any, shared: ArgumentParser) -> None:
    """Add the parser of `onegen link`."""
    link = commands.add_parser(
        "link",
        parents=[shared],
        description="Mark the mentions of a text, and link each to its entity. The text itself "
        "never changes. A text file is linked as it is written, a file of another kind as the text "
        "that it is converted to.",
        epilog="The exit status is 3 if files were left out with --skip-bad.",
    )
    link.add_argument(
        "inputs",
        nargs="+",
        type=str,  # A text that begins with ~ is no path.
        metavar="TEXT|PATH",
        help="a text, as one argument, or files and folders; - reads standard input",
    )
    link.add_argument("--text", action="store_true", help="each argument is a text (default: not)")
    link.add_argument(
        "--entities", required=True, metavar="DIR", help="an index of entities of the same model"
    )
    link.add_argument(
        "--format",
        choices=("text", "jsonl", "html"),
        help="text: mentions marked, and a table; jsonl: one object per document; html: one page "
        "with links (default: by the name of --out, or text)",
    )
    link.add_argument(
        "--out",
        metavar="FILE",
        help="a new file instead of standard output; .jsonl grows with each document, and the same "
        "command goes on after Ctrl-C",
    )
    link.add_argument("--force", action="store_true", help="replace FILE, finished or not")
    _add_linking(link)
    add_reading_options(link)
    link.set_defaults(run=_run)


def _add_linking(link: ArgumentParser) -> None:
    """Add the options of LinkingParams."""
    link.add_argument(
        "--nil-threshold",
        type=float,
        default=_DEFAULT.nil_threshold,
        metavar="X",
        help="a mention whose best candidate has a lower score has no entity (default: "
        f"{_or_none(_DEFAULT.nil_threshold)})",
    )
    link.add_argument(
        "--name-weight",
        type=float,
        default=_DEFAULT.name_weight,
        metavar="X",
        help="how much it counts, beside the cosine, that an entity is called as the mention is; "
        f"0: not at all (default: {_DEFAULT.name_weight})",
    )
    add_number(link, "--candidates", _DEFAULT.num_candidates, "entities reported with a mention")
    link.add_argument(
        "--mention-threshold",
        type=float,
        default=_DEFAULT.mention_threshold,
        metavar="X",
        help="between 0 and 1; the higher, the fewer mentions (default: "
        f"{_DEFAULT.mention_threshold})",
    )
    add_number(link, "--max-mention-tokens", _DEFAULT.max_mention_tokens, "longest mention")
    add_where(link)
    add_number(link, "--window", _DEFAULT.window, "tokens of a long text that are read at a time")
    add_number(link, "--overlap", _DEFAULT.overlap, "tokens that two windows share")


def _or_none(value: float | None) -> str:
    return "no score is too low" if value is None else str(value)


def _run(options: Namespace, load_model: "LoadModel") -> int:
    return int(import_module("onegen_model.cli.link").run_link(options, load_model))
