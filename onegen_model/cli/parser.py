"""The parser of `onegen`: one table of subcommands, and the options that several of them share.

A subcommand imports torch only when it runs, so that help and wrong usage are shown at once.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from typing import TYPE_CHECKING, Any

from onegen_model.batches import BATCH_TOKENS
from onegen_model.cli.options import (
    FORMATS,
    Parser,
    add_answer_options,
    add_number,
    basic_options,
    did_you_mean,
    model_options,
)
from onegen_model.cli.reading_options import add_reading_options
from onegen_model.cli.where import add_where
from onegen_model.retrieval.manifest import DEFAULT_SHARD_SIZE

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel

# Packages beside the core add subcommands to this group of entry points: a module with SUMMARY and
# `add(commands, basic_options)`.
_GROUP = "onegen.commands"
_FLAGS = ("-h", "--help", "--version")  # those of `onegen` itself

Run = Callable[[Namespace, "LoadModel"], int]


def parse_arguments(argv: Sequence[str]) -> Namespace:
    """The options, with the subcommand's function as `run`; wrong usage raises SystemExit(2)."""
    parser = Parser(
        prog="onegen",
        description="Answer questions with one language model that searches documents itself.",
    )
    parser.add_argument("--version", action="version", version=f"onegen {version('onegen')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    chosen = next((word for word in argv if not word.startswith("-")), None)
    known = _COMMANDS if chosen in _COMMANDS else {**_COMMANDS, **_added_commands()}
    for name, (summary, add) in known.items():
        if name == chosen:
            add(commands)
        else:
            commands.add_parser(name, help=summary)
    if chosen is None and argv and not any(flag.startswith(argv[0]) for flag in _FLAGS):
        _refuse(parser, argv)
    if chosen and chosen not in known and argv[0] == chosen:
        similar = did_you_mean(chosen, [*known]) or "; `onegen --help` lists the commands"
        parser.error(f"unknown command {chosen}{similar}")
    options: Namespace
    options, unknown = parser.parse_known_args(argv)
    if unknown:  # The usage of the subcommand has its options.
        _refuse(commands.choices[chosen] if chosen else parser, unknown)
    return options


def _added_commands() -> dict[str, tuple[str, Callable[[Any], None]]]:
    """The subcommands of other packages, in the form of `_COMMANDS`."""

    def command(point: EntryPoint) -> tuple[str, Callable[[Any], None]]:
        module = point.load()
        return module.SUMMARY, lambda commands: module.add(commands, basic_options())

    return {point.name: command(point) for point in entry_points(group=_GROUP)}


def _refuse(parser: Parser, unknown: Sequence[str]) -> None:
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{parser.similar(unknown)}")


def _deferred(module: str, function: str) -> Run:
    """A function of a module that is imported when it is called."""

    def run(options: Namespace, load_model: "LoadModel") -> int:
        return int(
            getattr(import_module(f"onegen_model.cli.{module}"), function)(options, load_model)
        )

    return run


def _add_index(commands: Any) -> None:
    from onegen_model.cli.index_options import add_index

    add_index(commands, model_options())


def _add_embed(commands: Any) -> None:
    embed = commands.add_parser(
        "embed",
        parents=[model_options()],
        description="Embed the documents of files and folders, shard by shard, for any index. Run "
        "the same command again to follow changed files, or to continue after Ctrl-C. On several "
        "GPUs: torchrun --nproc_per_node N -m onegen_model.cli embed …",
    )
    embed.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    embed.add_argument("--out", required=True, metavar="DIR", help="the corpus, new or existing")
    add_number(embed, "--shard-size", DEFAULT_SHARD_SIZE, "passages per shard, about")
    add_number(embed, "--batch", BATCH_TOKENS, "positions per forward; a GPU takes many more")
    embed.add_argument(
        "--store-as",
        choices=("float32", "float16"),
        default="float32",
        help="dtype of the vectors on disk (default: float32)",
    )
    add_reading_options(embed)
    embed.set_defaults(run=_deferred("embed", "run_embed"))


def _add_ask(commands: Any) -> None:
    ask = commands.add_parser(
        "ask",
        parents=[model_options(), _asking_options()],
        description="Answer one question from an index, and show each retrieval as it happens.",
    )
    help_text = "the question, as one argument; - reads standard input"
    ask.add_argument("question", metavar="QUESTION", help=help_text)
    ask.set_defaults(run=_deferred("ask", "run_ask"))


def _asking_options() -> ArgumentParser:
    """The options of subcommands that answer questions."""
    asking = Parser(add_help=False)
    asking.add_argument(
        "--index", metavar="DIR", help="what `onegen index` or `onegen embed` has written"
    )
    add_answer_options(asking)
    add_where(asking)
    asking.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default: 0)"
    )
    add_number(asking, "--seed", None, "makes sampled answers repeatable (default: none)")
    add_number(asking, "--window", 0, "neighbours that are read on each side of a passage")
    asking.add_argument(
        "--sources",
        choices=("short", "full", "none"),
        default="short",
        help="short: title, file and place of each passage; full: its score and text too; none "
        "(default: short)",
    )
    return asking


