"""What an index holds, file by file."""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onegen_model.documents.reading import source_of
from onegen_model.events import Passage
from onegen_model.places import PassagePlace, place_of

# A byte of a name that is no UTF-8, as sources have it.
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class HeldFile:
    """The passages of one file; `digest` is that of the content that they were made from, empty if
    they are not all there, or of several contents.
    """

    source: str
    passages: tuple[Passage, ...]
    digest: str = ""

    @property
    def characters(self) -> int:
        """The characters of all passages, without titles."""
        return sum(len(passage.text) for passage in self.passages)

    @property
    def documents(self) -> int:
        """How many documents there are: more than one for a file of records."""
        return len({place.document for place in map(place_of, self.passages) if place})

    @property
    def pages(self) -> int | None:
        """The last page that a passage is on; None for a file without pages."""
        places = filter(None, map(place_of, self.passages))
        return max((place.pages[1] for place in places if place.pages), default=None)


def root_of(folder: Path) -> Path:
    """What the sources in an index are relative to: the folder that the index lies in."""
    return folder.resolve().parent


def source_in(place: PassagePlace, root: Path) -> str:
    """The source of a place; release 0.1 kept absolute paths."""
    path = Path(place.source)
    return source_of(path, root) if path.is_absolute() else place.source


def held_files(passages: Iterable[Passage], root: Path) -> dict[str, HeldFile]:
    """The files of an index by their sources; a passage without a place belongs to none."""
    groups: dict[str, list[tuple[Passage, PassagePlace]]] = {}
    known: dict[str, str] = {}  # Resolving a path takes longer than all the rest.
    for passage in passages:
        if (place := place_of(passage)) is not None:
            source = known.get(place.source)
            if source is None:
                source = known[place.source] = source_in(place, root)
            groups.setdefault(source, []).append((passage, place))
    return {
        source: HeldFile(
            source,
            tuple(passage for passage, _ in group),
            _digest([place for _, place in group]),
        )
        for source, group in groups.items()
    }


def _digest(places: Sequence[PassagePlace]) -> str:
    if len({place.digest for place in places}) > 1:
        return ""
    pieces: dict[str, set[int]] = {}
    for place in places:
        pieces.setdefault(place.document, set()).add(place.chunk)
    whole = all(len(pieces[place.document]) == place.chunks for place in places)
    return places[0].digest if whole else ""


def is_gone(source: str, root: Path) -> bool:
    """Whether there is no such file; not if that cannot be known, in a folder that is closed."""
    raw = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), source.encode())
    names = {source, os.fsdecode(raw)}
    return all(_is_missing(root / name) for name in names)


def _is_missing(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False


def is_below(source: str, root: Path, folders: Iterable[Path]) -> bool:
    """Whether a file lies, or lay, in one of the folders, which are absolute."""
    path = Path(os.path.normpath(root / source))
    return any(path.is_relative_to(os.path.normpath(folder)) for folder in folders)
