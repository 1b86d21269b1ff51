"""Answer metrics with the normalisation of the official HotpotQA evaluation."""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = {"yes", "no", "noanswer"}


def normalise_answer(text: str) -> str:
    """Lower-case text without punctuation, articles and double spaces, removed in this order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, gold: str) -> bool:
    """Equality after normalisation."""
    return normalise_answer(answer) == normalise_answer(gold)


def f1(answer: str, gold: str) -> float:
    """Harmonic mean of token precision and recall; 0 for a yes or no that differs."""
    ours, theirs = normalise_answer(answer), normalise_answer(gold)
    if ours != theirs and (ours in _CLOSED or theirs in _CLOSED):
        return 0.0
    common = sum((Counter(ours.split()) & Counter(theirs.split())).values())
    if not common:
        return 0.0
    precision, recall = common / len(ours.split()), common / len(theirs.split())
    return 2 * precision * recall / (precision + recall)


def substring_match(answer: str, gold: str) -> bool:
    """Whether the normalised answer contains the normalised gold answer."""
    wanted = normalise_answer(gold)
    return bool(wanted) and wanted in normalise_answer(answer)
