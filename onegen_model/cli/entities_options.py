"""The options of `onegen entities`."""

from argparse import ArgumentParser, Namespace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from onegen_model.cli.options import add_number

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel


def add_entities(commands: Any, shared: ArgumentParser) -> None:
    entities = commands.add_parser(
        "entities",
        parents=[shared],
        usage="onegen entities FILE.jsonl --out DIR [options]\n"
        "       onegen entities import FILE.pkl --out DIR [--entities FILE.jsonl] [options]\n"
        "       onegen entities --list DIR\n"
        "       onegen entities --remove ID… --out DIR",
        description="Embed the entities of a file into an index that `onegen link` searches, or "
        "add them to an existing one: a record has an id, a name and, optionally, a description. "
        "Run the same command again to continue after Ctrl-C.",
        epilog="The exit status is 3 if records were left out with --skip-bad.",
    )
    entities.add_argument(
        "paths",
        nargs="*",
        metavar="FILE",
        help=".jsonl or .jsonl.gz; after `import`, embeddings that OneGen publishes (.pkl)",
    )
    entities.add_argument("--out", metavar="DIR", help="the index, new or existing")
    add_number(entities, "--batch", 64, "entities per step")
    entities.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without records that cannot be used, and name them at the end (default: stop "
        "before anything is embedded)",
    )
    _add_import(entities)
    _add_upkeep(entities)
    entities.set_defaults(run=_run)


def _add_import(entities: ArgumentParser) -> None:
    group = entities.add_argument_group("import")
    group.add_argument(
        "--entities",
        metavar="FILE",
        help="names and descriptions of the ids (default: the ids are the names)",
    )
    group.add_argument(
        "--store-as",
        choices=("float32", "float16"),
        help="dtype of the vectors on disk (default: float32)",
    )


def _add_upkeep(entities: ArgumentParser) -> None:
    group = entities.add_argument_group("upkeep, which needs no model")
    group.add_argument(
        "--list", nargs="?", const="", metavar="DIR", help="show the entities of an index"
    )
    group.add_argument("--remove", nargs="+", metavar="ID", help="remove entities by their ids")
    group.add_argument(
        "--remove-listed", metavar="FILE", help="remove the ids in a file, one a line"
    )


def _run(options: Namespace, load_model: "LoadModel") -> int:
    return int(import_module("onegen_model.cli.entities").run_entities(options, load_model))
