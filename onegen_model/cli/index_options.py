"""The options of `onegen index`."""

from argparse import ArgumentParser, Namespace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from onegen_model.cli.options import add_number
from onegen_model.cli.reading_options import add_reading_options

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel


def add_index(commands: Any, shared: ArgumentParser) -> None:
    index = commands.add_parser(
        "index",
        parents=[shared],
        usage="onegen index PATH… --out DIR [options]\n"
        "       onegen index --list DIR\n"
        "       onegen index --remove NAME… --out DIR\n"
        "       onegen index --prune --out DIR",
        description="Read documents into an index, and keep it in step with them: run the same "
        "command again to follow new, changed, moved and deleted files, or to continue after "
        "Ctrl-C.",
        epilog="The exit status is 3 if files were left out with --skip-bad.",
    )
    index.add_argument("paths", nargs="*", metavar="PATH", help="files and folders")
    index.add_argument("--out", metavar="DIR", help="the index, new or existing")
    add_number(index, "--batch", 32, "passages per step")
    _add_ways(index)
    add_reading_options(index)
    index.set_defaults(run=_run)


def _add_ways(index: ArgumentParser) -> None:
    """Add the ways to sync, and what else can be done with an index."""
    index.add_argument(
        "--scan",
        "--dry-run",
        action="store_true",
        help="show what there is to do, and how long it takes, and exit",
    )
    index.add_argument(
        "--keep-missing", action="store_true", help="keep documents whose files are gone"
    )
    index.add_argument(
        "--prune",
        action="store_true",
        help="remove all documents whose files are gone, wherever they were",
    )
    index.add_argument(
        "--watch", action="store_true", help="stay, and follow each change until Ctrl-C"
    )
    index.add_argument(
        "--list",
        nargs="?",
        const="",
        metavar="DIR",
        help="show the files in an index; needs no model",
    )
    index.add_argument(
        "--remove",
        nargs="+",
        metavar="NAME",
        help="remove files and folders, or documents and passages by their ids; needs no model",
    )


def _run(options: Namespace, load_model: "LoadModel") -> int:
    return int(import_module("onegen_model.cli.index").run_index(options, load_model))
