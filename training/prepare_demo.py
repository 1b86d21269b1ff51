"""Make the bundled demo: questions of the dev set, and the paragraphs offered with them.

    python training/prepare_demo.py --data ../shared/data --out onegen_model/demo

The questions are chosen among those that the checkpoint answers right (the README says how often it
does). No question was trained on, and none of its gold paragraphs was gold in training.
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

ASKED = (
    "When did Margaret Verney's father die?",
    "Which film came out first, Kalavar King or Ogro?",
    "Which country Princess Claude Of Orléans's husband is from?",
)
NUM_PARAGRAPHS = 120


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    trained = {
        paragraph
        for name in ("multihop_train", "multihop_silver_train")
        for row in rows(args.data / f"{name}.jsonl.gz")
        for paragraph in row["supporting"]
    }
    dev = rows(args.data / "multihop_dev.jsonl.gz")
    questions = [next(row for row in dev if row["question"] == asked) for asked in ASKED]
    for row in questions:
        if seen := trained.intersection(row["supporting"]):
            raise SystemExit(f"{row['question']} rests on paragraphs seen in training: {seen}")
    others = [row for row in dev if row["dataset"] == "2wiki" and row not in questions]
    wanted = [i for row in [*questions, *others] for i in row["candidates"]]
    ids = list(dict.fromkeys(wanted))[:NUM_PARAGRAPHS]
    corpus = {row["id"]: row for row in rows(args.data / "multihop_corpus.jsonl.gz")}
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "corpus.jsonl").open("w", encoding="utf-8") as out:
        for i in sorted(ids):
            paragraph = {name: corpus[i][name] for name in ("id", "title", "text")}
            out.write(json.dumps(paragraph, ensure_ascii=False) + "\n")
    shown = [{"question": row["question"], "answer": row["answer"]} for row in questions]
    text = json.dumps(shown, ensure_ascii=False, indent=2) + "\n"
    (args.out / "questions.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
