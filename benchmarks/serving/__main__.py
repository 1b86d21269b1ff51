"""What `onegen serve` does under load, and whether its answers are those of the model.

    python -m benchmarks.serving load [--model tiny|CHECKPOINT] [--streams 64] [--minutes 1]
    python -m benchmarks.serving same [--model CHECKPOINT] [--questions 60] [--at-once 8]

`load` starts a server with an index of the invented world and sends it mixed requests: streams with
retrieval, some of them read slowly; clients that leave; bodies, keys and lengths that must be
refused; embeddings, rerank, and files that are uploaded, found and deleted. Memory, threads,
handles, slots and queues of the process are counted before and after. Then the queue is filled.
Without `--model` it is the default checkpoint; `tiny` is a random one. `same` asks the server the
demo's questions and compares its answers with those of `model.generate`.
"""

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.data import WORLD, open_index
from benchmarks.data import load as load_data
from benchmarks.serving import full_queue, load, same, tables
from benchmarks.serving.asking import calling
from benchmarks.serving.server import Server, log_of, serving
from benchmarks.serving.tiny import save_tiny_model
from onegen_model import OneGenModel, PassageIndex
from onegen_model.jsonl import JsonLines

TINY = "tiny"
_MAX_BODY = 1  # MiB


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        measured = (
            _load(options, Path(work)) if options.command == "load" else _same(options, Path(work))
        )
    name = "-".join(filter(None, ["serving", options.command, options.label]))
    print(json.dumps({**measured, "samples": "…"}, indent=2, ensure_ascii=False))
    if options.command == "load":
        print(f"\n{tables.speed(measured)}\n\n{tables.counts(measured)}")
    print(f"\nWritten to {report.save_without_model(name, options, measured)}")
    return 1 if measured.get("faults") else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    loading = commands.add_parser("load", help="mixed requests, and what they leave behind")
    loading.add_argument("--streams", type=int, default=64)
    loading.add_argument("--minutes", type=float, default=1)
    loading.add_argument("--warm-seconds", type=float, default=20, help="of load before counting")
    loading.add_argument("--alone", type=int, default=20, help="streams one by one")
    loading.add_argument("--max-queue", type=int, default=64, help="that of the server")
    loading.add_argument("--settle-seconds", type=float, default=7, help="before counting")
    comparing = commands.add_parser("same", help="answers over HTTP and of generate")
    comparing.add_argument("--questions", type=int, default=60)
    comparing.add_argument("--at-once", type=int, default=8)
    for one in (loading, comparing):
        one.add_argument("--model", help="a checkpoint (default: the one of the package), or tiny")
        one.add_argument("--label", default="", help="part of the name of the result")
    return parser


def _prepare(
    options: argparse.Namespace, work: Path
) -> tuple[OneGenModel, PassageIndex, list[str]]:
    """The model, the index of the invented world, and the arguments that serve them."""
    data = load_data(WORLD)
    arguments = []
    if options.model == TINY:
        texts = [one.text for one in data.paragraphs.values()]
        arguments = ["--model", str(save_tiny_model(work / TINY, texts))]
    elif options.model:
        arguments = ["--model", options.model]
    model = OneGenModel.from_pretrained(arguments[-1] if arguments else None)
    index = open_index(model, data, work) if options.model == TINY else open_index(model, data)
    index.save(work / "world.index")
    arguments += ["--index", str(work / "world.index"), "--max-body", str(_MAX_BODY)]
    return model, index, arguments


def _questions() -> list[str]:
    return [row["question"] for row in JsonLines(WORLD / "questions.jsonl")]


def _load(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    model, index, arguments = _prepare(options, work)
    facts = {"fingerprint": model.fingerprint, "passages": len(index)}
    del model, index  # The server has its own.
    arguments += ["--max-queue", str(options.max_queue)]
    before = [round(one, 1) for one in os.getloadavg()]
    with serving(arguments, work) as server:
        measured = asyncio.run(_measure(server, options))
    logged = log_of(work).read_text(encoding="utf-8").splitlines()
    return {
        **facts,
        "load_average_before": before,
        **measured,
        "logged": [load.cut(one) for one in logged[:40]],
    }


async def _measure(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    # A random model would end soon or never: it writes something else with every seed.
    chat = {"max_tokens": 64, "retrieval": {"mode": "always"}, "temperature": 1.0}
    chat = chat if options.model == TINY else {"max_tokens": 128}
    plan = load.Plan(
        options.streams,
        options.minutes * 60,
        options.warm_seconds,
        options.alone,
        options.settle_seconds,
        max(1.0, min(10.0, options.minutes * 6)),
    )
    async with calling(server.url, _questions(), chat, _MAX_BODY * 2**20) as caller:
        measured = await load.run(server, caller, plan)
        full = await full_queue.measure(server, caller, full_queue.Limits(options.max_queue))
    after = await asyncio.to_thread(server.settle, options.settle_seconds)
    measured["counts"]["after a full queue"] = load.rounded(asdict(after))
    return {**measured, "full_queue": full}


def _same(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    model, index, arguments = _prepare(options, work)
    questions = _questions()[: options.questions]
    answers = same.generated(model, index, questions)
    fingerprint = model.fingerprint
    with serving(arguments, work) as server:
        messages = asyncio.run(_ask(server, questions, options.at_once))
    return {"fingerprint": fingerprint, **same.compared(questions, answers, messages)}


async def _ask(server: Server, questions: Sequence[str], at_once: int) -> list[dict[str, Any]]:
    async with calling(server.url, questions, {}, _MAX_BODY * 2**20) as caller:
        return await same.served(caller, questions, at_once)


if __name__ == "__main__":
    raise SystemExit(main())
