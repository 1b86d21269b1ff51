"""Checks of training data before a run: unusable examples, and lengths in tokens."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch.utils.data import Dataset

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.collator import Collator, TooLongError
from onegen_model.finetune.data.datasets import Data, Example, Examples
from onegen_model.finetune.data.examples import RetrievalTarget
from onegen_model.finetune.data.linking import LinkingExample
from onegen_model.jsonl import Problem

logger = logging.getLogger(__name__)


class Subset(Dataset[Example]):
    """Some examples of a file, in its order."""

    def __init__(self, examples: Examples, numbers: Sequence[int]) -> None:
        self._examples = examples
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Example:
        return self._examples[self._numbers[index]]


@dataclass(slots=True)
class Measures:
    """Lengths in tokens of the transcripts measured so far, and of each passage by id."""

    collator: Collator
    transcripts: list[int] = field(default_factory=list)
    passages: dict[str, int] = field(default_factory=dict)

    def add(self, example: Example) -> None:
        """Raises InvalidInputError where an example cannot be used."""
        rendered = self.collator.render(example)
        for target in example.targets:
            refs = (*target.positives, *target.negatives)
            for passage in self.collator.find(example, refs):
                if passage.id not in self.passages:
                    length = len(self.collator.passage_ids(example, passage))
                    self.passages[passage.id] = length
        self.transcripts.append(len(rendered.ids))


def missing_passages(example: Example, passages: Mapping[str, Passage]) -> Iterator[Problem]:
    """The ids of an example that are not in the corpus."""
    kind = "entity" if isinstance(example, LinkingExample) else "passage"
    for where, target in _named_targets(example):
        for name in ("positives", "negatives", "inserted"):
            for at, ref in enumerate(getattr(target, name)):
                if isinstance(ref, str) and ref not in passages:
                    what = f"no {kind} {ref!r} in the corpus; expected an id of it"
                    yield Problem(f"{where}.{name}[{at}]", what)


def _named_targets(example: Example) -> Iterator[tuple[str, RetrievalTarget]]:
    """The targets of an example, and where they stand in it."""
    if isinstance(example, LinkingExample):
        for number, target in enumerate(example.targets):
            yield f"mentions[{number}]", target
        return
    for number, segment in enumerate(example.segments):
        if segment.target is not None:
            yield f"segments[{number}].target", segment.target


def usable(data: Data, collator: Collator, on_truncation: Literal["error", "drop"]) -> Subset:
    """The examples that a run can use; raises InvalidInputError for one that it cannot.

    All examples are tokenised first: the number of steps depends on the dropped ones, and an error
    after hours of training would recur at the same example.
    """
    examples = data.examples.require_sound()
    measures = Measures(collator)
    kept = []
    for number in range(len(examples)):
        example = examples[number]
        if problem := next(missing_passages(example, data.passages), None):
            raise InvalidInputError(
                f"{examples.where(number)}: example {example.id!r}: {problem}; add the passage or "
                "correct the example"
            )
        try:
            measures.add(example)
        except InvalidInputError as error:
            if isinstance(error, TooLongError) and on_truncation == "drop":
                continue
            raise InvalidInputError(f"{examples.where(number)}: {error}") from error
        kept.append(number)
    if dropped := len(examples) - len(kept):
        logger.warning("%d of %d examples are too long and are left out", dropped, len(examples))
    if not kept:
        raise InvalidInputError(
            f"All {len(examples)} examples of {examples.lines.path} are too long; expected some "
            "that fit; raise collator.max_length or max_passage_tokens"
        )
    return Subset(examples, kept)


@dataclass(frozen=True, slots=True)
class Survey:
    """What `survey` found; unused lines belong to no example.

    `problems` are the first of `num_problems`; `hint` names the format that the lines look like,
    if that is another one; lengths are in tokens.
    """

    num_lines: int
    num_unused: int
    num_examples: int
    num_queries: int
    num_too_long: int
    num_problems: int
    problems: tuple[str, ...]
    hint: str
    transcripts: tuple[int, ...]
    passages: tuple[int, ...]


def survey(data: Data, collator: Collator, *, limit: int, on_truncation: str) -> Survey:
    """Check all lines and examples; with "drop", an example that is too long is no problem."""
    examples, lines = data.examples, data.examples.lines
    problems = [f"{lines.where(number)}: {problem}" for number, problem in examples.problems()]
    measures = Measures(collator)
    too_long = queries = 0
    named: dict[str, int] = {}
    for number in range(len(examples)):
        example = examples[number]
        queries += len(example.targets)
        where = f"{examples.where(number)}: example {example.id!r}"
        if (first := named.setdefault(example.id, number)) != number:
            problems.append(
                f"{where}: its id is in {examples.where(first)} already; expected each id once"
            )
        if missing := [f"{where}: {p}" for p in missing_passages(example, data.passages)]:
            problems += missing
            continue
        try:
            measures.add(example)
        except TooLongError as error:
            too_long += 1
            if on_truncation == "error":
                problems.append(f"{examples.where(number)}: {error}")
        except InvalidInputError as error:
            problems.append(f"{examples.where(number)}: {error}")
    return Survey(
        num_lines=len(lines),
        num_unused=examples.num_unused,
        num_examples=len(examples),
        num_queries=queries,
        num_too_long=too_long,
        num_problems=len(problems),
        problems=tuple(problems[:limit]),
        hint=examples.hint(),
        transcripts=tuple(measures.transcripts),
        passages=tuple(measures.passages.values()),
    )
