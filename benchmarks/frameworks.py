"""The usual RAG chain of a framework beside ours: the same questions, passages and kind of store.

Both sides live in a process of their own, so that their memory is told apart, and are asked each
question in turn. The classic side is what the framework's users put together: the same base model
behind the framework's own class for it, MiniLM for the embeddings, a retriever and a prompt.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Protocol

from tqdm import tqdm

from benchmarks import report
from benchmarks.data import Question, add_options, load, own_candidates, pieces
from benchmarks.recording import counting
from onegen_model import OneGenModel, Passage
from onegen_model.checkpoint.default_base import prepare_base
from onegen_model.evaluation.ask.harness import peak_memory
from onegen_model.evaluation.score.answer_metrics import exact_match, f1, substring_match

CLASSIC, OURS = "classic", "ours"
FRAMEWORKS = ("langchain", "llama-index")
WARM_UP = "Who wrote the novel that the film is based on?"
NAMES = {
    "langchain": {
        CLASSIC: "`HuggingFacePipeline` + MiniLM + retriever + prompt",
        OURS: "`OneGenChatModel(vectorstore=…)`",
    },
    "llama-index": {
        CLASSIC: "`HuggingFaceLLM` + MiniLM + `RetrieverQueryEngine`",
        OURS: "`OneGenQueryEngine`",
    },
}
NOTES = """
- Classic: SmolLM2-135M-Instruct, one search with the question, `top_k` passages in the prompt, no
  fine-tuning. Ours: the default checkpoint over the same base; it writes sub-questions, and has
  `top_k` passages for each. MiniLM runs in a small `Embeddings` class over transformers, because
  the frameworks' own class needs sentence-transformers, which is not installed.
- Both stream, greedily. "First text" is the first that is streamed (ours: a sub-question, where the
  framework shows it), "answer begins" the first of the answer. Positions are counted by a hook on
  the decoder, the encoder's apart; embedding the passages is in no column but its own.
- Ours keeps what it has read in its cache: the system prompt is not read again for each question.
- The base model writes sentences, whatever it is asked for: that costs it EM and F1. "Holds gold"
  asks only whether a gold answer stands somewhere in what was written.
- Peak memory is that of the whole process, loading and indexing included.
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process needs to build its side; `model` is a checkpoint, `base` a plain model."""

    framework: str
    side: str
    passages: tuple[Passage, ...]
    top_k: int
    max_new_tokens: int
    model: str | None = None
    base: str | None = None


class Pipeline(Protocol):
    """`answer` yields texts as they come, and whether they are of the answer."""

    network: Any
    indexing_seconds: float

    def answer(self, question: str) -> Iterator[tuple[str, bool]]: ...

    def encoder_positions(self) -> int:
        """Of a second model, so far."""


def embedded_text(passage: Passage) -> str:
    """What both sides embed and read of a passage."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


@dataclass(frozen=True, slots=True)
class Asked:
    """One question; seconds since it was asked."""

    text: str
    positions: int
    encoder_positions: int
    first_text: float
    answer_begins: float
    seconds: float


@dataclass(slots=True)
class Tally:
    """A side. `memory` in MiB."""

    asked: list[Asked] = field(default_factory=list)
    indexing_seconds: float = 0.0
    memory: float = 0.0


def build(setup: Setup) -> Pipeline:
    """Loads models and fills the store."""
    if setup.framework == "langchain":
        from benchmarks import frameworks_langchain as chosen
    else:
        from benchmarks import frameworks_llama_index as chosen  # type: ignore[no-redef]
    return chosen.Classic(setup) if setup.side == CLASSIC else chosen.Ours(setup)


def ask(pipeline: Pipeline, question: str) -> Asked:
    """Streams an answer and measures it."""
    before, stamps, texts = pipeline.encoder_positions(), list[float](), list[str]()
    first = 0.0
    with counting(pipeline.network) as counter:
        start = time.perf_counter()
        for text, is_answer in pipeline.answer(question):
            first = first or time.perf_counter() - start
            if is_answer:
                stamps.append(time.perf_counter() - start)
                texts.append(text)
        seconds = time.perf_counter() - start
    return Asked(
        "".join(texts).strip(),
        counter.positions,
        pipeline.encoder_positions() - before,
        first or seconds,
        stamps[0] if stamps else seconds,
        seconds,
    )


