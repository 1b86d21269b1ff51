"""Costs of one question: positions and seconds of several ways to call the same network.

Each way replays our own greedy transcript over the same passages, so that only the call pattern
differs. Only the row "as shipped" includes the search in the index.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import StoppingCriteriaList

from benchmarks import report, two_models
from benchmarks.data import add_options, load, open_index, own_candidates
from benchmarks.recording import counting
from benchmarks.two_models import MiniLM, Reader, Transcript, record
from onegen_model import OneGenModel, RetrievalParams, Retriever, SamplingParams, Token
from onegen_model.inputs import Prompt

BATCHES, SHAPE = (1, 8, 16), (128, 64, 5)  # Prompt, new tokens, repeats.
SHIPPED, ONE_PASS = "one pass, as shipped (`model.generate`)", "one pass, replayed"
KEPT = "original's pattern: transcript re-encoded for each query, cache kept"
ANEW = "original's pattern: re-encoded for each query, re-prefilled to go on"
EVERY_HOP = "MiniLM + same LLM: passages in front of the prompt, every hop"
ONE_SHOT = "MiniLM + same LLM: one search, then the answer alone"
SAME_CONTEXT = (ONE_PASS, KEPT, ANEW)  # What the network sees is what it saw when it wrote.
WARM_UP = "Who wrote the novel that the film is based on?"
NOTES = """
- A hook on the decoder counts positions at batch 1. The sub-questions of our model are part of its
  costs. "As shipped" reuses what other requests left in the cache (the system prompt), so these
  positions were not forwarded. Ratios are to one pass, replayed.
- Each written token is one forward in every row, so seconds differ less than positions.
- The original's pattern is charged a clean re-encoding of the transcript. Its released code reads
  the transcript on top of the cache, which costs more attention, and embeds its candidate passages
  again at every hop, which is not charged. With the transformers release that it names, the cache
  is kept for the text that follows.
- One search, then the answer: the model writes no sub-question and reads only as many passages as
  our first hop inserted. That makes it cheaper than one pass where it is; it is an easier task.
