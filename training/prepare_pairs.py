"""Make retrieval-only training files from queries with the paragraphs that answer them.

    python training/prepare_pairs.py --data ../shared/data --out runs/pairs

Reads embed_pairs_train.jsonl.gz, whose lines name paragraphs of the two corpora, and writes
train.jsonl (transcripts with "writes": false) and passages.jsonl. Of a paragraph that is longer
than a passage, the positive is the piece that has most of the query's words.
"""

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

from prepare_data import Pieces, rows


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def example(name: str, row: dict[str, Any], pieces: Pieces) -> dict[str, Any]:
    """A query that ends in its search."""
    asked = words(row["query"])
    found = max(
        pieces.of(row["pos"]), key=lambda piece: len(asked & words(piece["title"] + piece["text"]))
    )
    negatives = [pieces.of(i)[0]["id"] for i in row["neg"] if i != row["pos"]]
    target = {"positives": [found["id"]], "negatives": negatives}
    segments = [{"text": "", "target": target}]
    return {"id": name, "question": row["query"], "segments": segments, "writes": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-passage-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    corpora = [args.data / f"{name}_corpus.jsonl.gz" for name in ("multihop", "singlehop")]
    pieces = Pieces(corpora, args.max_passage_tokens)
    pairs = rows(args.data / "embed_pairs_train.jsonl.gz")
    examples = [example(f"pair-{at}", row, pieces) for at, row in enumerate(pairs)]
    random.Random(args.seed).shuffle(examples)
    args.out.mkdir(parents=True, exist_ok=True)
    passages = (piece for cut in pieces.cut.values() for piece in cut)
    for name, items in (("train", examples), ("passages", passages)):
        with (args.out / f"{name}.jsonl").open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    print(f"{len(examples)} examples, {len(pieces.cut)} paragraphs")


if __name__ == "__main__":
    main()