_here: dict[str, Pipeline] = {}


def _begin(setup: Setup) -> float:
    """In a process of its own; seconds to index."""
    import torch

    torch.set_num_threads(1)
    _here["pipeline"] = build(setup)
    ask(_here["pipeline"], WARM_UP)
    return _here["pipeline"].indexing_seconds


def _ask(question: str) -> Asked:
    return ask(_here["pipeline"], question)


def measure(setups: Sequence[Setup], questions: Sequence[str]) -> dict[str, Tally]:
    """Each side in its own process; only one of them works at a time."""
    spawning = multiprocessing.get_context("spawn")
    tallies = {setup.side: Tally() for setup in setups}
    with ExitStack() as stack:
        workers: dict[str, Executor] = {}
        for setup in setups:
            pool = ProcessPoolExecutor(1, mp_context=spawning)
            workers[setup.side] = stack.enter_context(pool)
            tallies[setup.side].indexing_seconds = pool.submit(_begin, setup).result()
        for at, question in enumerate(tqdm(questions, desc="questions")):
            for side in list(workers)[:: 1 if at % 2 else -1]:
                tallies[side].asked.append(workers[side].submit(_ask, question).result())
        for side, worker in workers.items():
            tallies[side].memory = worker.submit(peak_memory).result()
    return tallies


def score(tally: Tally, questions: Sequence[Question]) -> dict[str, list[float]]:
    """EM, F1, and whether a gold answer stands in it: of each question, by its best gold answer."""
    metrics = {"exact_match": exact_match, "f1": f1, "holds_gold": substring_match}
    pairs = list(zip(tally.asked, questions, strict=True))
    return {
        name: [max(float(metric(one.text, gold)) for gold in asked.answers) for one, asked in pairs]
        for name, metric in metrics.items()
    }


def table(framework: str, tallies: dict[str, Tally], questions: Sequence[Question]) -> str:
    heads = (
        framework,
        "LLM positions",
        "encoder positions",
        "first text s",
        "answer begins s",
        "total s",
        "peak MiB",
        "EM",
        "F1",
        "holds gold",
        "indexing s",
    )
    rows = []
    for side, tally in tallies.items():
        means = [
            fmean(getattr(one, name) for one in tally.asked)
            for name in ("positions", "encoder_positions", "first_text", "answer_begins", "seconds")
        ]
        cells = [f"{mean:.{digits}f}" for mean, digits in zip(means, (0, 0, 2, 2, 2), strict=True)]
        shares = [f"{fmean(values):.2f}" for values in score(tally, questions).values()]
        name = NAMES[framework][side]
        rows.append([name, *cells, f"{tally.memory:.0f}", *shares, f"{tally.indexing_seconds:.1f}"])
    return report.markdown(heads, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frameworks", description=__doc__)
    add_options(parser, limit=10)
    parser.add_argument("--framework", choices=FRAMEWORKS, required=True)
    parser.add_argument("--top-k", type=int, default=2, help="passages per search (default: 2)")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    options = parser.parse_args(argv)
    model = OneGenModel.from_pretrained(options.model)
    data = own_candidates(load(options.data, limit=options.limit))
    passages = tuple(pieces(model, data.paragraphs.values()))
    common = (passages, options.top_k, options.max_new_tokens, options.model, str(prepare_base()))
    setups = [Setup(options.framework, side, *common) for side in (CLASSIC, OURS)]
    tallies = measure(setups, [one.text for one in data.questions])
    print(f"\n### {options.framework}: {len(data.questions)} questions, {len(passages)} passages\n")
    print(table(options.framework, tallies, data.questions))
    print(NOTES, end="")
    measured = {
        "questions": [one.id for one in data.questions],
        "passages": len(passages),
        "load": os.getloadavg(),
        "sides": {side: _plain(tally, data.questions) for side, tally in tallies.items()},
    }
    path = report.save(f"frameworks-{options.framework}", model, options, measured)
    print(f"\nWritten to {path}")
    return 0


def _plain(tally: Tally, questions: Sequence[Question]) -> dict[str, Any]:
    plain = asdict(tally)
    for asked in plain["asked"]:
        del asked["text"]  # it may quote passages, which have licences of their own
    return {**plain, **score(tally, questions)}


if __name__ == "__main__":
    raise SystemExit(main())
