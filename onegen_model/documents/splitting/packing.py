"""Packs the pieces of a document into passages, in order."""

from dataclasses import dataclass, field, replace

from onegen_model.documents.splitting.blocks import Block
from onegen_model.documents.splitting.cutting import Cutter
from onegen_model.documents.splitting.pieces import Piece
from onegen_model.documents.splitting.sections import Heading, Section
from onegen_model.documents.splitting.titles import Title, title_of

Path = tuple[Heading, ...]
# Headings without text take at most this share of the passage that they wait for.
_HEADINGS_SHARE = 2
# Sections of at most this share of a passage are packed together.
_SECTION_SHARE = 4
# A text of at most this share of a passage stays with the beginning of what it introduces.
_LEAD_SHARE = 5


@dataclass(frozen=True, slots=True)
class Group:
    """The pieces of a passage, with its title and the headings that lead to it."""

    title: str
    path: Path
    pieces: tuple[Piece, ...]


@dataclass(slots=True)
class Packer:
    """Fills the passages of one document. A passage belongs to the section that `open` has named.

    Each heading is in the title or in the text of a passage, and never is all of its text.
    """

    cutter: Cutter
    document_title: str
    groups: list[Group] = field(default_factory=list)
    _path: Path = ()
    _title: Title = field(default_factory=lambda: Title("", frozenset()))
    _full_room: int = 0
    _current: list[Piece] = field(default_factory=list)
    _used: int = 0
    _waiting: list[Piece] = field(default_factory=list)
    _shown: set[int] = field(default_factory=set)
    _opened: dict[Path, tuple[Title, int]] = field(default_factory=dict)

    def open(self, path: Path) -> None:
        """The next pieces belong to the section at the end of `path`."""
        self.flush()
        self._path = path
        if path not in self._opened:
            title = title_of(self.document_title, path, self.cutter.measure)
            self._opened[path] = title, self.cutter.measure.room(title.text)
        self._title, self._full_room = self._opened[path]

    def takes(self, section: Section, piece: Piece) -> bool:
        """Whether a section, as a piece, stays whole: it fits, and is small or has no parts."""
        is_small = piece.tokens <= self._full_room // _SECTION_SHARE
        return (is_small or not section.has_parts) and self._fits(piece)

    def _fits(self, piece: Piece) -> bool:
        if self._has_text():
            return piece.tokens <= self._full_room
        headings = self._current or self._headings_to_show()
        return piece.tokens + sum(one.tokens + 1 for one in headings) <= self._full_room

    def add_block(self, block: Block) -> None:
        """A block, cut where it is too long; a short text in front stays with the first part."""
        if not self._current:
            self._start()
        longest, is_lead = self._full_room, self._used <= self._full_room // _LEAD_SHARE
        room = longest if self._has_text() else longest - self._used
        pieces = self.cutter.cut(block, room)
        if len(pieces) > 1 and self._has_text() and is_lead:
            pieces = self.cutter.cut(block, longest - self._used)
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        """A piece that fits."""
        if self._has_text() and self._used + piece.tokens > self._full_room:
            self._emit()
        if not self._current:
            self._start()
        self._append(piece)

    def add_section(self, piece: Piece) -> None:
        """A section that fits; a small one shares its passage with its neighbours."""
        is_large = piece.tokens > self._full_room // _SECTION_SHARE
        if is_large:
            self.flush()
        self.add(piece)
        if is_large:
            self.flush()

    def add_heading(self, heading: Heading) -> None:
        """A heading without text of its own, which goes with its neighbours."""
        piece = self._piece_of(heading)
        if self._has_text() and self._used + piece.tokens > self._full_room:
            self._emit()
        if not self._current:
            self._start()
        self._append_heading(piece)

    def flush(self) -> None:
        """End the passage; headings without text wait for the next one."""
        if self._has_text():
            self._emit()
        elif self._current:
            self._waiting, self._current, self._used = self._current, [], 0

    def finish(self) -> list[Group]:
        """All groups; headings at the end go with the last one."""
        self.flush()
        if self._waiting and self.groups:
            last = self.groups.pop()
            self.groups.append(replace(last, pieces=(*last.pieces, *self._waiting)))
        elif self._waiting:
            self._current = self._waiting
            self._emit()
        return self.groups

    def _has_text(self) -> bool:
        return any(not piece.is_heading for piece in self._current)

    def _start(self) -> None:
        """Begin a passage with the headings that no passage shows yet."""
        headings, self._waiting = self._headings_to_show(), []
        self._shown.update(heading.start for heading in self._path)
        for piece in headings:
            self._append_heading(piece)

    def _headings_to_show(self) -> list[Piece]:
        hidden = [
            self._piece_of(heading)
            for heading in self._path
            if heading.start not in self._title.kept
            and heading.start not in self._shown
            and heading.text
        ]
        return sorted([*self._waiting, *hidden], key=lambda piece: piece.start)

    def _append_heading(self, piece: Piece) -> None:
        longest = self._full_room // _HEADINGS_SHARE
        if piece.tokens > longest:
            for part in self.cutter.sentences(piece.start, piece.end, self._full_room):
                if self._used + part.tokens > self._full_room:
                    self._emit()
                self._append(part)
            return
        if not self._has_text() and self._used + piece.tokens > longest and self._current[1:]:
            self._emit()
        self._append(piece)

    def _append(self, piece: Piece) -> None:
        self._current.append(piece)
        self._used += piece.tokens + 1

    def _piece_of(self, heading: Heading) -> Piece:
        span = self.cutter.trimmed(heading.start, heading.end)
        return replace(self.cutter.piece(*(span or (heading.start, heading.end))), is_heading=True)

    def _emit(self) -> None:
        pieces, self._current, self._used = tuple(self._current), [], 0
        if not pieces:
            return
        group = Group(self._title.text, self._path, pieces)
        self.groups.append(self._retitled(group))

    def _retitled(self, group: Group) -> Group:
        """A section that is alone in a passage has its own title, and no heading in the text."""
        *headings, piece = group.pieces
        if piece.section is None or not all(one.is_heading for one in headings):
            return group
        section, path = _innermost(piece.section, group.path)
        title = title_of(self.document_title, path, self.cutter.measure)
        span = self.cutter.trimmed(section.body, section.end)
        if span is None or not {heading.start for heading in path} <= title.kept:
            return group
        body = self.cutter.piece(*span)
        if body.tokens + sum(one.tokens + 1 for one in headings) > self.cutter.measure.room(
            title.text
        ):
            return group
        return Group(title.text, path, (*headings, body))


def _innermost(section: Section, path: Path) -> tuple[Section, Path]:
    """The section that has all text of another one, and the way to it."""
    while True:
        path = (*path, section.heading) if section.heading else path
        if section.blocks or len(section.children) != 1:
            return section, path
        [section] = section.children
