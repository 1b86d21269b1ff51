"""The usual RAG chain of a framework beside ours, on the same questions, passages and store.

Each side runs in its own process, so that its memory can be measured, and both are asked each
question in turn. The classic side is what users of the framework usually build: the same base model
behind the framework's own class for it, MiniLM for the embeddings, a retriever and a prompt.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from tqdm import tqdm

from benchmarks import report
from benchmarks.data import GoldQuestion, add_options, load, own_candidates, pieces
from benchmarks.frameworks_setup import CLASSIC, OURS, Pipeline, Setup
from benchmarks.recording import counting
from onegen_model import OneGenModel
from onegen_model.checkpoint.default_base import prepare_base
from onegen_model.evaluation.ask.harness import peak_memory
from onegen_model.evaluation.score.answer_metrics import exact_match, f1, substring_match

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
  `top_k` passages for each. MiniLM runs in a small `Embeddings` class over sentence-transformers,
  which counts its positions.
- Both stream, greedily. "First text" is the first that is streamed (ours: a sub-question, where the
  framework shows it), "answer begins" the first of the answer. Positions are counted by a hook on
  the decoder, the encoder's apart; embedding the passages is in no column but its own.
- Ours keeps what it has read in its cache, so it does not read the system prompt again for each
  question.
- The base model writes sentences, whatever it is asked for, which lowers its EM and F1. "Holds
  gold" is whether the answer contains a gold answer.
- Peak memory is that of the whole process, loading and indexing included.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """The measurements of one question; seconds since it was asked."""

    text: str
    positions: int
    encoder_positions: int
    first_text: float
    answer_begins: float
    seconds: float


@dataclass(slots=True)
class SideResult:
    """The measurements of one side; `memory` in MiB."""

    asked: list[Asked] = field(default_factory=list)
    indexing_seconds: float = 0.0
    memory: float = 0.0


def build(setup: Setup) -> Pipeline:
    """A pipeline with its models loaded and its store filled."""
    if setup.framework == "langchain":
        from benchmarks import frameworks_langchain as chosen
    else:
        from benchmarks import frameworks_llama_index as chosen  # type: ignore[no-redef]
    return chosen.PIPELINES[setup.side](setup)


def ask(pipeline: Pipeline, question: str) -> Asked:
    """Measure the streaming of one answer."""
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
    """Build the pipeline of this process; returns the seconds of indexing."""
    import torch

    torch.set_num_threads(1)
    _here["pipeline"] = build(setup)
    ask(_here["pipeline"], WARM_UP)
    return _here["pipeline"].indexing_seconds


def _ask(question: str) -> Asked:
    return ask(_here["pipeline"], question)


def measure(setups: Sequence[Setup], questions: Sequence[str]) -> dict[str, SideResult]:
    """Results of each side, in its own process; only one side works at a time."""
    spawning = multiprocessing.get_context("spawn")
    results = {setup.side: SideResult() for setup in setups}
    with ExitStack() as stack:
        workers: dict[str, Executor] = {}
        for setup in setups:
            pool = ProcessPoolExecutor(1, mp_context=spawning)
            workers[setup.side] = stack.enter_context(pool)
            results[setup.side].indexing_seconds = pool.submit(_begin, setup).result()
        for at, question in enumerate(tqdm(questions, desc="questions")):
            for side in list(workers)[:: 1 if at % 2 else -1]:
                results[side].asked.append(workers[side].submit(_ask, question).result())
        for side, worker in workers.items():
            results[side].memory = worker.submit(peak_memory).result()
    return results


def score(result: SideResult, questions: Sequence[GoldQuestion]) -> dict[str, list[float]]:
    """EM, F1 and substring match of each question, against the best of its gold answers."""
    metrics = {"exact_match": exact_match, "f1": f1, "holds_gold": substring_match}
    pairs = list(zip(result.asked, questions, strict=True))
    return {
        name: [max(float(metric(one.text, gold)) for gold in asked.answers) for one, asked in pairs]
        for name, metric in metrics.items()
    }


def table(framework: str, results: dict[str, SideResult], questions: Sequence[GoldQuestion]) -> str:
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
    for side, result in results.items():
        means = [
            fmean(getattr(one, name) for one in result.asked)
            for name in ("positions", "encoder_positions", "first_text", "answer_begins", "seconds")
        ]
        cells = [f"{mean:.{digits}f}" for mean, digits in zip(means, (0, 0, 2, 2, 2), strict=True)]
        shares = [f"{fmean(values):.2f}" for values in score(result, questions).values()]
        name = NAMES[framework][side]
        rows.append(
            [name, *cells, f"{result.memory:.0f}", *shares, f"{result.indexing_seconds:.1f}"]
        )
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
    results = measure(setups, [one.text for one in data.questions])
    print(f"\n### {options.framework}: {len(data.questions)} questions, {len(passages)} passages\n")
    print(table(options.framework, results, data.questions))
    print(NOTES, end="")
    measured = {
        "questions": [one.id for one in data.questions],
        "passages": len(passages),
        "load": os.getloadavg(),
        "sides": {side: _plain(result, data.questions) for side, result in results.items()},
    }
    path = report.save(f"frameworks-{options.framework}", model, options, measured)
    print(f"\nWritten to {path}")
    return 0


def _plain(result: SideResult, questions: Sequence[GoldQuestion]) -> dict[str, Any]:
    plain = asdict(result)
    for asked in plain["asked"]:
        del asked["text"]  # it may quote passages, which have licences of their own
    return {**plain, **score(result, questions)}


if __name__ == "__main__":
    raise SystemExit(main())
