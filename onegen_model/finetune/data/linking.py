"""Texts with linked mentions, one JSON object a line; the corpus holds the entities.

{"id": "d1", "text": "Adams wrote the Guide.", "annotation": "exhaustive", "mentions": [
    {"start": 0, "end": 5, "entity_id": "Q42", "negatives": ["Q11806", "Q11816"]}]}

Offsets are characters. The text is the prompt, and is written again with each mention marked. With
`"annotation": "partial"` only some mentions of the text are marked: what may be the name of another
one is then no target, so that nothing is learnt from its being unmarked. A mention without an
`entity_id` trains the marking alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Strict, model_validator

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.examples import RetrievalTarget
from onegen_model.finetune.data.records import (
    ABSENT,
    Expected,
    Format,
    Name,
    Record,
    Shape,
    SomeText,
    Text,
    problem_at,
)
from onegen_model.jsonl import JsonLines, Numbered, Problem
from onegen_model.linking.entities import entity_passage
from onegen_model.transcript.linking_renderer import NO_TOKEN, LinkingRenderer, MarkedText
from onegen_model.transcript.renderer import Rendered
from onegen_model.transcript.text_tokens import Range, TextTokens

# One in so many of the tokens that cannot begin a name is a target.
_EASY_SHARE = 2

Offset = Annotated[int, Strict(), Expected("a number of characters")]


class MentionRecord(Record):
    """A mention; `negatives` are entities that it is not."""

    start: Offset = ABSENT
    end: Offset = ABSENT
    surface: Text | None = None
    entity_id: Name | None = None
    negatives: Annotated[tuple[Name, ...], Expected("a list of entity ids")] = ()


def _in_order(mentions: tuple[MentionRecord, ...]) -> tuple[MentionRecord, ...]:
    return tuple(sorted(mentions, key=lambda one: one.start))


class LinkedTextRecord(Record):
    """A line of a training file."""

    id: Name = ABSENT
    text: SomeText = ABSENT
    mentions: Annotated[
        tuple[MentionRecord, ...], AfterValidator(_in_order), Expected("a list of mentions")
    ] = ABSENT
    annotation: Annotated[Literal["exhaustive", "partial"], Expected("exhaustive or partial")] = (
        "exhaustive"
    )

    @model_validator(mode="after")
    def _inside_the_text(self) -> "LinkedTextRecord":
        done = 0
        for number, one in enumerate(self.mentions):
            where = f"mentions[{number}]"
            if not 0 <= one.start < one.end <= len(self.text):
                expected = f"expected 0 <= start < end <= {len(self.text)}"
                raise problem_at(where, f"{one.start} to {one.end}; {expected}")
            if one.start < done:
                raise problem_at(where, "overlaps the mention before it; expected none to")
            found = self.text[one.start : one.end]
            if one.surface is not None and one.surface != found:
                raise problem_at(f"{where}.surface", f"{one.surface!r}; the text has {found!r}")
            if found != found.strip():
                raise problem_at(where, f"{found!r}; expected no white space around it")
            done = one.end
        return self


@dataclass(frozen=True, slots=True)
class LinkingExample:
    """A text whose mentions, (start, end) in characters, each have a target.

    `is_exhaustive`: every mention of the text is among them.
    """

    id: str
    text: str
    mentions: tuple[Range, ...]
    targets: tuple[RetrievalTarget, ...]
    is_exhaustive: bool = True

    @property
    def writes(self) -> bool:
        """Whether the written text is a target."""
        return True


_TEXT = Shape[LinkedTextRecord](LinkedTextRecord)


class LinkedTexts:
    """The records of a training file."""

    form: Format = "entity_linking"

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        return _TEXT.problems(plain)

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        return [[number] for number, _ in sound]

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> LinkingExample:
        record = _TEXT.read(plain[0])
        return LinkingExample(
            record.id,
            record.text,
            tuple((one.start, one.end) for one in record.mentions),
            tuple(
                RetrievalTarget((one.entity_id,) if one.entity_id else (), one.negatives)
                for one in record.mentions
            ),
            record.annotation == "exhaustive",
        )


class Entities(Mapping[str, Passage]):
    """Entities by id, read from disk on access; each line has id, name, optionally description."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self._found: dict[str, int] = {}
        for number, plain in enumerate(lines):
            try:
                entity = entity_passage(plain)
            except InvalidInputError as error:
                raise InvalidInputError(f"{lines.where(number)}: {error}") from error
            if (first := self._found.setdefault(entity.id, number)) != number:
                raise InvalidInputError(
                    f"{lines.where(number)}: id {entity.id!r} is in {lines.where(first)} already; "
                    "expected each id once; remove one"
                )

    def __getitem__(self, name: str) -> Passage:
        return entity_passage(self._lines[self._found[name]])

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def render_linking(example: LinkingExample, renderer: LinkingRenderer) -> Rendered:
    """The transcript of an example; `written` marks its targets.

    Raises InvalidInputError where a mention cannot be marked.
    """
    tokens = renderer.cut(renderer.tokens(example.text), example.mentions)
    mentions = [_range_of(mention, tokens, example) for mention in example.mentions]
    marked = renderer.marked(tokens, mentions)
    prompt = renderer.prompt_ids(example.text)
    learnt = _learnt(tokens, marked, mentions, example.is_exhaustive)
    return Rendered(
        (*prompt, *marked.ids, renderer.end_id),
        (*[False] * len(prompt), *learnt, True),
        tuple(len(prompt) + link for link in marked.links),
    )


def _range_of(mention: Range, tokens: TextTokens, example: LinkingExample) -> Range:
    found = tokens.find(mention)
    if found is None:
        surface = example.text[slice(*mention)]
        raise InvalidInputError(
            f"Example {example.id!r}: the mention {surface!r} at {mention[0]} begins or ends "
            "inside a character; expected whole ones; correct its offsets"
        )
    return found


def _learnt(
    tokens: TextTokens, marked: MarkedText, mentions: Sequence[Range], is_exhaustive: bool
) -> list[bool]:
    """Which ids are targets: the tags, the marked mentions, and of the text around them what looks
    like the beginning of a name (only where every mention is marked) and a share of the rest, since
    copying is learnt from few."""
    inside = {at for first, last in mentions for at in range(first, last)}

    def is_learnt(at: int, owner: int) -> bool:
        if owner == NO_TOKEN or owner in inside:
            return True
        if _may_begin_name(tokens, owner):
            return is_exhaustive
        # Behind a mention the place in the text is hardest to find again.
        return marked.tokens[at - 1] == NO_TOKEN or owner % _EASY_SHARE == 0

    return [is_learnt(at, owner) for at, owner in enumerate(marked.tokens)]


def _may_begin_name(tokens: TextTokens, at: int) -> bool:
    """Scripts without capitals have no sign of a name, so that there any letter may begin one."""
    start, end = tokens.spans[at]
    first = tokens.text[start:end].lstrip()[:1]
    return first.isdigit() or (first.isalpha() and not first.islower())
