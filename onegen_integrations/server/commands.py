"""`onegen serve`: the entry point of the group `onegen.commands`; heavy imports come later."""

import json
import logging
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onegen_integrations.server.command_options import add_options
from onegen_model.errors import InvalidInputError, MissingExtraError, OneGenError

if TYPE_CHECKING:
    from onegen_integrations.server.listening import Listener
    from onegen_integrations.server.serving import Serving
    from onegen_integrations.server.settings import ServerSettings
    from onegen_model import OneGenModel, PassageIndex

    LoadModel = Callable[[str | None, str], OneGenModel]

SUMMARY = "serve chat, responses and embeddings over HTTP"
_KEY = "ONEGEN_API_KEY"


def add(commands: Any, basic: ArgumentParser) -> None:
    """Add the parser of `onegen serve`; `basic` has the options of every subcommand."""
    serve = commands.add_parser(
        "serve",
        parents=[basic],
        description="Serve chat, responses, embeddings and ranking over HTTP, from one process and "
        "one set of weights, and a page to try them at http://HOST:PORT/. The first Ctrl-C lets "
        "open answers end, the second one does not.",
    )
    add_options(serve)
    serve.set_defaults(run=run)


def run(options: Namespace, load_model: "LoadModel") -> int:
    """Serve until a signal; raises OneGenError for options that cannot be used."""
    require_usable(options)
    try:
        import prometheus_client  # noqa: F401 (missing ones are reported before anything is loaded)

        from onegen_integrations.server import running
        from onegen_integrations.server.listening import listen
        from onegen_integrations.server.observing.tracing import require_telemetry
    except ImportError as error:
        raise MissingExtraError(
            f"The server needs {error.name}; expected it installed; run "
            'pip install "onegen[server]"'
        ) from error
    if options.otel:
        require_telemetry()
    settings = read_settings(options)
    listener = listen(options.host, options.port)
    try:
        require_keys(options, settings, listener)
        settings = with_hosts(options, settings, listener)
        if settings.access_log:
            logging.getLogger("onegen_integrations.server.access").setLevel(logging.INFO)
        say(options, "listening", f"Listening at {listener.url}; loading", url=listener.url)
        job = running.Run(
            lambda: open_serving(options, settings, load_model),
            lambda serving: announce(options, serving, listener.url),
            options.drain_seconds,
        )
        return running.run(job, listener)
    finally:
        listener.socket.close()


def require_usable(options: Namespace) -> None:
    """Raise InvalidInputError for options that are wrong whatever they name."""
    if options.workers != 1:
        raise InvalidInputError(
            f"workers={options.workers}; expected 1, because a process has one engine with one "
            "cache; start several servers on different ports behind a load balancer"
        )
    for name in ("max_body", "max_queue"):
        if (value := getattr(options, name)) < 1:
            flag = name.replace("_", "-")
            raise InvalidInputError(f"{name}={value}; expected at least 1; change --{flag}")
    if not 0 <= options.drain_seconds <= 86400:
        raise InvalidInputError(
            f"drain_seconds={options.drain_seconds:g}; expected 0 to 86400; change --drain-seconds"
        )
    named_models(options.model)
    for name in ("index", "entities"):
        path = getattr(options, name)
        if path is not None and not Path(path).is_dir():
            raise InvalidInputError(
                f"{path} is no folder; expected an index, which `onegen index` or "
                f"`onegen entities` writes; change --{name}"
            )


def require_keys(options: Namespace, settings: "ServerSettings", listener: "Listener") -> None:
    """Raise InvalidInputError where other machines could ask without a key."""
    if settings.keys or listener.is_local or options.allow_anonymous:
        return
    raise InvalidInputError(
        f"{listener.url} is open to other machines and no key is set; expected one; set {_KEY}, "
        "add --api-keys FILE, or --allow-anonymous to let everybody in"
    )


