"""Free generation over all candidates: what was found at each hop, and what was answered.

    python -m benchmarks.retrieval [--data DIR] [--model M] [--limit N] [--batch 16]

Hop h of the gold chain is held against the h-th retrieval of the model; a hop for which it wrote
no query is missed. BM25 and MiniLM are asked (a) with the question, the same for every hop, and
(b) with the very line our model wrote before its query token; all rank the same passages.
"""

import argparse
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.data import Data, Question, add_options, add_run_options, load, open_index
from benchmarks.recording import Record, Runner
from benchmarks.report import Share
from benchmarks.searchers import Bm25Searcher, MiniLMSearcher, OwnSearcher, TextSearcher
from benchmarks.two_models import MiniLM
from onegen_model import OneGenModel, PassageIndex, RetrievalParams, SamplingParams, Token
from onegen_model.evaluation.metrics import exact_match, f1

OWN, EVERYWHERE = "own candidates", "all paragraphs"
CUTS = (1, 5)
OURS = "OneGen (query embedding)"
# All ranked paragraphs of a question's retrievals, in order, of all or `among` some.
Ranker = Callable[[Record, Question, Collection[str] | None], list[list[str]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, what the model made of it, and what each searcher found in each pool."""

    question: Question
    record: Record
    rankings: dict[tuple[str, str], list[list[str]]]


def by_vector(
    searcher: OwnSearcher, record: Record, _: Question, among: Collection[str] | None
) -> list[list[str]]:
    vectors = [np.asarray(event.query_embedding, np.float32) for event in record.requested]
    return [searcher.rank(vector, among) for vector in vectors]


def by_question(
    searcher: TextSearcher, _: Record, question: Question, among: Collection[str] | None
) -> list[list[str]]:
    return [searcher.rank(question.text, among)] * len(question.hops)


def by_span(
    searcher: TextSearcher, record: Record, _: Question, among: Collection[str] | None
) -> list[list[str]]:
    return [searcher.rank(event.text, among) for event in record.requested]


def make_rankers(index: PassageIndex, encoder: MiniLM) -> dict[str, Ranker]:
    bm25, minilm = Bm25Searcher(index.passages), MiniLMSearcher(index.passages, encoder)
    return {
        OURS: partial(by_vector, OwnSearcher(index)),
        "BM25 (a) question": partial(by_question, bm25),
        "BM25 (b) our span": partial(by_span, bm25),
        "MiniLM (a) question": partial(by_question, minilm),
        "MiniLM (b) our span": partial(by_span, minilm),
    }


def rank_all(
    questions: Sequence[Question], records: Sequence[Record], rankers: dict[str, Ranker]
) -> list[Asked]:
    pools: dict[str, Callable[[Question], Collection[str] | None]] = {
        OWN: lambda question: frozenset(question.candidates),
        EVERYWHERE: lambda _: None,
    }
    return [
        Asked(
            question,
            record,
            {
                (name, pool): ranker(record, question, among(question))
                for name, ranker in rankers.items()
                for pool, among in pools.items()
            },
        )
        for question, record in zip(questions, records, strict=True)
    ]


def hop_recall(
    asked: Iterable[Asked], key: tuple[str, str], cut: int, wanted: Callable[[int, str], bool]
) -> Share:
    """Of the hops for which `wanted(hop, paragraph)`: the gold one among the first `cut`."""
    groups = []
    for one in asked:
        ranked = one.rankings[key]
        hits = [
            h < len(ranked) and gold in ranked[h][:cut]
            for h, gold in enumerate(one.question.hops)
            if wanted(h, gold)
        ]
        groups.append((sum(hits), len(hits)))
    return Share.of(groups)


def support_recall(asked: Iterable[Asked], key: tuple[str, str], cut: int) -> Share:
    """Gold paragraphs that any retrieval of the question has among its first `cut`."""
    groups = []
    for one in asked:
        gold = set(one.question.hops)
        found = {paragraph for ranked in one.rankings[key] for paragraph in ranked[:cut]}
        groups.append((len(gold & found), len(gold)))
    return Share.of(groups)


def measure_hops(asked: Sequence[Asked], key: tuple[str, str]) -> dict[str, Share]:
    hops: dict[str, Callable[[int, str], bool]] = {
        "hop 1": lambda hop, _: hop == 0,
        "hop 2": lambda hop, _: hop == 1,
        "hops 3, 4": lambda hop, _: hop >= 2,
        "all hops": lambda *_: True,
    }
    recalls = {
        f"{name} @{cut}": hop_recall(asked, key, cut, wanted)
        for name, wanted in hops.items()
        for cut in CUTS
    }
    return recalls | {f"any hop @{cut}": support_recall(asked, key, cut) for cut in CUTS}


def measure_recall(asked: Sequence[Asked]) -> dict[str, dict[str, dict[str, Share]]]:
    """Pool, then searcher, then column."""
    return {
        pool: {
            name: measure_hops(asked, (name, pool))
            for name, other in asked[0].rankings
            if other == pool
        }
        for pool in (OWN, EVERYWHERE)
    }


def measure_slices(asked: Sequence[Asked], data: Data) -> dict[str, dict[str, Share]]:
    """Recall over all hops and all paragraphs by dataset and by what was gold in training."""
    names = [name for name, pool in asked[0].rankings if pool == EVERYWHERE]
    slices: dict[str, dict[str, Share]] = {name: {} for name in names}
    trained = data.trained
    for name in names:
        recall = partial(hop_recall, key=(name, EVERYWHERE))
        for dataset, group in grouped(asked, lambda one: one.question.dataset).items():
            for cut in CUTS:
                slices[name][f"{dataset} @{cut}"] = recall(group, cut=cut, wanted=lambda *_: True)
        for cut in CUTS if trained is not None else ():
            slices[name][f"gold in training @{cut}"] = recall(
                asked, cut=cut, wanted=lambda _, gold: gold in trained
            )
        for cut in CUTS if trained is not None else ():
            slices[name][f"never in training @{cut}"] = recall(
                asked, cut=cut, wanted=lambda _, gold: gold not in trained
            )
    return slices


def grouped(asked: Iterable[Asked], kind: Callable[[Asked], str]) -> dict[str, list[Asked]]:
    groups: dict[str, list[Asked]] = {}
    for one in asked:
        groups.setdefault(kind(one), []).append(one)
    return groups


def has_frame(model: OneGenModel, record: Record) -> bool:
    """Whether the model wrote an answer frame, both ends of it."""
    text = "".join(event.text for event in record.events if isinstance(event, Token))
    start = text.find(model.template.answer_start)
    return start >= 0 and model.template.answer_end in text[start:]


def measure_answers(model: OneGenModel, asked: Sequence[Asked]) -> dict[str, Share]:
    def share(value: Callable[[Asked], float]) -> Share:
        return Share.of([(value(one), 1) for one in asked])

    def best(metric: Callable[[str, str], float], one: Asked) -> float:
        return max(metric(one.record.answer.text, gold) for gold in one.question.answers)

    def repeated(one: Asked) -> tuple[int, int]:
        spans = [event.text.casefold() for event in one.record.requested]
        return len(spans) - len(set(spans)), len(spans)

    def inserted(one: Asked) -> tuple[int, int]:
        hits = (hit for event in one.record.inserted for hit in event.passages)
        gold = set(one.question.hops)
        return len(gold & {hit.passage.metadata["paragraph"] for hit in hits}), len(gold)

    return {
        "retrieves": share(lambda one: bool(one.record.requested)),
        "finished": share(lambda one: one.record.reason == "end"),
        "well-formed": share(lambda one: has_frame(model, one.record)),
        "retrievals": share(lambda one: len(one.record.requested)),
        "repeated": Share.of(map(repeated, asked)),
        "gold inserted": Share.of(map(inserted, asked)),
        "EM": share(partial(best, exact_match)),
        "F1": share(partial(best, f1)),
    }


def measure_all_answers(
    model: OneGenModel, asked: Sequence[Asked]
) -> dict[str, tuple[int, dict[str, Share]]]:
    """All questions, then each dataset, then each of its types; with their numbers."""
    groups = {"all": list(asked)}
    for dataset, members in sorted(grouped(asked, lambda one: one.question.dataset).items()):
        groups[dataset] = members
        kinds = grouped(members, lambda one: f"{one.question.dataset}, {one.question.type}")
        groups |= dict(sorted(kinds.items())) if len(kinds) > 1 else {}
    return {name: (len(group), measure_answers(model, group)) for name, group in groups.items()}


def print_shares(title: str, first: str, rows: dict[str, dict[str, Share]]) -> None:
    heads = [first, *next(iter(rows.values()))]
    print(f"\n### {title}\n")
    print(report.markdown(heads, [[name, *shares.values()] for name, shares in rows.items()]))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description=__doc__)
    add_options(parser)
    add_run_options(parser)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--top-k", type=int, default=RetrievalParams().top_k, help="per retrieval")
    options = parser.parse_args(argv)
    model = OneGenModel.from_pretrained(options.model, dtype=options.dtype)
    data = load(options.data, limit=options.limit, paragraphs=options.paragraphs)
    index = open_index(model, data)
    retrieval = RetrievalParams(top_k=options.top_k)
    params = (SamplingParams(max_new_tokens=options.max_new_tokens), retrieval)
    run = Runner(model, index, params, options.batch).in_batches([q.text for q in data.questions])
    rankers = make_rankers(index, MiniLM(str(model.network.device)))
    asked = rank_all(data.questions, run.records, rankers)
    size = f"{len(asked)} questions, {len(data.paragraphs)} paragraphs in {len(index)} passages"
    measured: dict[str, Any] = {"questions": len(asked), "paragraphs": len(data.paragraphs)}
    recall, slices = measure_recall(asked), measure_slices(asked, data)
    for pool, rows in recall.items():
        print_shares(f"Recall of gold paragraphs, {pool} ({size})", "searcher", rows)
    print_shares(f"Recall over all hops, {EVERYWHERE}, by kind", "searcher", slices)
    answers = measure_all_answers(model, asked)
    counted = {f"{name} ({count})": shares for name, (count, shares) in answers.items()}
    print_shares(f"Answers ({size})", "questions", counted)
    measured |= {"passages": len(index), "recall": recall, "by_kind": slices, "answers": counted}
    measured["transcripts"] = [_transcript(one) for one in asked]
    print(f"\nWritten to {report.save('retrieval', model, options, measured)}")
    return 0


def _transcript(one: Asked) -> dict[str, Any]:
    answer = one.record.answer
    return {
        "id": one.question.id,
        "answer": answer.text,
        "steps": answer.steps,
        "found": [[hit.passage.id for hit in hop.passages] for hop in answer.retrievals],
        "reason": answer.finish_reason,
    }


if __name__ == "__main__":
    raise SystemExit(main())
