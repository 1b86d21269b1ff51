"""The options of `onegen serve`; in groups of argparse `~` would not be replaced in paths."""

from argparse import ArgumentParser


def add_options(serve: ArgumentParser) -> None:
    """Add all options but those of every subcommand."""
    _add_models(serve)
    _add_access(serve)
    _add_limits(serve)
    _add_defaults(serve)
    _add_operation(serve)


def _add_models(serve: ArgumentParser) -> None:
    serve.add_argument("--index", metavar="DIR", help="index that is searched by default")
    serve.add_argument("--entities", metavar="DIR", help="entity index of /v1/link")
    serve.add_argument(
        "--model",
        metavar="CHECKPOINT",
        action="append",
        help="folder or hub id of a checkpoint, or NAME=CHECKPOINT; several: the name of the "
        "request chooses, and the first one embeds for --index (default: the default checkpoint)",
    )
    serve.add_argument(
        "--dtype", default="float32", help="float32, bfloat16 or float16 (default: float32)"
    )
    serve.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: cuda if there is one)"
    )
    serve.add_argument(
        "--storage",
        metavar="DIR",
        help="folder of uploaded files and vector stores (default: none)",
    )


def _add_access(serve: ArgumentParser) -> None:
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address; one that other machines reach needs a key (default: 127.0.0.1)",
    )
    _add_number(serve, "--port", 8000, "port; 0 takes a free one")
    serve.add_argument(
        "--api-key",
        metavar="KEY",
        action="append",
        help="a key that is let in; every user of the machine sees it in the list of processes, "
        "so rather set ONEGEN_API_KEY or use --api-keys",
    )
    serve.add_argument("--api-keys", metavar="FILE", help="JSON file of keys with their scopes")
    serve.add_argument(
        "--allow-anonymous", action="store_true", help="serve other machines without any key"
    )
    serve.add_argument(
        "--cors", metavar="ORIGIN", action="append", help="origin whose pages may call the server"
    )
    serve.add_argument(
        "--public-url",
        metavar="URL",
        default="",
        help="what addresses of citations begin with (default: the address that the caller used)",
    )


def _add_limits(serve: ArgumentParser) -> None:
    _add_number(serve, "--max-body", 64, "largest body of a request, in MiB")
    _add_number(
        serve, "--max-queue", 256, "requests that may wait; a further one is refused with 429"
    )
    _add_number(serve, "--workers", 1, "always 1: one process has one engine")


def _add_defaults(serve: ArgumentParser) -> None:
    _add_number(serve, "--top-k", 2, "passages per retrieval")
    _add_number(serve, "--max-retrievals", 6, "retrievals per answer")
    serve.add_argument(
        "--min-score",
        type=float,
        metavar="X",
        help="passages with a lower score are not read (default: none is too low)",
    )
    _add_number(serve, "--max-new-tokens", 256, "tokens per answer")


def _add_operation(serve: ArgumentParser) -> None:
    serve.add_argument(
        "--drain-seconds",
        type=float,
        default=30,
        metavar="S",
        help="how long open answers may go on after SIGTERM or Ctrl-C (default: 30)",
    )
    serve.add_argument(
        "--access-log",
        action="store_true",
        help="log method, path, status, seconds and the name of the key of each request",
    )
    serve.add_argument(
        "--otel",
        action="store_true",
        help="send OpenTelemetry spans where the variables OTEL_… say; needs onegen[telemetry]",
    )


def _add_number(serve: ArgumentParser, flag: str, default: int, text: str) -> None:
    serve.add_argument(
        flag, type=int, default=default, metavar="N", help=f"{text} (default: {default})"
    )
