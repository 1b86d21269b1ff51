"""The sources of an answer: which passages it has read, and where they stand."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onegen_model.events import ScoredPassage
from onegen_model.places import Range, place_of


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that was inserted, and its place in a file as far as it is known.

    `source` is the path of the file, relative to the folder that the index lies in; "" without
    one. `pages` and `lines` are the first and the last one, from 1; `span` is the half-open range
    of characters in the document's text. `score` is that of the best retrieval of the passage.
    """

    passage_id: str
    title: str = ""
    source: str = ""
    pages: Range | None = None
    lines: Range | None = None
    span: Range | None = None
    score: float = 0.0

    @property
    def label(self) -> str:
        """File and place for readers: "handbook.pdf, page 3", "notes.md, lines 10-14"."""
        if not self.source:
            return self.passage_id
        for unit, place in (("page", self.pages), ("line", self.lines)):
            if place is not None:
                return f"{self.source}, {_numbered(unit, place)}"
        if self.span is not None:
            return f"{self.source}, characters {self.span[0]}-{self.span[1]}"
        named = self.passage_id.startswith(self.source)
        return self.passage_id if named else f"{self.source}, {self.passage_id}"

    def path(self, root: str | Path = ".") -> Path | None:
        """The file, if it exists; `root` is the folder that the index lies in."""
        if not self.source or self.source.startswith(("//", "\\\\")):  # on another computer
            return None
        try:
            file = Path(root, self.source).resolve()
            return file if file.is_file() else None
        except (OSError, ValueError):  # The name may come from another system.
            return None


def cite(found: Iterable[ScoredPassage]) -> tuple[Citation, ...]:
    """A citation for each passage once, in order of its first appearance."""
    citations: dict[str, Citation] = {}
    for scored in found:
        new = _citation(scored)
        known = citations.setdefault(new.passage_id, new)
        if known.score < new.score:
            citations[new.passage_id] = new
    return tuple(citations.values())


def _citation(scored: ScoredPassage) -> Citation:
    passage, place = scored.passage, place_of(scored.passage)
    if place is None:
        return Citation(passage.id, passage.title, score=scored.score)
    return Citation(
        passage.id, passage.title, place.source, place.pages, place.lines, place.span, scored.score
    )


def _numbered(unit: str, place: Range) -> str:
    first, last = place
    return f"{unit} {first}" if first == last else f"{unit}s {first}-{last}"
