"""Training files of every format as sequences of examples and mappings of passages."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

from onegen_model.checkpoint.presets import LINK_TOKEN
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data import pairs, published, triples
from onegen_model.finetune.data.examples import TRANSCRIPT, TrainingExample
from onegen_model.finetune.data.linking import Entities, LinkedTexts, LinkingExample
from onegen_model.finetune.data.published_linking import LinkedConversations
from onegen_model.finetune.data.records import Format, NamedPassageRecord, Shape
from onegen_model.jsonl import JsonLines, Numbered, Problem
from onegen_model.retrieval.corpus import EmbeddedCorpus
from onegen_model.retrieval.manifest import MANIFEST

logger = logging.getLogger(__name__)

Example = TrainingExample | LinkingExample

_PASSAGE = Shape[NamedPassageRecord](NamedPassageRecord)


class Records(Protocol):
    """The rules that turn records of a format into examples."""

    form: Format

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        """The problems of one record; a record without any can be used."""
        ...

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        """The line numbers of each example, from the records without problems."""
        ...

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> Example:
        """The example of a group of records; `name` is its id if the format has none."""
        ...


class Transcripts:
    """This project's own format."""

    form: Format = "transcripts"

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        return TRANSCRIPT.problems(plain)

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        return [[number] for number, _ in sound]

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> TrainingExample:
        return TRANSCRIPT.read(plain[0])


# Format -> sets of keys that only lines of this format have.
_SIGNS: dict[Format, tuple[frozenset[str], ...]] = {
    "transcripts": (frozenset({"segments"}),),
    "published": (frozenset({"messages"}),),
    "pairs": (
        frozenset({"query", "positive"}),
        frozenset({"anchor", "positive"}),
        frozenset({"query", "passage"}),
    ),
    "triples": (
        frozenset({"question", "answer", "passage"}),
        frozenset({"question", "answer", "source"}),
    ),
    "entity_linking": (frozenset({"text", "mentions"}),),
}


def likely_format(lines: JsonLines) -> Format | None:
    """The format of the first record; None if it fits none."""
    first = _first(lines)
    for form, signs in _SIGNS.items():
        if any(sign <= first.keys() for sign in signs):
            is_linking = form == "published" and LINK_TOKEN in json.dumps(first)
            return "entity_linking" if is_linking else form
    return None


def _first(lines: JsonLines) -> Mapping[str, Any]:
    return next((plain for plain in lines.scan() if not isinstance(plain, Problem)), {})


class Examples(Sequence[Example]):
    """Examples of a file, parsed on access."""

    def __init__(self, lines: JsonLines, records: Records) -> None:
        self.lines = lines
        self.records = records
        self._groups = records.groups(
            (number, plain)
            for number, plain in enumerate(lines.scan())
            if not isinstance(plain, Problem) and not next(records.problems(plain), None)
        )
        self.num_unused = len(lines) - sum(map(len, self._groups))

    def problems(self) -> Iterator[tuple[int, Problem]]:
        """Every problem of every line, with the line's number."""
        for number, plain in enumerate(self.lines.scan()):
            found = [plain] if isinstance(plain, Problem) else self.records.problems(plain)
            yield from ((number, problem) for problem in found)

    def require_sound(self) -> "Examples":
        """Raise InvalidInputError for the first line with a problem."""
        # Most files have no unused line, and need no second pass.
        found = next(self.problems(), None) if self.num_unused else None
        if found is not None:
            number, problem = found
            advice = self.hint() or "correct it (`onegen data check` lists every problem)"
            raise InvalidInputError(f"{self.lines.where(number)}: {problem}; {advice}")
        if self.num_unused:
            logger.warning(
                "%d of %d lines are left out: no passage of their query has a high enough score",
                self.num_unused,
                len(self.lines),
            )
        if not len(self):
            raise InvalidInputError(
                f"{self.lines.path} holds no example; expected at least one; check the file"
            )
        return self

    def hint(self) -> str:
        """Advice if no line fits but the lines fit another format; otherwise ""."""
        likely = likely_format(self.lines)
        if len(self) or likely in (None, self.records.form):
            return ""
        return (
            f"the lines look like {likely}: try `format: {likely}` in a recipe, and "
            f"`--format {likely}` on the command line"
        )

    def where(self, index: int) -> str:
        """`file:line` of the first line of an example."""
        return self.lines.where(self._groups[index][0])

    def __len__(self) -> int:
        return len(self._groups)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name = self.where(index).rpartition(":")[2]
        return self.records.parse([self.lines[n] for n in self._groups[index]], name)


class PassageFile(Mapping[str, Passage]):
    """Passages by id, read from disk on access; each line has id, text, optionally title."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self._found: dict[str, int] = {}
        for number, plain in enumerate(lines):
            if problem := next(_PASSAGE.problems(plain), None):
                raise InvalidInputError(f"{lines.where(number)}: {problem}; correct the line")
            if (name := str(plain["id"])) in self._found:
                raise InvalidInputError(
                    f"{lines.where(number)}: id {name!r} is in "
                    f"{lines.where(self._found[name])} already; expected each id once; remove one"
                )
            self._found[name] = number

    def __getitem__(self, name: str) -> Passage:
        plain = self._lines[self._found[name]]
        return Passage(name, plain["text"], plain.get("title", ""))

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@dataclass(frozen=True, slots=True)
class Data:
    """The examples and the corpus of a run."""

    examples: Examples
    passages: Mapping[str, Passage]


def open_data(form: Format, train: Path, passages: Path | None) -> Data:
    """Raises InvalidInputError where a file is missing or its corpus is malformed."""
    records: Records
    corpus: Mapping[str, Passage]
    lines = JsonLines(train)
    if form == "published":
        file = _required(passages, "the documents of train.jsonl")
        corpus = documents = published.Documents(JsonLines(file))
        records = published.Conversations(documents)
    elif form == "entity_linking":
        corpus = load_entities(_required(passages, "the entities that mentions link to"))
        is_published = "messages" in _first(lines)
        records = LinkedConversations(corpus) if is_published else LinkedTexts(corpus)
    else:
        corpus = load_passages(passages) if passages else {}
        records = Transcripts()
        if form != "transcripts":
            records = pairs.Pairs() if form == "pairs" else triples.Triples(corpus)
    return Data(Examples(lines, records), corpus)


def _required(passages: Path | None, what: str) -> Path:
    if passages is None:
        raise InvalidInputError(f"No passages; expected {what}; name the file")
    return passages


def load_examples(path: Path) -> Examples:
    """Transcripts; an error names line and field."""
    return Examples(JsonLines(path), Transcripts()).require_sound()


def load_passages(path: Path) -> Mapping[str, Passage]:
    """Passages by id, from a file, or from an index (a folder)."""
    if not path.is_dir():
        return PassageFile(JsonLines(path))
    corpus = EmbeddedCorpus.open(path)
    return {passage.id: passage for some, _ in corpus.batches() for passage in some}


def load_entities(path: Path) -> Mapping[str, Passage]:
    """Entities by id, from a file, a published db.jsonl, or an index (a folder)."""
    if path.is_dir():
        return load_passages(path)
    lines = JsonLines(path)
    is_published = "messages" in _first(lines)
    return published.Documents(lines) if is_published else Entities(lines)


def content_file(path: Path) -> Path:
    """The file whose digest is that of training data: of an index it is the manifest, which names
    the content of all files.
    """
    return path / MANIFEST if path.is_dir() else path
