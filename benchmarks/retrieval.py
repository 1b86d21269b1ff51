"""Free generation over all candidates: retrieval at each hop, and answers.

    python -m benchmarks.retrieval [--data DIR] [--model M] [--limit N] [--batch 16]

Hop h of the gold chain is compared with the h-th retrieval of the model; a hop without a query is
missed. BM25 and MiniLM are queried (a) with the question, for every hop, and (b) with the line that
our model wrote before its query token. All rank the same passages: once all of them, and once those
of the question's own candidates.
"""

import argparse
from array import array
from collections.abc import Sequence
from typing import Any

from benchmarks import report
from benchmarks.data import Data, add_options, add_run_options, load, open_index
from onegen_model import OneGenModel, PassageIndex, RetrievalParams, Retriever, SamplingParams
from onegen_model.evaluation.ask.harness import OnePass, ask
from onegen_model.evaluation.ask.ranking import (
    FilterOf,
    Ranker,
    among_candidates,
    everywhere,
    queries_of_questions,
    queries_of_spans,
)
from onegen_model.evaluation.ask.retrievers import Bm25Retriever, EncoderRetriever
from onegen_model.evaluation.ask.sentence_encoder import SentenceEncoder
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.evaluation.score import table
from onegen_model.evaluation.score.cases import Case, Row
from onegen_model.evaluation.score.scores import HOPS, score

OURS = "OneGen (query embedding)"


def make_rankers(retrievers: dict[str, Retriever], filter_of: FilterOf) -> dict[str, Ranker]:
    """Rankers of retrievers by name, our own under `OURS`; the others are asked in both ways."""
    spans = queries_of_spans(filter_of)
    questions = queries_of_questions(filter_of, lambda _: array("f"))
    rankers = {OURS: Ranker(OURS, "span", retrievers[OURS], spans)}
    for name, retriever in retrievers.items():
        if name != OURS:
            rankers[f"{name} (a) question"] = Ranker(name, "question", retriever, questions)
            rankers[f"{name} (b) our span"] = Ranker(name, "span", retriever, spans)
    return rankers


def make_rows(
    data: Data, traces: Sequence[Trace], rankers: dict[str, Ranker], frame: tuple[str, str]
) -> list[Row]:
    """A row for each ranker; our own has the answers as well."""
    pairs = list(zip(data.questions, traces, strict=True))
    return [
        Row(
            name,
            [
                Case(question, trace if name == OURS else None, ranker.rank(question, trace))
                for question, trace in pairs
            ],
            frame,
        )
        for name, ranker in rankers.items()
    ]


def open_retrievers(model: OneGenModel, data: Data) -> tuple[PassageIndex, dict[str, Retriever]]:
    index = open_index(model, data)
    encoder = SentenceEncoder(str(model.network.device))
    vectors = PassageIndex.build(encoder, index.passages, progress=True)
    return index, {
        OURS: index,
        "BM25": Bm25Retriever(index.passages),
        "MiniLM": EncoderRetriever(encoder, vectors),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description=__doc__)
    add_options(parser)
    add_run_options(parser)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--top-k", type=int, default=RetrievalParams().top_k, help="per retrieval")
    options = parser.parse_args(argv)
    model = OneGenModel.from_pretrained(options.model, dtype=options.dtype)
    data = load(options.data, limit=options.limit, paragraphs=options.paragraphs)
    index, retrievers = open_retrievers(model, data)
    retrieval = RetrievalParams(top_k=options.top_k)
    sampling = SamplingParams(max_new_tokens=options.max_new_tokens)
    asker = OnePass(model, lambda _: index, sampling, lambda _: retrieval)
    traces = [one for some in ask(asker, data.questions, options.batch) for one in some]
    frame = (model.template.answer_start, model.template.answer_end)
    all_rows = make_rows(data, traces, make_rankers(retrievers, everywhere), frame)
    own_rows = make_rows(data, traces, make_rankers(retrievers, among_candidates), frame)
    scores = score(all_rows, data.trained)
    own_hops = score(own_rows)[HOPS]
    size = f"{len(traces)} questions, {len(data.paragraphs)} paragraphs in {len(index)} passages"
    print(f"\n## All paragraphs ({size})\n\n{table.report(scores)}")
    print(f"### {HOPS}, own candidates\n\n{table.table('retriever', own_hops)}")
    measured: dict[str, Any] = {
        "questions": len(traces),
        "paragraphs": len(data.paragraphs),
        "passages": len(index),
        "all_paragraphs": scores,
        "own_candidates": own_hops,
        "requests": [_request(one) for one in traces],
    }
    print(f"\nWritten to {report.save('retrieval', model, options, measured)}")
    return 0


def _request(trace: Trace) -> dict[str, Any]:
    """Ids alone: texts of the data have licences of their own."""
    return {
        "id": trace.question_id,
        "found": [[hit.passage.id for hit in event.passages] for event in trace.inserted],
        "reason": trace.finished.reason,
    }


if __name__ == "__main__":
    raise SystemExit(main())
