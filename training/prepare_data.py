"""Make the training files of the default checkpoint from question sets and corpora.

    python training/prepare_data.py --data DATA --out runs/rounds --rounds 5

Writes train.jsonl, passages.jsonl and a summary. Paragraphs longer than a passage are split as
`onegen index` splits documents; the gold passage of a hop is the piece that holds its answer.
"""

import argparse
import gzip
import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decompositions import decompositions
from semantic_text_splitter import TextSplitter
from silver import Fact, chains, known_facts, releases
from tool_questions import requests, some_tools
from transcripts import hop_lines, lead, plain_title, written_texts
from transformers import AutoTokenizer

from onegen_model.checkpoint.default_base import prepare_base

# How many of each source enter the mix of one round (all when fewer).
MIX = {
    "2wiki": 1400,
    "2wiki_silver": 1400,
    "2wiki_template": 1200,
    "hotpotqa": 1400,
    "musique": 200,
    "single": 2500,
}
TEMPLATE_RELEASES = 700
TOOL_REQUESTS = 250
# Hops of MuSiQue without their paragraphs: of 2Wiki's there are enough with them.
DECOMPOSITIONS = 1000
# Questions that no tool answers, though some are there.
IDLE_TOOLS_SHARE = 0.04
DIRECT_SHARE = 0.15
TWO_PASSAGES_SHARE = 0.35
GOLD_FIRST_SHARE = 0.7  # A search that finds the right passage mostly ranks it first.
# Of the questions of several hops: the rest trains the language model only.
RETRIEVAL_SHARE = 0.7
# A search may find what a later one looks for; no passage is inserted twice, so the later one gets
# others, and what it asked for is read further above.
FOUND_BEFORE_SHARE = 0.1
SINGLE = ("squad2", "xquad_en", "nq_open")


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Pieces:
    """Paragraphs cut to passage length, on demand."""

    def __init__(self, corpora: list[Path], max_passage_tokens: int) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(prepare_base())
        self.limit = max_passage_tokens
        self.paragraphs = {row["id"]: row for path in corpora for row in rows(path)}
        self.cut: dict[str, list[dict[str, str]]] = {}
        self.splitters: dict[int, TextSplitter] = {}

    def of(self, paragraph_id: str) -> list[dict[str, str]]:
        """Pieces of a paragraph, in order."""
        if paragraph_id not in self.cut:
            row = self.paragraphs[paragraph_id]
            head = len(self.tokenizer(row["title"] + "\n").input_ids)
            self.cut[paragraph_id] = [
                {"id": f"{paragraph_id}#{n}", "title": row["title"], "text": text}
                for n, text in enumerate(self._split(row["text"], self.limit - head - 2))
            ]
        return self.cut[paragraph_id]

    def _split(self, text: str, capacity: int) -> list[str]:
        if len(self.tokenizer(text).input_ids) <= capacity:
            return [text]
        # A splitter copies the whole tokenizer, so few are made: capacities in steps of 8.
        capacity = max(16, capacity - capacity % 8)
        if capacity not in self.splitters:
            self.splitters[capacity] = TextSplitter.from_huggingface_tokenizer(
                self.tokenizer.backend_tokenizer, capacity
            )
        return self.splitters[capacity].chunks(text)

    def holding(self, paragraph_id: str, answer: str) -> str:
        """The piece in which the answer stands, else the first."""
        pieces = self.of(paragraph_id)
        found = (p for p in pieces if answer and answer.casefold() in p["text"].casefold())
        return next(found, pieces[0])["id"]


class Insertions:
    """What stands behind each query token of one transcript; nothing twice, as at inference."""

    def __init__(self, gold: list[str], others: list[str], rng: random.Random) -> None:
        self.gold = gold
        self.others = others
        self.rng = rng
        self.seen: set[str] = set()

    def of(self, hop: int) -> list[str]:
        """Passages of the next hop; without its gold where that was inserted before."""
        rng, gold = self.rng, self.gold[hop]
        found = [] if gold in self.seen else [gold]
        later = [i for i in self.gold[hop + 1 :] if i not in self.seen and i != gold]
        fresh = [i for i in self.others if i not in self.seen]
        if later and rng.random() < FOUND_BEFORE_SHARE:
            found.append(rng.choice(later))
        elif fresh and (not found or rng.random() < TWO_PASSAGES_SHARE):
            found.append(rng.choice(fresh))
        if rng.random() > GOLD_FIRST_SHARE:
            found.reverse()
        self.seen.update(found)
        return found


def example(row: dict[str, Any], pieces: Pieces, rng: random.Random) -> dict[str, Any]:
    """One training example: gold and distractors in the context, candidates as negatives."""
    gold, others = gold_pieces(row, pieces), other_pieces(row, pieces)
    insertions = Insertions(gold, others, rng)
    texts = written_texts(row, leads(row, pieces))
    direct = row["dataset"] in SINGLE or rng.random() < DIRECT_SHARE
    retrieval = row["dataset"] in SINGLE or rng.random() < RETRIEVAL_SHARE
    segments = []
    for hop, text in enumerate(texts[:-1]):
        positives = list(dict.fromkeys(gold)) if direct and hop == 0 else [gold[hop]]
        searched = retrieval and gold[hop] not in insertions.seen
        negatives = rng.sample(others, min(4, len(others)))
        target = {
            "positives": positives if searched else [],
            "negatives": negatives if searched else [],
            "inserted": insertions.of(hop),
        }
        segments.append({"text": "" if direct and hop == 0 else text, "target": target})
    segments.append({"text": texts[-1]})
    made = {"id": row["id"], "question": row["question"], "segments": segments}
    return made | {"tools": some_tools(rng)} if rng.random() < IDLE_TOOLS_SHARE else made


