"""Invariants 1 to 5 of the design on questions that the model answers, in fp32, greedily.

    python -m benchmarks.invariants [--data DIR] [--model M] [--limit N] [--batch 16]

1 One pass: a hook on the decoder counts the positions that are read.  2 Clean: one forward over the
final ids gives the same tokens and embeddings.  3 Alone: a batch, one by one (streamed) and an
async batch over a shared cache have the same events.  4 Same eyes: rendering the written text again
gives the same ids and loss mask.  5 No control from data: control strings in questions and passages
have no effect.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from benchmarks import report
from benchmarks.clean import EMBEDDING_TOLERANCE, CleanReader, CleanReading, Parting, compare
from benchmarks.data import GoldQuestion, add_options, add_run_options, load, open_index
from benchmarks.hostile import Poisoned, check_hostile, poison_all
from benchmarks.recording import Record, RecordedRun, Runner
from onegen_model import (
    OneGenModel,
    PassageIndex,
    RetrievalParams,
    SamplingParams,
    Token,
)
from onegen_model.transcript.answer import written_spans
from onegen_model.transcript.renderer import Rendered
from onegen_model.transcript.template import Segment

HOSTILE_TOKENS = 60
READ_TO_THE_END = ("end", "length", "stop")


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table; `details` are printed below the table."""

    name: str
    measured: str
    passed: bool
    details: tuple[str, ...] = ()


def check_one_pass(run: RecordedRun) -> Check:
    """Compares the hook's count with the counters, in total and per request."""
    usages = [record.answer.usage for record in run.records]
    forwarded, padded = sum(u.forwarded for u in usages), sum(u.padded for u in usages)
    wrong = [
        record.question
        for record, usage in zip(run.records, usages, strict=True)
        if record.reason not in READ_TO_THE_END
        or usage.forwarded + usage.reused != len(record.ids) - 1
        or usage.reused > usage.prompt + usage.inserted - 1
        or len(record.ids) != usage.prompt + usage.written + usage.inserted
    ]
    counted = run.counted
    agrees = (counted.real, counted.positions) == (forwarded, forwarded + padded)
    measured = (
        f"{len(usages) - len(wrong)}/{len(usages)} requests; hook {counted.real} real + "
        f"{counted.positions - counted.real} padded, usage {forwarded} + {padded}; "
        f"{sum(u.reused for u in usages)} reused"
    )
    return Check(f"1 one pass ({run.name})", measured, agrees and not wrong, tuple(wrong))


def check_clean(run: RecordedRun, readings: Sequence[CleanReading]) -> Check:
    """Compares tokens and query embeddings with those of one clean forward."""
    error = max(reading.embedding_error for reading in readings)
    partings = [parting for reading in readings for parting in reading.partings]
    tokens = sum(len(reading.margins) for reading in readings)
    queries = sum(len(record.requested) for record in run.records)
    measured = (
        f"{queries} query embeddings within {error:.1e}; {tokens} tokens, {len(partings)} partings"
    )
    fine = error <= EMBEDDING_TOLERANCE and _are_few(partings, len(run.records))
    return Check("2 clean", measured, fine, tuple(map(str, partings)))


def check_alone(run: RecordedRun, other: RecordedRun, readings: Sequence[CleanReading]) -> Check:
    found = [
        compare(one, two, reading)
        for one, two, reading in zip(run.records, other.records, readings, strict=True)
    ]
    partings = [parting for parting, _ in found if parting is not None]
    error = max(error for _, error in found)
    measured = (
        f"{len(found) - len(partings)}/{len(found)} requests alike, embeddings within {error:.1e}"
    )
    fine = error <= EMBEDDING_TOLERANCE and _are_few(partings, len(found))
    return Check(f"3 alone ({run.name} = {other.name})", measured, fine, tuple(map(str, partings)))


