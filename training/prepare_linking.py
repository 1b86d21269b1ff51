"""Write a training file for entity linking from texts with human-made and with silver links.

    python training/prepare_linking.py --data DATA --out runs/linking

Reads el_train.jsonl.gz and el_silver_train.jsonl.gz, and writes train.jsonl in the format
`entity_linking`, and a copy of el_entities.jsonl.gz. Long texts are cut into pieces at the
ends of sentences. Texts in which every mention is marked are rare and teach where mentions are, so
they come several times. Of silver texts only the sentences around a mention are kept: all mentions
of a name that several entities carry, and a share of the easy ones.
"""

import argparse
import json
import random
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prepare_data import rows

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_a-z])")
_HARD = {"ambiguous_cross", "ambiguous_self", "partial_cross", "partial_self"}
_AMBIGUOUS_COPIES = 3


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence; white space between them belongs to none."""
    starts, ends = [0], []
    for found in _SENTENCE_END.finditer(text):
        ends.append(found.start())
        starts.append(found.end())
    return list(zip(starts, [*ends, len(text)], strict=True))


def piece(document: dict[str, Any], start: int, end: int, name: str) -> dict[str, Any]:
    """A part of a document with the mentions that lie in it."""
    text = document["text"][start:end]
    lead = len(text) - len(text.lstrip())
    start, text = start + lead, text.strip()
    mentions = [
        {
            "start": one["start"] - start,
            "end": one["end"] - start,
            "surface": one["surface"],
            "entity_id": one["entity_id"],
            "negatives": one["negatives"],
        }
        for one in document["mentions"]
        if one["start"] >= start and one["end"] <= start + len(text)
    ]
    return {
        "id": f"{document['id']}.{name}",
        "annotation": document["annotation"],
        "text": text,
        "mentions": mentions,
    }


def uncut_sentences(document: dict[str, Any]) -> list[tuple[int, int]]:
    """Start and end of each sentence; those that a mention crosses count as one."""
    inside = [(one["start"], one["end"]) for one in document["mentions"]]
    found, start = [], None
    for begin, end in sentences(document["text"]):
        start = begin if start is None else start
        if not any(first < end < last for first, last in inside):
            found.append((start, end))
            start = None
    return found


def runs(document: dict[str, Any], longest: int) -> Iterator[tuple[int, int]]:
    """Runs of sentences of at most `longest` characters; one sentence may be longer."""
    start, last = 0, 0
    for _, end in uncut_sentences(document):
        if end - start > longest and last > start:
            yield start, last
            start = last
        last = end
    if last > start:
        yield start, last


def around(document: dict[str, Any], mention: dict[str, Any], width: int) -> tuple[int, int]:
    """The sentence of a mention, and those before and behind within `width` characters."""
    spans = uncut_sentences(document)
    start, end = next(one for one in spans if mention["end"] <= one[1])
    for begin, stop in reversed(spans):
        if stop <= start and end - begin <= width:
            start = begin
    for begin, stop in spans:
        if begin >= end and stop - start <= width:
            end = stop
    return start, end


def human(documents: Sequence[dict[str, Any]], longest: int, repeats: int) -> Iterator[dict]:
    """Pieces of texts with links that people made."""
    for document in documents:
        is_exhaustive = document["annotation"] == "exhaustive"
        for copy in range(repeats if is_exhaustive else 1):
            for number, (start, end) in enumerate(runs(document, longest)):
                found = piece(document, start, end, f"{number}.{copy}")
                if found["mentions"] or is_exhaustive:
                    yield found


def silver(
    documents: Sequence[dict[str, Any]], easy: int, width: int, rng: random.Random
) -> Iterator[dict]:
    """Surroundings of mentions: all hard ones, those of a name that several pages carry
    `_AMBIGUOUS_COPIES` times, and `easy` of the others."""
    places = [(one, mention) for one in documents for mention in one["mentions"]]
    hard = [place for place in places if place[1]["kind"] in _HARD]
    rest = [place for place in places if place[1]["kind"] not in _HARD]
    seen = set()
    for document, mention in (*hard, *rng.sample(rest, min(easy, len(rest)))):
        start, end = around(document, mention, width)
        if (document["id"], start, end) not in seen:
            seen.add((document["id"], start, end))
            is_ambiguous = mention["kind"].startswith("ambiguous")
            for copy in range(_AMBIGUOUS_COPIES if is_ambiguous else 1):
                yield piece(document, start, end, f"{start}-{end}.{copy}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--longest", type=int, default=600, help="characters of a human text")
    parser.add_argument("--width", type=int, default=280, help="characters of a silver text")
    parser.add_argument("--repeats", type=int, default=5, help="of texts with all mentions marked")
    parser.add_argument("--easy", type=int, default=400, help="silver mentions of unique names")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    made = list(human(rows(args.data / "el_train.jsonl.gz"), args.longest, args.repeats))
    made += silver(rows(args.data / "el_silver_train.jsonl.gz"), args.easy, args.width, rng)
    rng.shuffle(made)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "train.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in made)
    shutil.copyfile(args.data / "el_entities.jsonl.gz", args.out / "entities.jsonl.gz")
    mentions = sum(len(one["mentions"]) for one in made)
    print(f"{len(made)} texts with {mentions} mentions in {args.out / 'train.jsonl'}")


if __name__ == "__main__":
    main()
