"""Questions by rules, in English: from plain sentences that state one fact, tables and lists.

The rules write few questions, and dull ones; what they write is grammatical where the sentence is
plain. They need no model.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from onegen_model.events import Passage
from onegen_model.synthesis.candidates import Candidate

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n+")
_PRONOUNS = re.compile(
    r"(?:It|They|He|She|We|You|I|This|That|These|Those|There|What|Who|Which|Whoever|Both|Some|Most|"
    r"Nobody|Everybody|Everyone|Anybody|Here|Then|If|When|After|Before|In|On|At|Up|For|With|From|By|"
    r"No|One|Of|To|As|But|And|Or|So|Afterwards|Its|Their|His|Her)\b"
)
# A subject with one of these is a clause.
_CLAUSE = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|may|must|can|will|which|that|who|whose|and|takes?|goes|"
    r"where|when|if|but|not)\b"
)
_DETERMINER = re.compile(r"(?:The|A|An|Every|Each|All|Our|New|Old)\b")
_ONES = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
_TENS = "sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_WORD = rf"(?:{_TENS}|{_ONES}|hundred|thousand|million)"
_NUMBER = rf"(?:\d[\d.,]*\d|\d|{_WORD}(?:[ -](?:and )?{_WORD})*)"
_TIME = r"(?:minutes?|hours?|days?|nights?|weeks?|months?|years?)"
_MONEY = r"(?:[$€£] ?\d[\d.,]*\d|[$€£] ?\d)"
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = rf"(?:\d{{1,2}} (?:{_MONTH}) \d{{4}}|(?:{_MONTH}) \d{{1,2}},? \d{{4}}|\d{{4}})"
_DAY = (
    rf"(?:the )?(?:[a-z]+ )?(?:[A-Z]?[a-z]*day|{_MONTH}|week|night|morning|month)s?"
    r"(?: of [a-z ]+)?"
)
_NAME = r"(?:[A-Z][\w'-]+(?: (?:of |the )?[A-Z][\w'-]+){1,3})"
_S = r"^(?P<subject>[A-Z][\w'-]*(?: [\w'-]+){0,6}?)"
_THE = r"^(?P<subject>The [a-z][\w' -]{2,40}?)"
_BE = r"(?P<be>is|are|was|were)"
_VERB = (
    r"(?P<verb>kept|held|built|sent|paid|given out|handed out|found|made|run|led|written|known|"
    r"stored|[a-z]+ed)"
)
_END = r"(?=[.,;:]|$| and | or )"
# Behind one of several, which is half an answer.
_NOT_OF_SEVERAL = r"(?! (?:and|or) (?:by |on |in |at )?(?:{another})\b)"
_ONE_NAME = _NOT_OF_SEVERAL.format(another=r"(?:the )?[A-Z][\w'-]*") + _END
_ONE_DAY = _NOT_OF_SEVERAL.format(another=_DAY) + _END
_ONE_PLACE = _NOT_OF_SEVERAL.format(another="the|an?|room") + _END
_UNIT = rf"(?!{_WORD}\b)[a-z]+(?: an? [a-z]+)?"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern of a sentence, and the question that its groups fill."""

    pattern: re.Pattern[str]
    question: str


def _rule(start: str, answer: str, question: str, end: str = _END) -> _Rule:
    return _Rule(re.compile(rf"{start}(?P<answer>{answer}){end}"), question)