def search(row: dict[str, Any], pieces: Pieces) -> dict[str, Any]:
    """A single-hop question that trains retrieval alone."""
    target = {"positives": gold_pieces(row, pieces), "negatives": other_pieces(row, pieces)}
    # Not read in training: mining leaves passages out that hold the answer.
    end = {"text": written_texts(row, leads(row, pieces))[-1]}
    segments = [{"text": "", "target": target}, end]
    return {"id": row["id"], "question": row["question"], "segments": segments, "writes": False}


def leads(row: dict[str, Any], pieces: Pieces) -> dict[str, str]:
    """The first sentence of each gold paragraph."""
    return {i: lead(pieces.paragraphs[i]["text"]) for i in row["supporting"]}


def gold_pieces(row: dict[str, Any], pieces: Pieces) -> list[str]:
    """Of each hop the piece that holds its answer."""
    answers = [answer for _, answer in hop_lines(row, leads(row, pieces))]
    return [
        pieces.holding(hop["paragraph_id"], answer)
        for hop, answer in zip(row["hops"], answers, strict=True)
    ]


def other_pieces(row: dict[str, Any], pieces: Pieces) -> list[str]:
    """The first of each candidate that is not gold."""
    return [pieces.of(i)[0]["id"] for i in row["candidates"] if i not in row["supporting"]]


@dataclass(frozen=True, slots=True)
class Questions:
    """What the mixes are drawn from; `decomposed` are those of which only the hops are known."""

    multihop: list[dict[str, Any]]
    single: list[dict[str, Any]]
    decomposed: list[dict[str, Any]]

    @classmethod
    def read(cls, data: Path) -> "Questions":
        def read(*names: str) -> list[dict[str, Any]]:
            return [row for name in names for row in rows(data / f"{name}_train.jsonl.gz")]

        decomposed = [row for row in read("decomp_only") if row["dataset"] == "musique"]
        return cls(read("multihop", "multihop_silver"), read("squad", "nq"), decomposed)


def pick(
    questions: Questions, paragraphs: dict[str, dict[str, Any]], rng: random.Random
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, dict[str, Fact]]]:
    """The mix and the single-hop questions that are left, in a random order, and the facts that
    were found.

    Unanswerable questions and very long chains are left out.
    """
    multihop = questions.multihop
    facts = known_facts(multihop, paragraphs)
    made = [*chains(multihop, facts, rng), *releases(facts, rng, TEMPLATE_RELEASES)]
    pool = [*multihop, *made, *questions.single]
    rng.shuffle(pool)
    taken: Counter[str] = Counter()
    mix, left = [], []
    for row in pool:
        source = "single" if row["dataset"] in SINGLE else row["dataset"]
        if not usable(row, paragraphs):
            continue
        if taken[source] < MIX[source]:
            taken[source] += 1
            mix.append(row)
        elif source == "single":
            left.append(row)
    print({**taken, "single-hop, left": len(left)})
    return mix, left, facts


def usable(row: dict[str, Any], paragraphs: dict[str, dict[str, Any]]) -> bool:
    """Whether each hop can be told from what stands before it."""
    if not row.get("answerable", True) or len(row["hops"]) > 4 or not row["answer"]:
        return False
    if row["dataset"] != "hotpotqa" or row["type"] != "bridge":
        return True
    first, second = (plain_title(hop["title"]).casefold() for hop in row["hops"])
    known = f"{row['question']}\n{paragraphs[row['hops'][0]['paragraph_id']]['text']}".casefold()
    return second in known and first != second


def write(folder: Path, examples: list[dict[str, Any]], pieces: Pieces) -> None:
    """The examples, and all paragraphs that were cut for them."""
    folder.mkdir(parents=True, exist_ok=True)
    passages = [piece for cut in pieces.cut.values() for piece in cut]
    for name, items in (("train", examples), ("passages", passages)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    print(f"{len(examples)} examples, {len(pieces.cut)} paragraphs")


def mix_round(
    questions: Questions, pieces: Pieces, rng: random.Random
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The examples of one mix, in a random order, and by id the single-hop questions it leaves."""
    mix, left, facts = pick(questions, pieces.paragraphs, rng)
    examples = [example(row, pieces, rng) for row in mix]
    examples += requests(facts, rng, TOOL_REQUESTS)
    others = [cut[0]["id"] for cut in pieces.cut.values()]
    examples += decompositions(questions.decomposed, others, rng, DECOMPOSITIONS)
    rng.shuffle(examples)
    return examples, {row["id"]: row for row in left}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-passage-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="draw the mix so many times: each with other questions where there are more than it "
        "takes, and with other passages behind the searches of the same",
    )
    parser.add_argument(
        "--retrieval-alone",
        action="store_true",
        help="add the single-hop questions that all mixes leave, to train retrieval alone",
    )
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}; expected at least 1")
    corpora = [args.data / f"{name}_corpus.jsonl.gz" for name in ("multihop", "singlehop")]
    pieces = Pieces(corpora, args.max_passage_tokens)
    questions = Questions.read(args.data)
    rng = random.Random(args.seed)
    examples, left = mix_round(questions, pieces, rng)
    for number in range(1, args.rounds):
        made, unused = mix_round(questions, pieces, rng)
        left = {name: row for name, row in left.items() if name in unused}
        # An id stands once in a file.
        examples += [one | {"id": f"{one['id']}~{number}"} for one in made]
    if args.retrieval_alone:
        examples += [search(row, pieces) for row in left.values()]
    write(args.out, examples, pieces)


if __name__ == "__main__":
    main()
