"""`onegen serve`: the entry point of the group `onegen.commands`; heavy imports come later."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onegen_model.errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from onegen_integrations.server.serving import Serving
    from onegen_integrations.server.settings import ServerSettings
    from onegen_model import OneGenModel

    LoadModel = Callable[[str | None, str], OneGenModel]

SUMMARY = "serve chat, responses and embeddings over HTTP"
_MAX_BODY = 64


def add(commands: Any, basic: ArgumentParser) -> None:
    """Add the parser of `onegen serve`; `basic` has the options of every subcommand."""
    serve = commands.add_parser(
        "serve",
        parents=[basic],
        description="Serve chat, responses, embeddings and ranking over HTTP, from one process and "
        "one set of weights, and a page to try them at http://HOST:PORT/.",
    )
    serve.add_argument("--index", metavar="DIR", help="index that is searched by default")
    serve.add_argument("--entities", metavar="DIR", help="entity index of /v1/link")
    serve.add_argument(
        "--model",
        metavar="CHECKPOINT",
        action="append",
        help="folder or hub id of a checkpoint; several: the name of the request chooses "
        "(default: the default checkpoint)",
    )
    serve.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    serve.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps")
    serve.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, metavar="N", help="port (default: 8000)")
    serve.add_argument("--storage", metavar="DIR", help="folder of uploaded files (default: none)")
    serve.add_argument("--api-key", metavar="KEY", action="append", help="a key that is let in")
    serve.add_argument("--api-keys", metavar="FILE", help="JSON file of keys with their scopes")
    serve.add_argument(
        "--cors", metavar="ORIGIN", action="append", help="origin whose pages may call the server"
    )
    serve.add_argument(
        "--max-body",
        type=int,
        default=_MAX_BODY,
        metavar="N",
        help=f"largest body of a request, in MiB (default: {_MAX_BODY})",
    )
    serve.add_argument(
        "--max-queue",
        type=int,
        default=256,
        metavar="N",
        help="requests that may wait; a further one is refused with 429 (default: 256)",
    )
    serve.add_argument(
        "--workers", type=int, default=1, metavar="N", help="always 1; see `docs/guides/serving.md`"
    )
    serve.set_defaults(run=run)


def run(options: Namespace, load_model: "LoadModel") -> int:
    """Serve until a signal; raises OneGenError for options that cannot be used."""
    if options.workers != 1:
        raise InvalidInputError(
            f"workers={options.workers}; expected 1, because a process has one engine with one "
            "cache; start several servers on different ports behind a load balancer"
        )
    try:
        import uvicorn

        from onegen_integrations.server.app import create_app
    except ImportError as error:
        raise MissingExtraError(
            f"The server needs {error.name}; expected it installed; run "
            'pip install "onegen[server]"'
        ) from error
    settings = read_settings(options)
    serving = open_serving(options, settings, load_model)
    serving.open()
    app = create_app(serving)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
    return 0


def read_settings(options: Namespace) -> "ServerSettings":
    """Raises InvalidInputError."""
    from onegen_integrations.server.keys import ApiKey, read_keys
    from onegen_integrations.server.settings import ServerSettings

    keys = tuple(ApiKey(secret) for secret in options.api_key or ())
    return ServerSettings(
        keys=(*keys, *(read_keys(options.api_keys) if options.api_keys else ())),
        cors=tuple(options.cors or ()),
        max_body=options.max_body * 2**20,
        max_queue=options.max_queue,
        storage=Path(options.storage) if options.storage else None,
    )


def open_serving(
    options: Namespace, settings: "ServerSettings", load_model: "LoadModel"
) -> "Serving":
    """Load models and indexes; raises OneGenError for one that cannot be used."""
    from onegen_integrations.server.serving import Serving
    from onegen_model import PassageIndex

    models = {_name_of(path): load_model(path, options.dtype) for path in options.model or (None,)}
    first = next(iter(models.values()))
    index = PassageIndex.load(first, options.index) if options.index else None
    linking = next((one for one in models.values() if one.can_link), None)
    if options.entities and linking is None:
        raise InvalidInputError(
            "No model that is served links entities; expected one for --entities; add "
            "`--model entity-linking`"
        )
    entities = (
        PassageIndex.load(linking, options.entities) if linking and options.entities else None
    )
    return Serving(models, index, entities, settings)


def _name_of(path: str | None) -> str:
    """The name that requests use: the last part of a path, or the hub id."""
    if path is None:
        return "onegen"
    return Path(path).resolve().name if Path(path).is_dir() else path
