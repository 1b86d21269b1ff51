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
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, Strict, model_validator

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

# Keys of which so much is the same differ by a slip.
_ALIKE = 0.8

Offset = Annotated[int, Strict(), Expected("a number of characters")]
EntityId = Annotated[Name, Field(min_length=1), Expected("the id of an entity")]


def _require_no_slip(plain: Any, kind: type[Record], at: str = "") -> Any:
    """The plain record; raises an error for a key that is nearly an optional one, whose value
    would be left out. Other unknown keys are allowed."""
    unknown = [key for key in plain if key not in kind.model_fields]
    for key in unknown:
        missing = [name for name in kind.model_fields if name not in plain]
        if near := get_close_matches(key, missing, 1, _ALIKE):
            raise problem_at(at + key, f"unknown; did you mean {near[0]!r}?")
    return plain


class MentionRecord(Record):
    """A mention; `negatives` are entities that it is not."""

    start: Offset = ABSENT
    end: Offset = ABSENT
    surface: Text | None = None
    entity_id: EntityId | None = None
    negatives: Annotated[tuple[EntityId, ...], Expected("a list of entity ids")] = ()
    _number: int = PrivateAttr(0)

    @property
    def number(self) -> int:
        """Its place in the list of the file."""
        return self._number

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, plain: Any) -> Any:
        return _require_no_slip(plain, cls, ".") if isinstance(plain, dict) else plain

    @model_validator(mode="after")
    def _is_no_other(self) -> "MentionRecord":
        if self.entity_id is not None and self.entity_id in self.negatives:
            at = self.negatives.index(self.entity_id)
            what = f"{self.entity_id!r} is the entity of this mention; expected others; leave it"
            raise problem_at(f".negatives[{at}]", f"{what} out")
        return self


def _in_order(mentions: tuple[MentionRecord, ...]) -> tuple[MentionRecord, ...]:
    for number, one in enumerate(mentions):
        one._number = number
    return tuple(sorted(mentions, key=lambda one: one.start))


class LinkedTextRecord(Record):
    """A line of a training file; its mentions in order."""

    id: Name = ABSENT
    text: SomeText = ABSENT
    mentions: Annotated[
        tuple[MentionRecord, ...], AfterValidator(_in_order), Expected("a list of mentions")
    ] = ABSENT
    annotation: Annotated[Literal["exhaustive", "partial"], Expected("exhaustive or partial")] = (
        "exhaustive"
    )

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, plain: Any) -> Any:
        return _require_no_slip(plain, cls) if isinstance(plain, dict) else plain

    @model_validator(mode="after")
    def _inside_the_text(self) -> "LinkedTextRecord":
        done, before = 0, ""
        for one in self.mentions:
            where = f"mentions[{one.number}]"
            if not 0 <= one.start < one.end <= len(self.text):
                expected = f"expected 0 <= start < end <= {len(self.text)}"
                raise problem_at(where, f"{one.start} to {one.end}; {expected}")
            if one.start < done:
                raise problem_at(where, f"overlaps {before}; expected mentions side by side")
            found = self.text[one.start : one.end]
            if one.surface is not None and one.surface != found:
                raise problem_at(f"{where}.surface", f"{one.surface!r}; the text has {found!r}")
            if found != found.strip():
                raise problem_at(where, f"{found!r}; expected no white space around it")
            done, before = one.end, where
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
    """The records of a training file whose mentions name `entities`; None: any."""

    form: Format = "entity_linking"

    def __init__(self, entities: Mapping[str, Passage] | None = None) -> None:
        self._entities = entities

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        found = list(_TEXT.problems(plain))
        yield from found
        if found or self._entities is None:
            return
        for one in _TEXT.read(plain).mentions:
            named = {f".negatives[{at}]": other for at, other in enumerate(one.negatives)}
            if one.entity_id is not None:
                named[".entity_id"] = one.entity_id
            for field, name in named.items():
                if name not in self._entities:
                    what = f"no entity {name!r} in the corpus; expected an id of it"
                    yield Problem(f"mentions[{one.number}]{field}", what)

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
    try:
        tokens = renderer.cut(renderer.tokens(example.text), example.mentions)
        mentions = [_range_of(mention, tokens) for mention in example.mentions]
        prompt = renderer.prompt_ids(example.text)
    except InvalidInputError as error:
        raise InvalidInputError(f"Example {example.id!r}: {error}") from error
    marked = renderer.marked(tokens, mentions)
    learnt = _learnt(tokens, marked, mentions, example.is_exhaustive)
    if len(renderer.closing) > renderer.link_place + 1:
        # What follows the link token is forced, and never chosen.
        for link in marked.links:
            learnt[link + 1] = False
    return Rendered(
        (*prompt, *marked.ids, renderer.end_id),
        (*[False] * len(prompt), *learnt, True),
        tuple(len(prompt) + link for link in marked.links),
    )


def _range_of(mention: Range, tokens: TextTokens) -> Range:
    found = tokens.find(mention)
    if found is None:
        surface = tokens.text[slice(*mention)]
        raise InvalidInputError(
            f"the mention {surface!r} at {mention[0]} begins or ends inside a character that is "
            "made of several; expected whole ones; correct its offsets"
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
