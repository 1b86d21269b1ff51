"""Ids, and the names of uploaded files."""

import re
import unicodedata
import uuid
from dataclasses import dataclass

from onegen_model import Passage, place_of

# The id under which the index that a server is given at its start is a vector store.
INDEX_STORE = "vs_index"
_LONGEST_NAME = 200
_SUFFIX = re.compile(r"(?:\.jsonl)?\.[a-z0-9]{1,10}$")
_UPLOADED = re.compile(r"(vs_[0-9a-f]{32})/(file-[0-9a-f]{32})(?=[#:/])")


def new_id(kind: str) -> str:
    """An id that nobody can guess: `file-…`, `vs_…`."""
    return f"{kind}{uuid.uuid4().hex}"


def clean_name(given: str) -> str:
    r"""The last part of a path, on any system, that is printed on one line and safe to store.

    Without control, formatting and private characters, and of at most 200 characters; the suffix
    stays.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", given))[-1]
    shown = "".join(" " if one.isspace() else one for one in last)
    printed = "".join(one for one in shown if unicodedata.category(one)[0] != "C")
    name = printed.strip(" .") if printed.strip(" .") else "file"
    if len(name) > _LONGEST_NAME:
        suffix = suffix_of(name)
        name = name[: _LONGEST_NAME - len(suffix)] + suffix
    return name


def suffix_of(name: str) -> str:
    """The suffix by which a file is read, in lower case; empty without a plain one."""
    found = _SUFFIX.search(name.lower())
    return found.group() if found else ""


def document_of(store_id: str, file_id: str, record: str = "") -> str:
    """The id of an uploaded document: unique in all stores, and it tells its store and file."""
    return f"{store_id}/{file_id}{record}"


def owner_of(passage_id: str) -> tuple[str, str] | None:
    """The ids of store and file of an uploaded passage; None for any other."""
    found = _UPLOADED.match(passage_id)
    return (found[1], found[2]) if found else None


@dataclass(frozen=True, slots=True)
class CitedFile:
    """The file of a passage as OpenAI's objects name it."""

    id: str
    filename: str
    attributes: dict[str, str | float | bool]


def cited_file(passage: Passage) -> CitedFile:
    """The file that a passage comes from; one without a file is a file of its own."""
    place, owner = place_of(passage), owner_of(passage.id)
    source = place.source if place else ""
    file_id = owner[1] if owner else source or passage.id
    filename = source.rpartition("/")[2] or passage.title or passage.id
    plain = (str, int, float)
    attributes = {name: one for name, one in passage.metadata.items() if isinstance(one, plain)}
    return CitedFile(file_id, filename, attributes)