def with_hosts(
    options: Namespace, settings: "ServerSettings", listener: "Listener"
) -> "ServerSettings":
    """Without a key a local server answers to local names alone, and to that of `--public-url`."""
    if settings.keys or not listener.is_local or options.allow_anonymous:
        return settings
    from onegen_integrations.server.guarding import host_name

    named = host_name(options.public_url or "")
    hosts = dict.fromkeys(filter(None, ("localhost", "127.0.0.1", "::1", options.host, named)))
    return replace(settings, hosts=tuple(hosts))


def read_settings(options: Namespace) -> "ServerSettings":
    """Raises InvalidInputError."""
    from onegen_integrations.server.keys import ApiKey, read_keys
    from onegen_integrations.server.settings import ServerSettings
    from onegen_model import RetrievalParams, SamplingParams

    secrets = [*(options.api_key or ()), *filter(None, [os.environ.get(_KEY)])]
    keys = tuple(ApiKey(secret) for secret in dict.fromkeys(secrets))
    return ServerSettings(
        keys=(*keys, *(read_keys(options.api_keys) if options.api_keys else ())),
        cors=tuple(options.cors or ()),
        max_body=options.max_body * 2**20,
        max_queue=options.max_queue,
        access_log=options.access_log,
        tracing=options.otel,
        storage=Path(options.storage) if options.storage else None,
        sampling=SamplingParams(max_new_tokens=options.max_new_tokens),
        retrieval=RetrievalParams(
            top_k=options.top_k,
            max_retrievals=options.max_retrievals,
            min_score=options.min_score,
        ),
        public_url=options.public_url,
    )


def open_serving(
    options: Namespace, settings: "ServerSettings", load_model: "LoadModel"
) -> "Serving":
    """Load models and indexes; raises OneGenError for one that cannot be used."""
    from onegen_integrations.server.serving import Serving

    named = named_models(options.model)
    models = {name: load_model(path, options.dtype) for name, path in named.items()}
    first = next(iter(models.values()))
    linking = next((one for one in models.values() if one.can_link), None)
    if options.entities and linking is None:
        raise InvalidInputError(
            "No model that is served links entities; expected one for --entities; add "
            "`--model entity-linking`"
        )
    index = _open_index(first, options.index)
    entities = _open_index(linking, options.entities) if linking else None
    serving = Serving(models, index, entities, settings)
    for model in models.values():
        _make_engine(model)
    return serving


def _open_index(model: "OneGenModel", path: str | None) -> "PassageIndex | None":
    from onegen_model import PassageIndex

    return PassageIndex.load(model, path) if path else None


def _make_engine(model: "OneGenModel") -> None:
    """Now, instead of in the first request; one that only links entities has none."""
    try:
        _ = model.driver
    except OneGenError:
        if not model.can_link:
            raise


def named_models(given: list[str] | None) -> dict[str, str | None]:
    """The paths and hub ids of `--model` by the names that requests use."""
    if not given:
        return {"onegen": None}
    named: dict[str, str | None] = {}
    for one in given:
        name, path = _name_of(one)
        if name in named:
            raise InvalidInputError(
                f"Two models are named {name!r}; expected different names; write "
                f"`--model NAME={path}`"
            )
        named[name] = path
    return named


def _name_of(given: str) -> tuple[str, str]:
    """Name and path of `NAME=PATH`; alone, a path is named by its last part, a hub id by itself."""
    name, is_named, path = given.partition("=")
    if Path(given).is_dir():
        return Path(given).resolve().name, given
    if not is_named:
        return given, given
    if not name or not path:
        raise InvalidInputError(
            f"model {given!r}; expected NAME=PATH, a path or a hub id; change --model"
        )
    return name, os.path.expanduser(path)


def announce(options: Namespace, serving: "Serving", url: str) -> None:
    """Say that requests are answered."""
    from onegen_integrations.server.observing.routes import readiness

    ready = readiness(serving)
    say(options, "serving", f"Serving at {url}: {ready['summary']}", url=url, **ready)


def say(options: Namespace, event: str, text: str, **about: Any) -> None:
    """A line for a reader, or with --json for a program; a closed output is no reason to stop."""
    line = json.dumps({"event": event, **about}) if options.json else text
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        logging.getLogger(__name__).debug("Nobody reads the output")