def _are_few(partings: Sequence[Parting], requests: int) -> bool:
    """Whether all partings are allowed and under 1 % of the requests (or a single one) part."""
    parted = len({parting.question for parting in partings})
    return all(parting.allowed for parting in partings) and parted <= max(1, requests // 100)


def render_again(model: OneGenModel, record: Record) -> tuple[Rendered, bool] | None:
    """The transcript as training renders it, and whether it equals what was written.

    None where the written text has other ids when it is tokenised again.
    """
    renderer, spans = model.renderer, [one.text for one in written_spans(record.events)]
    if record.ids[-1] == renderer.query_id or any(
        tuple(renderer.text_ids(text)) != ids
        for text, ids in zip(spans, record.answer.written, strict=True)
    ):
        return None
    searched = [
        Segment(text, True, tuple(hit.passage for hit in event.passages))
        for text, event in zip(spans, record.inserted, strict=False)
    ]
    rendered = renderer.transcript(record.question, [*searched, Segment(spans[-1])])
    stop = len(rendered.ids) - (record.reason != "end")
    written = [False] * len(record.ids)
    for at, event in record.positions():
        if isinstance(event, Token):
            written[at] = True
    same = (rendered.ids[:stop], rendered.written[:stop]) == (record.ids, tuple(written))
    return rendered, same


def check_same_eyes(model: OneGenModel, run: RecordedRun) -> Check:
    found = [render_again(model, record) for record in run.records]
    compared = [same for pair in found if pair is not None for same in [pair[1]]]
    wrong = [r.question for r, pair in zip(run.records, found, strict=True) if pair and not pair[1]]
    measured = (
        f"{sum(compared)}/{len(compared)} ids and loss masks equal; {len(found) - len(compared)} "
        "not compared (sampled tokens differ from those of the tokenizer)"
    )
    return Check("4 same eyes", measured, bool(compared) and not wrong, tuple(wrong))


def check_no_control(model: OneGenModel, run: RecordedRun, retriever: Poisoned) -> Check:
    problems = [
        f"{problem}: {record.question}"
        for record in run.records
        for problem in check_hostile(model, record)
    ]
    queries = sum(len(record.requested) for record in run.records)
    measured = (
        f"{len(run.records)} poisoned questions, {retriever.count} poisoned passages, "
        f"{queries} retrievals, all by the model's own query tokens"
    )
    fine = not problems and bool(retriever.count) and check_one_pass(run).passed
    return Check("5 no control from data", measured, fine, tuple(problems))


def run_checks(
    model: OneGenModel, index: PassageIndex, questions: Sequence[str], settings: argparse.Namespace
) -> list[Check]:
    retrieval = RetrievalParams()
    sampling = SamplingParams(max_new_tokens=settings.max_new_tokens)
    runner = Runner(model, index, (sampling, retrieval), settings.batch)
    batch = runner.in_batches(questions)
    reader = CleanReader(model, index, retrieval)
    readings = [reader.read(record) for record in tqdm(batch.records, desc="clean")]
    alone = runner.one_by_one(questions)
    asynchronous = asyncio.run(runner.in_async_batches(questions))
    poisoned = Poisoned(index, model)
    short = SamplingParams(max_new_tokens=min(settings.max_new_tokens, HOSTILE_TOKENS))
    # A small model may not search after a poisoned question, so one retrieval is forced.
    always = (short, RetrievalParams(mode="always"))
    spoilt = poison_all(model, questions)
    hostile = replace(runner, retriever=poisoned, params=always).in_batches(spoilt)
    return [
        *map(check_one_pass, (batch, alone, asynchronous)),
        check_clean(batch, readings),
        check_alone(batch, alone, readings),
        check_alone(batch, asynchronous, readings),
        check_same_eyes(model, batch),
        check_no_control(model, hostile, poisoned),
    ]


def name_questions(detail: str, questions: Sequence[GoldQuestion]) -> str:
    """A detail with ids in place of questions: texts of the data have licences of their own."""
    for question in questions:
        detail = detail.replace(question.text, question.id)
    return detail


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.invariants", description=__doc__)
    add_options(parser)
    add_run_options(parser)
    options = parser.parse_args(argv)
    model = OneGenModel.from_pretrained(options.model, dtype="float32")
    sizes = {"limit": options.limit, "paragraphs": options.paragraphs}
    data = load(options.data, **sizes, unanswerable=True)
    index = open_index(model, data)
    start = time.perf_counter()
    checks = run_checks(model, index, [one.text for one in data.questions], options)
    seconds = time.perf_counter() - start
    rows = [(c.name, "pass" if c.passed else "FAIL", c.measured) for c in checks]
    size = f"{len(data.questions)} questions, {len(data.paragraphs)} paragraphs"
    print(f"\n### Invariants ({size} in {len(index)} passages)\n")
    print(report.markdown(("invariant", "", "measured"), rows))
    for check in checks:
        print("".join(f"\n- {check.name}: {detail}" for detail in check.details), end="")
    measured = {
        "questions": len(data.questions),
        "paragraphs": len(data.paragraphs),
        "passages": len(index),
        "seconds": round(seconds),
        "checks": [
            {
                "name": c.name,
                "passed": c.passed,
                "measured": c.measured,
                "details": [name_questions(detail, data.questions) for detail in c.details],
            }
            for c in checks
        ],
    }
    print(f"\nWritten to {report.save('invariants', model, options, measured)}")
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
