"""How fast texts are linked.

    python -m benchmarks.linking speed [--model M] [--texts 6] [--threads 1 2] [--label NAME]
        [--mention-threshold 0.5] [--drafts-only]

Texts of about 300 tokens with ten names each are linked token by token, as constrained decoding
writes them, and in drafts, in turn; the mentions must be the same. How many there are decides how
fast drafts are: a checkpoint that marks many more than the names marks fewer with a higher
threshold. Then a list of texts is linked as one batch and one by one, and a document of 100 KB in a
process of its own, whose peak of memory is compared with that before the document.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar

import torch

from benchmarks import report
from benchmarks.linking_texts import entities, make_text, mean_tokens
from onegen_model import LinkedText, OneGenModel, PassageIndex
from onegen_model.linking.reading import WindowReader
from onegen_model.linking.tagging import WritingLimits
from onegen_model.linking.writers import Counts, DetectingWriter
from onegen_model.transcript.linking_renderer import LinkingRenderer

T = TypeVar("T")
# Drafts as for a text that is linked alone; none: one token after the other.
DRAFTS, NONE = WritingLimits(), WritingLimits(draft=0)
DEFAULT = "entity-linking"


def write(model: OneGenModel, text: str, limits: WritingLimits) -> tuple[list[Any], Counts]:
    """The mentions of one text as ranges of tokens, and what was counted."""
    renderer = LinkingRenderer(model.renderer)
    writer = DetectingWriter(renderer, renderer.tokens(text), renderer.prompt_ids(text), limits)
    steps = WindowReader(model.network).read([writer])
    return [one.mention for step in steps for one in step], writer.counts


def timed(job: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return job(), time.perf_counter() - start


def measure_drafts(
    model: OneGenModel, texts: Sequence[str], threshold: float = DRAFTS.threshold
) -> dict[str, Any]:
    """Sums over texts; the two ways take turns at being the first."""
    limits = {"token by token": NONE, "drafts": DRAFTS}
    ways = {name: replace(one, threshold=threshold) for name, one in limits.items()}
    seconds = dict.fromkeys(ways, 0.0)
    counts = {name: Counts() for name in ways}
    mentions = same = 0
    write(model, texts[0], DRAFTS)  # warms up
    for number, text in enumerate(texts):
        found = {}
        for name in list(ways)[:: 1 if number % 2 else -1]:
            (found[name], counted), spent = timed(partial(write, model, text, ways[name]))
            seconds[name] += spent
            for field, value in asdict(counted).items():
                setattr(counts[name], field, getattr(counts[name], field) + value)
        mentions += len(found["drafts"])
        same += found["drafts"] == found["token by token"]
    slow, fast = counts["token by token"], counts["drafts"]
    return {
        "tokens of a text": mean_tokens(model, texts),
        "mentions of a text": mentions / len(texts),
        "mention threshold": threshold,
        "texts with the same mentions": f"{same} of {len(texts)}",
        "seconds of a text": {name: spent / len(texts) for name, spent in seconds.items()},
        "times as fast": seconds["token by token"] / seconds["drafts"],
        "times fewer passes": slow.steps / fast.steps,
        "times as many positions": fast.forwarded / slow.forwarded,
        "counted": {name: asdict(counted) for name, counted in counts.items()},
    }


def measure_batch(model: OneGenModel, index: PassageIndex, texts: Sequence[str]) -> dict[str, Any]:
    """One call with all texts, and one for each."""
    alone, slow = timed(lambda: [model.link(text, entities=index) for text in texts])
    together, fast = timed(lambda: model.link(list(texts), entities=index))

    def places(found: Sequence[LinkedText]) -> list[list[tuple[int, int]]]:
        return [[(one.start, one.end) for one in linked.mentions] for linked in found]

    same = sum(map(list.__eq__, places(alone), places(together)))
    tokens = mean_tokens(model, texts) * len(texts)
    return {
        "texts": len(texts),
        "texts with the same mentions": f"{same} of {len(texts)}",
        "seconds one by one": slow,
        "seconds in a batch": fast,
        "times as fast": slow / fast,
        "tokens per second in a batch": tokens / fast,
    }


def measure_document(model: OneGenModel, index: PassageIndex, size: int) -> dict[str, Any]:
    """A document of `size` characters, and the memory in MiB that it took beyond the model's."""
    text, number = "", 0
    while len(text) < size:
        text += f"{make_text(number)}\n\n"
        number += 1
    text = text[:size]
    model.link(make_text(0), entities=index)
    before = _peak()
    linked, spent = timed(lambda: model.link(text, entities=index))
    assert linked.text == text
    return {
        "characters": size,
        "windows": linked.usage.windows,
        "mentions": len(linked.mentions),
        "seconds": spent,
        "peak before, MiB": before,
        "peak more, MiB": _peak() - before,
        "counted": asdict(linked.usage),
    }


def _peak() -> float:
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines["VmHWM"].split()[0]) / 1024


def _document_apart(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.linking", "speed", "--once"]
    command += ["--model", options.model, "--document", str(options.document)]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def speed(options: argparse.Namespace, model: OneGenModel) -> dict[str, Any]:
    """All measurements, by the number of threads."""
    index = PassageIndex.build(model, entities())
    texts = [make_text(number) for number in range(options.texts)]
    measured: dict[str, Any] = {}
    for threads in options.threads:
        torch.set_num_threads(threads)
        row = {"drafts": measure_drafts(model, texts, options.mention_threshold)}
        if not options.drafts_only:
            row["batch"] = measure_batch(model, index, texts)
        if options.document and not options.drafts_only:
            row["document"] = _document_apart(options, threads)
        print(json.dumps({f"threads: {threads}": row}, indent=2))
        measured[f"threads: {threads}"] = row
    return measured


def main(argv: Sequence[str] | None = None, model: OneGenModel | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.linking", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("speed", help="token by token against drafts, batches, a document")
    one.add_argument("--model", default=DEFAULT)
    one.add_argument("--texts", type=int, default=6)
    one.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    one.add_argument("--document", type=int, default=100_000, help="characters; 0: none")
    one.add_argument(
        "--mention-threshold", type=float, default=DRAFTS.threshold, help="of the first part"
    )
    one.add_argument("--drafts-only", action="store_true", help="the first part alone")
    one.add_argument("--label", default="", help="part of the name of the result")
    one.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    model = model or OneGenModel.from_pretrained(options.model)
    if options.once:
        torch.set_num_threads(options.threads[0])
        index = PassageIndex.build(model, entities())
        print(json.dumps(measure_document(model, index, options.document)))
        return 0
    measured = speed(options, model)
    name = "-".join(filter(None, ["linking-speed", options.label]))
    print(f"\nWritten to {report.save(name, model, options, measured)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
