"""Make retrieval-only training files from queries with the paragraphs that answer them.

    python training/prepare_pairs.py --data DATA --out runs/pairs

Reads embed_pairs_train.jsonl.gz, whose lines name paragraphs of the two corpora, and writes
train.jsonl (transcripts with "writes": false) and passages.jsonl. Lines of one query become one
example. Of a paragraph that is longer than a passage, the positive is the piece that has most of
the query's words. No answer is known, so `onegen mine` cannot leave out what holds it.
"""

import argparse
import random
import re
from pathlib import Path
from typing import Any

from prepare_data import Pieces, rows, write


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def merged(pairs: list[dict[str, Any]]) -> dict[str, tuple[list[str], list[str]]]:
    """Of each query its positive paragraphs, and its negatives that are none of them."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for row in pairs:
        positives, negatives = found.setdefault(row["query"], ({}, {}))
        positives[row["pos"]] = None
        negatives.update(dict.fromkeys(row["neg"]))
    return {
        query: (list(positives), [one for one in negatives if one not in positives])
        for query, (positives, negatives) in found.items()
    }


def example(
    name: str, query: str, paragraphs: tuple[list[str], list[str]], pieces: Pieces
) -> dict[str, Any]:
    """A query that ends in its search."""
    asked = words(query)
    positives = [
        max(pieces.of(one), key=lambda piece: len(asked & words(piece["text"])))["id"]
        for one in paragraphs[0]
    ]
    target = {"positives": positives, "negatives": [pieces.of(i)[0]["id"] for i in paragraphs[1]]}
    segments = [{"text": "", "target": target}]
    return {"id": name, "question": query, "segments": segments, "writes": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-passage-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    corpora = [args.data / f"{name}_corpus.jsonl.gz" for name in ("multihop", "singlehop")]
    pieces = Pieces(corpora, args.max_passage_tokens)
    queries = merged(rows(args.data / "embed_pairs_train.jsonl.gz"))
    examples = [
        example(f"query-{at}", query, paragraphs, pieces)
        for at, (query, paragraphs) in enumerate(queries.items())
    ]
    random.Random(args.seed).shuffle(examples)
    write(args.out, examples, pieces)


if __name__ == "__main__":
    main()
