"""Question sets to transcripts: pure functions from a row of the data to written text.

A hop is written as a sub-question; the short answer follows its passages. Comparisons are
spelled out in one line before the answer frame, because a small model cannot compare in its head.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LATER = re.compile(r"\b(later|younger|youngest|more recently|last)\b")
EARLIER = re.compile(r"\b(first|earlier|older|oldest)\b")
YEAR = re.compile(r"\b(\d{3,4})\b")
# Before a question mark, a comma and the endings of possessives and contractions; doubled spaces.
_STRAY = re.compile(r"\s+(?=[?,]|['\u2019](?:s|re|ll|ve|d|m|t)?(?:[\s?,]|$))|(?<=\s)\s+")


def hop_lines(row: dict[str, Any], leads: dict[str, str]) -> list[tuple[str, str]]:
    """(sub-question, short answer) of each hop; HotpotQA has none, so its titles serve.

    `leads` holds the first sentence of a paragraph, by id. An empty sub-question means the
    question itself, because nothing else is known before the first passage.
    """
    hops = row["hops"]
    if all(hop.get("question") for hop in hops):
        return [(tidy(hop["question"]), hop["answer"].strip()) for hop in hops]
    titles = [plain_title(hop["title"]) for hop in hops]
    if row.get("type") == "bridge":
        answers = [*titles[1:], row["answer"]]
    else:
        answers = [leads[hop["paragraph_id"]] for hop in hops]
    asked = [f"What is known about {title}?" for title in titles]
    if row.get("type") == "bridge":
        # "What is known about Ada?" was answered with "Ada": the question says what is to be read.
        asked[-1] = f"{titles[-1]}: {row['question'].strip()}"
    if _folded(titles[0]) not in _folded(row["question"]):
        asked[0] = ""
    return list(zip(asked, answers, strict=True))


def tidy(question: str) -> str:
    """A sub-question as one would write it: MuSiQue has them in small letters, with stray spaces,
    and without a question mark.
    """
    plain = _STRAY.sub("", question.strip())
    plain = plain[:1].upper() + plain[1:]
    return plain if plain.endswith("?") else f"{plain.rstrip(' .,')}?"


def lead(text: str, most: int = 20) -> str:
    """The first sentence without text in brackets, at most `most` words of it."""
    plain = re.sub(r"\s*\([^()]*\)", "", text)
    first = re.split(r"(?<=[a-z0-9)\"])\.\s", plain, maxsplit=1)[0]
    return " ".join(first.split()[:most]).rstrip(" .,;")


def plain_title(title: str) -> str:
    """A title without its disambiguation, as a text would have it."""
    return re.sub(r" \([^)]*\)$", "", title)


def reasoning_line(row: dict[str, Any]) -> str:
    """The comparison that leads to the answer, written out; empty if there is no reliable one.

    A small model finds what follows a text more easily than what precedes it. So a value follows
    its name, and its letter follows the value; of the two that are compared the requested one comes
    first, and its letter leads back to the name.
    """
    if "comparison" not in row.get("type", "") or not all("triple" in hop for hop in row["hops"]):
        return ""
    hops = row["hops"]
    if len(hops) not in (2, 4):
        return ""
    if "longer" in row["question"].casefold():
        return _lifespan_line(row)
    names = [hop["triple"][0] for hop in hops[:2]]
    values = [hop["answer"].strip() for hop in hops[-2:]]
    if row["answer"] in ("yes", "no"):
        same = values[0].casefold() == values[1].casefold()
        if same != (row["answer"] == "yes"):
            return ""
        return f"{values[0]}, {values[1]}: {'the same' if same else 'not the same'}"
    years = [YEAR.findall(value) for value in values]
    later = bool(LATER.search(row["question"]))
    if not all(years) or later == bool(EARLIER.search(row["question"])):
        return ""
    compared = [
        _Compared(label, name, int(found[-1]), found[-1])
        for label, name, found in zip("AB", names, years, strict=True)
    ]
    return _verdict(row, compared, "Later" if later else "Earlier")


def _lifespan_line(row: dict[str, Any]) -> str:
    spans: dict[str, dict[str, int]] = {}
    for hop in row["hops"]:
        years = YEAR.findall(hop["answer"])
        if hop["triple"][1] in ("date of birth", "date of death") and years:
            spans.setdefault(hop["triple"][0], {})[hop["triple"][1][8:]] = int(years[-1])
    if len(spans) != 2 or any(len(span) != 2 for span in spans.values()):
        return ""
    compared = []
    for label, (name, span) in zip("AB", spans.items(), strict=True):
        age = span["death"] - span["birth"]
        shown = f"{span['death']} - {span['birth']} = {age}"
        compared.append(_Compared(label, name, age, shown))
    return _verdict(row, compared, "Longer")


@dataclass(frozen=True, slots=True)
class _Compared:
    """`shown` ends with `value`."""

    label: str
    name: str
    value: int
    shown: str


def _verdict(row: dict[str, Any], compared: list[_Compared], wanted: str) -> str:
    small, large = sorted(compared, key=lambda one: one.value)
    won, sign, lost = (small, "<", large) if wanted == "Earlier" else (large, ">", small)
    answer, name = _folded(row["answer"]), _folded(won.name)
    if small.value == large.value or (name not in answer and answer not in name):
        return ""
    listed = ", ".join(f"{one.label} = {one.name} {one.shown} {one.label}" for one in compared)
    order = f"{won.value} {won.label} {sign} {lost.value} {lost.label}"
    return f"{listed}. {wanted}: {order}, so {won.label} = {won.name}"


def _folded(text: str) -> str:
    return re.sub(r"\W+", " ", plain_title(text).casefold()).strip()


def written_texts(row: dict[str, Any], leads: dict[str, str]) -> list[str]:
    """The written texts: one before each retrieval, and the last one.

    Spaces are placed as in prose, so that a copied name keeps its tokens.
    """
    lines = hop_lines(row, leads)
    texts = [lines[0][0]]
    texts += [f" {answer}\n{question}" for (_, answer), (question, _) in pairwise(lines)]
    reasoning = reasoning_line(row)
    end = f" {lines[-1][1]}\n" + (f"{reasoning}\n" if reasoning else "")
    return [*texts, f"{end}<FINAL-ANSWER> {row['answer'].strip()}</FINAL-ANSWER>"]