# The start of a sentence up to the answer, the answer, and the question.
_RULES = (
    _rule(rf"{_S} {_BE} (?:called|named) ", r"[\w' -]{2,50}?", "What {be} {subject} called?"),
    _rule(rf"{_S},? \(?(?:was )?born (?:on )?", _DATE, "When was {subject} born?", ""),
    _rule(rf"{_S} was born in ", rf"{_NAME}|[A-Z][\w-]+", "Where was {subject} born?"),
    _rule(
        rf"{_S} (?:may )?costs? ",
        rf"(?:up to )?(?:{_MONEY}|{_NUMBER} {_UNIT})",
        "How much {do} {subject} cost?",
    ),
    _rule(rf"{_S} lasts? (?:for )?", rf"{_NUMBER} {_TIME}", "How long {do} {subject} last?"),
    _rule(
        rf"{_S} {_BE} (?P<kept>valid|kept|lent|open) for ",
        rf"(?:at most )?{_NUMBER} {_TIME}",
        "For how long {be} {subject} {kept}?",
    ),
    _rule(
        rf"{_S} (?:has|have) ",
        _NUMBER,
        "How many {unit} {do} {subject} have?",
        rf" (?P<unit>[a-z][\w-]*(?: [a-z][\w-]*s)?){_END}",
    ),
    _rule(
        rf"{_S} {_BE} {_VERB} (?:[a-z -]{{2,30}} )?by (?:the [a-z ]{{3,30}}, )?",
        _NAME,
        "By whom {be} {subject} {verb}?",
        _ONE_NAME,
    ),
    _rule(rf"{_S} {_BE} {_VERB} ", rf"every {_NUMBER} {_TIME}", "How often {be} {subject} {verb}?"),
    _rule(
        rf"{_S} {_BE} {_VERB} (?:on )?",
        rf"(?:every )?{_DAY}",
        "When {be} {subject} {verb}?",
        _ONE_DAY,
    ),
    _rule(
        rf"{_S} {_BE} {_VERB} (?:in|at) ",
        r"the [\w' -]{3,40}?",
        "Where {be} {subject} {verb}?",
        _ONE_PLACE,
    ),
    _rule(
        rf"{_S} {_BE} (?:in|on) ",
        r"(?:the|room) [\w' -]{2,40}?",
        "Where {be} {subject}?",
        _ONE_PLACE,
    ),
    _rule(
        rf"{_S} (?:stands?|lies|lie|hangs?) (?:in|at|on) ",
        r"the [\w' -]{3,40}?",
        "Where {are} {subject}?",
        _ONE_PLACE,
    ),
    _rule(rf"{_THE} is ", _NAME, "Who or what is {subject}?", _ONE_NAME),
    _rule(rf"{_THE} (?:is|was) ", r"an? [\w' -]{5,60}?", "What is {subject}?", r"\."),
)


class RuleWriter:
    """Writes questions by rules."""

    name = "rules"

    def write(self, passage: Passage) -> Sequence[Candidate]:
        """In the order of the text; none where no sentence fits a rule."""
        sources: tuple[Callable[[Passage], Iterator[tuple[str, str]]], ...] = (_sentences, _table)
        pairs = dict.fromkeys(pair for source in sources for pair in source(passage))
        return [Candidate(question, answer, passage) for question, answer in pairs]


def _sentences(passage: Passage) -> Iterator[tuple[str, str]]:
    for sentence in _SENTENCE.split(passage.text):
        plain = sentence.strip()
        for rule in _RULES:
            found = rule.pattern.match(plain)
            if found and _is_subject(found["subject"]):
                yield _filled(rule, found, passage.text), found["answer"].strip()
                break


def _is_subject(text: str) -> bool:
    return not _PRONOUNS.match(text) and not _CLAUSE.search(text)


def _filled(rule: _Rule, found: re.Match[str], text: str) -> str:
    groups = found.groupdict(default="")
    subject = _inside_a_sentence(groups["subject"], text)
    be = groups.get("be") or "is"
    is_plural = be in ("are", "were") or _is_plural(groups["subject"])
    values = {**groups, "subject": subject, "be": be}
    filled = rule.question.format(
        **values, are="are" if is_plural else "is", do="do" if is_plural else "does"
    )
    return " ".join(filled.replace(" ?", "?").split())


def _is_plural(subject: str) -> bool:
    last = subject.rpartition(" ")[2]
    is_name = " " in subject and last[0].isupper()
    return last.endswith("s") and not last.endswith("ss") and not is_name


def _inside_a_sentence(subject: str, text: str) -> str:
    """A subject with a small first letter, unless it is a name."""
    first, _, rest = subject.partition(" ")
    is_name = bool(rest) and rest[0].isupper() and not _DETERMINER.match(first)
    small = first[0].lower() + first[1:]
    known = _DETERMINER.match(first) or re.search(rf"\b{re.escape(small)}\b", text)
    if is_name or not (known or (first.endswith("s") and first[1:].islower())):
        return subject
    return f"{small} {rest}".strip()


_CELLS = re.compile(r"^\s*\|(.+)\|\s*$")
_RULE_LINE = re.compile(r"^[\s|:-]+$")


def _table(passage: Passage) -> Iterator[tuple[str, str]]:
    """What a Markdown table says of each row: "What is the price of the Dunlin?"."""
    lines = passage.text.splitlines()
    heads: list[str] = []
    for line, after in pairwise([*lines, ""]):
        cells = _cells(line)
        if cells and _RULE_LINE.match(after) and "-" in after:
            heads = cells
        elif not cells:
            heads = []
        elif heads and not _RULE_LINE.match(line) and len(cells) == len(heads):
            for head, cell in zip(heads[1:], cells[1:], strict=True):
                if head and cell and cells[0]:
                    yield f"What is the {_small(head)} of {cells[0]}?", cell


def _cells(line: str) -> list[str]:
    found = _CELLS.match(line)
    return [cell.strip(" *`") for cell in found[1].split("|")] if found else []


def _small(head: str) -> str:
    return head if head[1:2].isupper() else head[:1].lower() + head[1:]
