"""Where a passage comes from: what this library keeps in the metadata of a passage, under one key.

All other metadata belongs to the user and stays as it is.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from onegen_model.events import Passage

RESERVED = "onegen"

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PassagePlace:
    """The place of a passage in its document, and of the document in its file.

    `source` is the path of the file ("" without one), with "/", relative to the folder that an
    index lies in, or to the root that was chosen for reading. The passage is piece `chunk` (from 0)
    of the `chunks` pieces of the document with the id `document`. `headings` lead to it, the
    outermost first. `pages` and `lines` are the first and the last one, from 1, and `span` is the
    half-open range of characters in the document's text; each is None where it is unknown. `digest`
    identifies the content of the file and the way in which it was read and split. `pieces` are the
    ids of the passages that were joined, in order, where it is more than one.
    """

    source: str
    document: str
    chunk: int = 0
    chunks: int = 1
    headings: tuple[str, ...] = ()
    pages: Range | None = None
    lines: Range | None = None
    span: Range | None = None
    digest: str = ""
    pieces: tuple[str, ...] = ()

    @property
    def passage_id(self) -> str:
        """The id of the passage."""
        return self.id_of(self.chunk)

    def id_of(self, chunk: int) -> str:
        """The id of another piece of the same document."""
        return f"{self.document}#{chunk}"

    def to_metadata(self) -> dict[str, Any]:
        """`{"onegen": {…}}`, JSON-able, without what is unknown."""
        plain = {name: value for name, value in asdict(self).items() if value not in (None, (), "")}
        return {
            RESERVED: {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in plain.items()
            }
        }


def place_of(passage: Passage) -> PassagePlace | None:
    """The place that `onegen index` or a splitter of this library gave a passage, if any."""
    kept = passage.metadata.get(RESERVED)
    if not isinstance(kept, Mapping):
        return _place_of_release_0_1(passage)
    known = {field.name for field in fields(PassagePlace)}
    values = {name: _frozen(value) for name, value in kept.items() if name in known}
    values.setdefault("source", "")  # Text that comes from no file has none.
    is_whole = "document" in values and all(
        _KINDS.get(name, _is_text)(value) for name, value in values.items()
    )
    return PassagePlace(**values) if is_whole else None


def with_place(passage: Passage, place: PassagePlace) -> Passage:
    """The passage with another place."""
    return replace(passage, metadata={**passage.metadata, **place.to_metadata()})


def with_pieces(passage: Passage, pieces: tuple[str, ...]) -> Passage:
    """The passage, which has no place, with the ids of the passages that were joined in it."""
    return replace(passage, metadata={**passage.metadata, RESERVED: {"pieces": list(pieces)}})


def held_ids(passages: Iterable[Passage]) -> tuple[str, ...]:
    """The ids of all that `passages` hold, those of joined neighbours included."""
    ids: dict[str, None] = {}
    for passage in passages:
        ids[passage.id] = None
        kept = passage.metadata.get(RESERVED)
        pieces = kept.get("pieces") if isinstance(kept, Mapping) else None
        if isinstance(pieces, list | tuple):
            ids |= dict.fromkeys(one for one in pieces if isinstance(one, str))
    return tuple(ids)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_text, value))


def _is_number(value: object) -> bool:
    return isinstance(value, int)


def _is_range(value: object) -> bool:
    if not isinstance(value, tuple):
        return value is None
    return len(value) == 2 and all(map(_is_number, value))


# The other fields are text. A foreign passage may hold anything under the reserved key.
_KINDS: dict[str, Callable[[object], bool]] = {
    "chunk": _is_number,
    "chunks": _is_number,
    "headings": _are_texts,
    "pieces": _are_texts,
    "pages": _is_range,
    "lines": _is_range,
    "span": _is_range,
}


def _place_of_release_0_1(passage: Passage) -> PassagePlace | None:
    """Release 0.1 kept an absolute path and a number among the user's metadata."""
    source, chunk = passage.metadata.get("source"), passage.metadata.get("chunk")
    document, _, number = passage.id.rpartition("#")
    if isinstance(source, str) and isinstance(chunk, int) and number == str(chunk):
        return PassagePlace(source, document, chunk, chunks=0)
    return None


class PassageNames:
    """Finds passages by their id, by the id of their document, or by their file.

    The end of a file's path is enough where one file alone has it.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._ids: dict[str, dict[str, None]] = {}
        self._files: dict[str, None] = {}
        for passage in passages:
            names = {passage.id}
            if (place := place_of(passage)) is not None:
                source = _normalised(place.source)
                self._files[source] = None
                names |= {source, place.document}
            for name in names:
                self._ids.setdefault(name, {})[passage.id] = None

    def find(self, name: str) -> tuple[str, ...]:
        """The ids of its passages, in their order; empty where there is none."""
        wanted = _normalised(name)
        if name not in self._ids and wanted not in self._ids:
            ending = [file for file in self._files if file.endswith(f"/{wanted}")]
            wanted = ending[0] if len(ending) == 1 else wanted
        return tuple(self._ids.get(name) or self._ids.get(wanted) or ())

    def nearest(self, name: str) -> str | None:
        """The file that is most like `name`, if any is."""
        by_name = {file.rpartition("/")[2]: file for file in self._files}
        near = get_close_matches(_normalised(name).rpartition("/")[2], by_name, 1)
        return by_name[near[0]] if near else None


def _normalised(path: str) -> str:
    """With "/", and without "./" in front."""
    return path.strip().replace("\\", "/").removeprefix("./")