- MiniLM on a short query costs almost nothing; one pass saves reading the context again.
"""


@dataclass(slots=True)
class PatternCost:
    """Sums over questions; `seconds` include the encoder's.

    `agreed` of `tokens` were predicted as they had been written.
    """

    positions: int = 0
    seconds: float = 0.0
    encoder_positions: int = 0
    encoder_seconds: float = 0.0
    agreed: int = 0
    tokens: int = 0


class Meter:
    """Runs call patterns and sums the costs of each."""

    def __init__(self, model: OneGenModel, encoder: MiniLM, max_retrievals: int) -> None:
        self._model, self._encoder, self._max_retrievals = model, encoder, max_retrievals
        assert model.driver  # A new engine reads a few ids, which must not be counted.
        self.patterns: dict[str, Callable[[Reader, Transcript], None]] = {
            ONE_PASS: two_models.one_pass,
            KEPT: lambda *given: two_models.re_encode(*given, keep_cache=True),
            ANEW: lambda *given: two_models.re_encode(*given, keep_cache=False),
            EVERY_HOP: lambda *given: two_models.every_hop(*given, encoder),
            ONE_SHOT: lambda *given: two_models.one_shot(*given, encoder),
        }
        self.reset()

    def reset(self) -> None:
        self.costs = {name: PatternCost() for name in (SHIPPED, *self.patterns)}

    def ask(self, question: str, retriever: Retriever, retrieval: RetrievalParams) -> Transcript:
        """Run our own model as users do; raises AssertionError if it read a position twice."""
        with counting(self._model.network) as counter:
            transcript, answer, seconds = record(self._model, question, retriever, retrieval)
        forwarded = counter.positions
        assert forwarded == answer.usage.forwarded, "usage and hook differ"
        assert forwarded + answer.usage.reused == len(answer.ids) - 1, "not one pass"
        cost = self.costs[SHIPPED]
        cost.seconds += seconds
        cost.positions += forwarded
        return transcript

    @torch.inference_mode()
    def replay(self, name: str, transcript: Transcript) -> Reader:
        reader = Reader(self._model, self._max_retrievals)
        cost, encoder = self.costs[name], self._encoder
        asked, spent = encoder.positions, encoder.seconds
        with counting(self._model.network) as counter:
            start = time.perf_counter()
            self.patterns[name](reader, transcript)
            cost.seconds += time.perf_counter() - start
        cost.positions += counter.positions
        cost.encoder_positions += encoder.positions - asked
        cost.encoder_seconds += encoder.seconds - spent
        if name in SAME_CONTEXT:
            written = [i for hop in transcript.hops for i in hop.written] + transcript.tail
            cost.agreed += sum(map(int.__eq__, written, reader.predicted))
            cost.tokens += len(written)
        return reader


def measure_questions(
    model: OneGenModel, retriever: Retriever, questions: Sequence[str]
) -> tuple[dict[str, PatternCost], list[Transcript]]:
    """Every pattern on every question in turn, after a warm-up question."""
    retrieval = RetrievalParams()
    meter = Meter(model, MiniLM(str(model.network.device)), retrieval.max_retrievals)
    names, transcripts = list(meter.patterns), list[Transcript]()
    for at, question in enumerate(tqdm([WARM_UP, *questions], desc="questions")):
        if at == 1:
            meter.reset()
            transcripts.clear()
        transcripts.append(meter.ask(question, retriever, retrieval))
        for name in names[at % len(names) :] + names[: at % len(names)]:
            meter.replay(name, transcripts[-1])
    return meter.costs, transcripts


def print_questions(costs: dict[str, PatternCost], transcripts: Sequence[Transcript]) -> None:
    count, ours = len(transcripts), costs[ONE_PASS]
    hops = sum(len(transcript.hops) for transcript in transcripts)
    print(f"\n### Cost per question ({count} questions, {hops / count:.2f} retrievals each)\n")
    heads = ("LLM positions", "ratio", "MiniLM positions", "LLM s", "MiniLM s", "total s", "ratio")
    rows = [
        [
            name,
            f"{cost.positions / count:.1f}",
            f"{cost.positions / ours.positions:.2f}",
            f"{cost.encoder_positions / count:.1f}",
            f"{(cost.seconds - cost.encoder_seconds) / count:.2f}",
            f"{cost.encoder_seconds / count:.3f}",
            f"{cost.seconds / count:.2f}",
            f"{cost.seconds / ours.seconds:.2f}",
        ]
        for name, cost in costs.items()
    ]
    print(report.markdown(("call pattern", *heads), rows))
    print(NOTES, end="")
    for name in SAME_CONTEXT:
        cost = costs[name]
        print(f"- {name}: {cost.agreed} of {cost.tokens} tokens predicted as written")


@contextmanager
def plain_text_only(model: OneGenModel) -> Iterator[None]:
    """Mask all control tokens, so that no request ends or retrieves and all are equally long."""
    control = torch.tensor(sorted(model.renderer.control_ids), device=model.network.device)

    def mask(_module: object, _inputs: object, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, control, -torch.inf)

    handle = model.network.get_output_embeddings().register_forward_hook(mask)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True, slots=True)
class DecodingRun:
    """One batch; `decoding` are the seconds from its first token to its last."""

    seconds: float
    decoding: float
    tokens: list[list[int]]


def run_ours(model: OneGenModel, prompts: Sequence[Sequence[int]], count: int) -> DecodingRun:
    sampling = SamplingParams(max_new_tokens=count)
    start = time.perf_counter()
    handles = [model.driver.submit(Prompt(prompt), sampling=sampling) for prompt in prompts]
    stamps = [
        time.perf_counter() for event in model.driver.drive(*handles) if isinstance(event, Token)
    ]
    seconds = time.perf_counter() - start
    written = [one.request.ids[-count:] for one in handles]
    return DecodingRun(seconds, stamps[-1] - stamps[0], written)


def run_generate(model: OneGenModel, prompts: Sequence[Sequence[int]], count: int) -> DecodingRun:
    stamps = []

    def stamp(ids: Tensor, _scores: object, **_: object) -> Tensor:
        stamps.append(time.perf_counter())
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    start = time.perf_counter()
    ids = torch.tensor(prompts, device=model.network.device)
    written = model.network.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=model.renderer.end_id,
        stopping_criteria=StoppingCriteriaList([stamp]),
    )[:, ids.shape[1] :].tolist()
    seconds = time.perf_counter() - start
    return DecodingRun(seconds, stamps[-1] - stamps[0], written)


def measure_decoding(model: OneGenModel, batch: int, shape: Sequence[int]) -> dict[str, Any]:
    """Medians over repeats of both decoders in turn, each on new prompts."""
    length, count, repeats = shape
    words = sorted(set(range(len(model.renderer.tokenizer))) - model.renderer.control_ids)
    random = torch.Generator().manual_seed(batch)
    pairs = []
    for at in tqdm(range(repeats + 1), desc=f"decoding, batch {batch}"):
        drawn = torch.randint(len(words), (batch, length), generator=random).tolist()
        prompts = [[words[i] for i in row] for row in drawn]
        runs = [run_ours, run_generate][:: 1 if at % 2 else -1]
        found = {run: run(model, prompts, count) for run in runs}
        pairs.append((found[run_ours], found[run_generate]))
    pairs = pairs[1:]  # The first warms up.
    same = sum(sum(map(list.__eq__, ours.tokens, theirs.tokens)) for ours, theirs in pairs)
    tokens = batch * (count - 1)
    return {
        "batch": batch,
        "ours_tokens_per_s": tokens / median(ours.decoding for ours, _ in pairs),
        "generate_tokens_per_s": tokens / median(theirs.decoding for _, theirs in pairs),
        "ratio": median(theirs.decoding / ours.decoding for ours, theirs in pairs),
        "ours_seconds": median(ours.seconds for ours, _ in pairs),
        "generate_seconds": median(theirs.seconds for _, theirs in pairs),
        "same_rows": same / (batch * repeats),
    }


def print_decoding(rows: Sequence[dict[str, Any]]) -> None:
    print("\n### Decode speed (prompt {}, {} new tokens, median of {})\n".format(*SHAPE))
    heads = ("batch", "ours, tokens/s", "`generate()`, tokens/s", "ratio of speeds")
    calls = ("ours, whole call s", "`generate()`, whole call s", "rows with the same tokens")
    formats = ("d", ".1f", ".1f", ".2f", ".2f", ".2f", ".0%")
    cells = [[format(*pair) for pair in zip(row.values(), formats, strict=True)] for row in rows]
    print(report.markdown(heads + calls, cells))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    add_options(parser, limit=30)  # 0: none.
    parser.add_argument(
        "--decode", action="store_true", help="decode speed compared with generate() too"
    )
    options = parser.parse_args(argv)
    model = OneGenModel.from_pretrained(options.model)
    measured: dict[str, Any] = {}
    if options.limit:
        data = own_candidates(load(options.data, limit=options.limit))
        questions, index = [one.text for one in data.questions], open_index(model, data)
        measured |= {"questions": len(questions), "passages": len(index)}
        costs, transcripts = measure_questions(model, index, questions)
        print_questions(costs, transcripts)
        measured["sums_over_questions"] = {name: asdict(one) for name, one in costs.items()}
        measured["retrievals"] = sum(len(transcript.hops) for transcript in transcripts)
    if options.decode:
        with plain_text_only(model):
            rows = [measure_decoding(model, batch, SHAPE) for batch in BATCHES]
        print_decoding(rows)
        measured["decode_speed"] = {"prompt, new tokens, repeats": SHAPE, "rows": rows}
    print(f"\nWritten to {report.save('cost', model, options, measured)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