def _add_chat(commands: Any) -> None:
    chat = commands.add_parser(
        "chat",
        parents=[model_options(), _asking_options()],
        description="Answer question after question. /help lists the commands of a chat, /quit or "
        "Ctrl-D leaves, Ctrl-C cancels an answer.",
    )
    chat.add_argument("--resume", metavar="FILE", help="continue a chat that /save has written")
    chat.set_defaults(run=_deferred("chat", "run_chat"))


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        parents=[model_options()],
        description="Answer the questions that come with onegen from the documents that come with "
        "it. The first run builds their index.",
    )
    demo.set_defaults(run=_deferred("demo", "run_demo"))


def _add_entities(commands: Any) -> None:
    from onegen_model.cli.entities_options import add_entities

    add_entities(commands, model_options("entity-linking"))


def _add_link(commands: Any) -> None:
    from onegen_model.cli.link_options import DEFAULT_MODEL, add_link

    add_link(commands, model_options(DEFAULT_MODEL))


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        parents=[basic_options()],
        description="Train a model as a recipe describes it (see training/recipes). Run the same "
        "command again to continue after Ctrl-C.",
    )
    train.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="the recipe")
    train.add_argument("--keys", action="store_true", help="print all keys of a recipe and exit")
    train.add_argument("--dry-run", action="store_true", help="show what a run would do and exit")
    add_number(train, "--max-steps", None, "training steps (default: those of the recipe)")
    train.set_defaults(run=_deferred("train", "run_train"))


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", description="Inspect training data.")
    check = data.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "check",
        parents=[basic_options()],
        help="report every problem by line and field",
        description="Read a training file as `onegen train` does and report every problem by line "
        "and field. The exit status is 1 if there is one.",
    )
    check.add_argument("file", metavar="FILE", help="the training file (.jsonl or .jsonl.gz)")
    check.add_argument(
        "--passages", metavar="PATH", help="the corpus of its passage ids, or its index"
    )
    check.add_argument(
        "--format",
        choices=FORMATS,
        default="transcripts",
        help="format of FILE; published: train.jsonl with db.jsonl, as OneGen published them; "
        "entity_linking: texts with mentions (default: transcripts)",
    )
    check.add_argument(
        "--model",
        metavar="FOLDER",
        help="checkpoint whose tokens are counted (default: the default checkpoint)",
    )
    add_number(check, "--max-length", 2048, "longest transcript, in tokens")
    add_number(
        check,
        "--max-passage-tokens",
        None,
        "longest passage, in tokens (default: of the model)",
    )
    check.add_argument(
        "--on-truncation",
        choices=("error", "drop"),
        default="error",
        help="what an example that is too long is: a problem, or one to leave out (default: error)",
    )
    add_number(check, "--limit", 20, "problems to print")
    check.set_defaults(run=_deferred("train", "run_data_check"))


def _add_mine(commands: Any) -> None:
    from onegen_model.cli.mine import add_mine

    add_mine(commands, basic_options())


def _add_evaluate(commands: Any) -> None:
    from onegen_model.cli.evaluate import add_evaluate

    add_evaluate(commands, model_options())


def _add_synthesize(commands: Any) -> None:
    from onegen_model.cli.synthesize import add_synthesize

    add_synthesize(commands, model_options())


# Name -> its line in `onegen --help`, and the function that adds its parser.
_COMMANDS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "index": ("read documents into an index", _add_index),
    "embed": ("embed a large corpus, shard by shard", _add_embed),
    "ask": ("answer one question", _add_ask),
    "chat": ("answer question after question", _add_chat),
    "demo": ("answer the bundled questions", _add_demo),
    "entities": ("build an index of entities to link", _add_entities),
    "link": ("link the entities of texts", _add_link),
    "train": ("fine-tune a model", _add_train),
    "data": ("inspect training data", _add_data),
    "mine": ("find hard negatives for training data", _add_mine),
    "evaluate": ("measure answers and retrieval", _add_evaluate),
    "synthesize": ("write questions about your documents", _add_synthesize),
}
