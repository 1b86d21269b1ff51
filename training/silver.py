"""More multi-hop questions, from templates, for skills that are rare in the question sets.

Facts about a paragraph are the evidence triples of the sets and a few patterns of high precision.
A chain (film, director) is taken from a training question and never searched in the corpus, so that
no gold set can be that of a held-out question.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_WORD = r"[A-Z][\w'\u2019-]+"
_NAME = rf"{_WORD}(?: {_WORD})*"
_PLACE = rf"({_NAME}(?:, {_NAME})?)"
_WHEN = r"(?:on [^.;()]{4,22}? |[^.;()]{4,22}? )?"
_KIND = r"film|drama|comedy|thriller|western|documentary"
PATTERNS = {
    "publication date": re.compile(
        rf"^[^.]{{0,120}}? (?:is|was) an? (\d{{4}}) [^.]*?\b({_KIND})\b"
    ),
    "place of birth": re.compile(rf"\b[Bb]orn {_WHEN}in {_PLACE}"),
    "place of death": re.compile(rf"\bdied {_WHEN}(?:in|at) {_PLACE}"),
}
_MONTH = re.compile(
    r"^(January|February|March|April|May|June|July|August|September|October|November|December)\b"
)
# Relation of the second hop -> ways to ask for it of "the director of X", and of a name.
LAST_HOPS = {
    "place of birth": (
        ["Where was the {of} born?", "What is the place of birth of the {of}?"],
        "Where was {name} born?",
    ),
    "place of death": (
        ["Where did the {of} die?", "Where was the place of death of the {of}?"],
        "Where did {name} die?",
    ),
    "date of birth": (
        ["When was the {of} born?", "What is the date of birth of the {of}?"],
        "When was {name} born?",
    ),
    "date of death": (
        ["When did the {of} die?", "What is the date of death of the {of}?"],
        "When did {name} die?",
    ),
    "country of citizenship": (
        ["What nationality is the {of}?", "Which country is the {of} from?"],
        "What is the nationality of {name}?",
    ),
}
FIRST_HOPS = {"director", "performer", "composer", "author", "father", "mother", "spouse"}
RELEASES = {
    "Which film came out first, {a} or {b}?": "earlier",
    "Which film was released earlier, {a} or {b}?": "earlier",
    "Which film came out earlier, {a} or {b}?": "earlier",
    "Which film was released more recently, {a} or {b}?": "later",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """What one paragraph says of its subject."""

    name: str
    relation: str
    value: str
    title: str
    paragraph_id: str

    def hop(self, question: str) -> dict[str, Any]:
        return {
            "question": question,
            "answer": self.value,
            "title": self.title,
            "paragraph_id": self.paragraph_id,
            "triple": [self.name, self.relation, self.value],
        }


def known_facts(
    rows: Sequence[dict[str, Any]], paragraphs: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Fact]]:
    """Facts of the gold paragraphs of `rows`, by paragraph and relation; triples come first."""
    facts: dict[str, dict[str, Fact]] = defaultdict(dict)
    for row in rows:
        for hop in row["hops"]:
            if "triple" in hop:
                name, relation, _ = hop["triple"]
                at = hop["paragraph_id"]
                fact = Fact(name, relation, hop["answer"].strip(), hop["title"], at)
                facts[at].setdefault(relation, fact)
    for at, found in facts.items():
        name = next(iter(found.values())).name
        for relation, pattern in PATTERNS.items():
            match = pattern.search(paragraphs[at]["text"])
            if match and relation not in found and not _MONTH.match(match[1]):
                found[relation] = Fact(name, relation, match[1], paragraphs[at]["title"], at)
    return facts


def chains(
    rows: Sequence[dict[str, Any]], facts: dict[str, dict[str, Fact]], rng: random.Random
) -> Iterator[dict[str, Any]]:
    """Two hops: what is known of the director, father, performer … of something."""
    seen = {row["question"].casefold() for row in rows}
    for row in rows:
        for first, second in pairwise(row["hops"]):
            if not _is_chain(first, second):
                continue
            for relation, (questions, last) in LAST_HOPS.items():
                fact = facts[second["paragraph_id"]].get(relation)
                name, link, _ = first["triple"]
                of = f"{link} of {'film ' if link == 'director' and rng.random() < 0.5 else ''}"
                question = rng.choice(questions).format(of=of + _as_asked(name, rng))
                if fact is None or question.casefold() in seen:
                    continue
                seen.add(question.casefold())
                hops = [first, fact.hop(last.format(name=fact.name))]
                yield _row(question, fact.value, "compositional", hops, row["candidates"])


def _is_chain(first: dict[str, Any], second: dict[str, Any]) -> bool:
    if "triple" not in first or "triple" not in second:
        return False
    same = first["answer"].strip().casefold() == second["triple"][0].casefold()
    return same and first["triple"][1] in FIRST_HOPS


def releases(
    facts: dict[str, dict[str, Fact]], rng: random.Random, count: int
) -> Iterator[dict[str, Any]]:
    """Which of two films came out first."""
    dated = [found["publication date"] for found in facts.values() if "publication date" in found]
    dated = [fact for fact in dated if fact.value.isdigit()]
    for _ in range(count):
        a, b = rng.sample(dated, 2)
        if a.value == b.value:
            continue
        template, wanted = rng.choice(sorted(RELEASES.items()))
        winner = min(a, b, key=lambda f: int(f.value) if wanted == "earlier" else -int(f.value))
        asked = {fact: _as_asked(fact.name, rng) for fact in (a, b)}
        hops = [fact.hop(f"When was {fact.name} released?") for fact in (a, b)]
        question = template.format(a=asked[a], b=asked[b])
        others = rng.sample(dated, 8)
        candidates = [fact.paragraph_id for fact in (a, b, *others)]
        yield _row(question, asked[winner], "comparison", hops, candidates)


def _as_asked(name: str, rng: random.Random) -> str:
    """2WikiMultiHopQA writes half of its names in title case, wherever that leads."""
    return name.title() if rng.random() < 0.5 else name


def _row(
    question: str, answer: str, kind: str, hops: list[dict[str, Any]], candidates: Sequence[str]
) -> dict[str, Any]:
    supporting = list(dict.fromkeys(hop["paragraph_id"] for hop in hops))
    return {
        "id": f"template_{kind}_{question}",
        "dataset": "2wiki_template",
        "type": kind,
        "question": question,
        "answer": answer,
        "hops": hops,
        "supporting": supporting,
        "candidates": list(dict.fromkeys([*supporting, *candidates])),
    }
