"""Question sets to transcripts: pure functions from a row of the data to written text.

A hop is written as a sub-question; behind its passages stands the short answer. Comparisons are
spelled out in one line before the answer frame, because a small model cannot compare in its head.
"""

import re
from itertools import pairwise
from typing import Any

LATER = re.compile(r"\b(later|younger|youngest|more recently|last)\b")
EARLIER = re.compile(r"\b(first|earlier|older|oldest)\b")
YEAR = re.compile(r"\b(\d{3,4})\b")


def hop_lines(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(sub-question, short answer) of each hop; HotpotQA has none, so its titles serve."""
    hops = row["hops"]
    if all(hop.get("question") for hop in hops):
        return [(hop["question"].strip(), hop["answer"].strip()) for hop in hops]
    titles = [plain_title(hop["title"]) for hop in hops]
    answers = (
        [*titles[1:], row["answer"]] if row.get("type") == "bridge" else ["Found."] * len(hops)
    )
    return [(f"What is known about {t}?", a) for t, a in zip(titles, answers, strict=True)]


def plain_title(title: str) -> str:
    """A title without its disambiguation, as it would stand in a text."""
    return re.sub(r" \([^)]*\)$", "", title)


def reasoning_line(row: dict[str, Any]) -> str:
    """The comparison behind the answer, written out; empty where none can be trusted."""
    if "comparison" not in row.get("type", "") or not all("triple" in hop for hop in row["hops"]):
        return ""
    hops = row["hops"]
    if len(hops) not in (2, 4):
        return ""
    names = [hop["triple"][0] for hop in hops[:2]]
    values = [hop["answer"].strip() for hop in hops[-2:]]
    if row["answer"] in ("yes", "no"):
        same = values[0].casefold() == values[1].casefold()
        if same != (row["answer"] == "yes"):
            return ""
        return f"{values[0]} {'=' if same else '!='} {values[1]}"
    return _order_line(row, names, values)


def _order_line(row: dict[str, Any], names: list[str], values: list[str]) -> str:
    years = [YEAR.findall(value) for value in values]
    if not all(years):
        return ""
    pairs = sorted((int(found[-1]), name) for found, name in zip(years, names, strict=True))
    later = bool(LATER.search(row["question"]))
    if later == bool(EARLIER.search(row["question"])) or pairs[0][0] == pairs[1][0]:
        return ""
    winner = pairs[-1 if later else 0][1]
    if _folded(winner) not in _folded(row["answer"]) and _folded(row["answer"]) not in _folded(
        winner
    ):
        return ""
    return f"{pairs[0][1]} {pairs[0][0]} < {pairs[1][1]} {pairs[1][0]}"


def _folded(text: str) -> str:
    return re.sub(r"\W+", " ", plain_title(text).casefold()).strip()


def written_texts(row: dict[str, Any]) -> list[str]:
    """What the model writes: one text before each retrieval, and the last one.

    Spaces stand where they would in prose: a copied name keeps its tokens.
    """
    lines = hop_lines(row)
    texts = [lines[0][0]]
    texts += [f" {answer}\n{question}" for (_, answer), (question, _) in pairwise(lines)]
    reasoning = reasoning_line(row)
    end = f" {lines[-1][1]}\n" + (f"{reasoning}\n" if reasoning else "")
    return [*texts, f"{end}<FINAL-ANSWER> {row['answer'].strip()}</FINAL-ANSWER>"]
