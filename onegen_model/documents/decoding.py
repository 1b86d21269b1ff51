"""Bytes to text."""

import re
from collections.abc import Sequence

from charset_normalizer import CharsetMatch, from_bytes

from onegen_model.documents.failures import FileProblem
from onegen_model.documents.kinds import BYTE_ORDER_MARKS, PRINTABLE

# So much of a long file is looked at to tell its encoding.
_SAMPLE = 1 << 18
_WESTERN = "cp1252"
_UNKNOWN = "it is not text in an encoding that can be told; name it with --encoding if it is text"
# Of files that are often named wrongly, and have no zero byte at first.
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b", b"PK\x03\x04", b"%PDF")
# What cp1252 makes of other encodings: signs inside words, and letters that only texts of central
# Europe, Turkey or Iceland use. Portuguese has both of the last two.
_FOREIGN = re.compile(
    r"[^\W\d_][^\w\s!-~\u2018\u2019\u00b4·-][^\W\d_]|[šžŠŽðÐþÞýÝ]|\A(?=[^ã]*õ)[^ã]*\Z"
)
# A share of such letters, of so many, is no western language.
_MOST_SPECIAL, _SPECIAL_LETTERS = 0.4, 8


def decode(data: bytes, encoding: str | None = None, *, declared: str | None = None) -> str:
    """The text, with lines that end in a line feed; raises FileProblem.

    `encoding` is followed strictly; `declared` is what the text says about itself, and is tried.
    """
    text = decode_as_written(data, encoding, declared=declared)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_as_written(
    data: bytes, encoding: str | None = None, *, declared: str | None = None
) -> str:
    """As `decode`, with lines that end as they do in the data."""
    text = _decode(data, encoding, declared)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FileProblem(f"it is not text (a zero byte in line {line})")
    return text


def _decode(data: bytes, encoding: str | None, declared: str | None) -> str:
    if encoding is not None:
        return _strictly(data, encoding)
    for mark, marked in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return _strictly(data, marked)
    for one in filter(None, (_utf_16(data), "utf-8", declared)):
        try:
            return data.decode(one)
        except (UnicodeError, LookupError):
            continue
    return _detected(data)


def _utf_16(data: bytes) -> str | None:
    """UTF-16 without a mark: in a text with Latin letters or spaces every other byte is zero."""
    sample = data[: _SAMPLE & ~1]
    if sample.count(0) * 5 < len(sample):
        return None
    return "utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"


def _strictly(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        line = data.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise FileProblem(f"it is not text in {encoding} (line {line})") from error


def _detected(data: bytes) -> str:
    if data.startswith(_SIGNATURES) or data[:_SAMPLE].translate(None, PRINTABLE):
        raise FileProblem(_UNKNOWN)
    matches = list(from_bytes(data[:_SAMPLE]))
    for encoding in _likely(data, matches):
        try:
            return data.decode(encoding)
        except UnicodeError:
            continue
    raise FileProblem(_UNKNOWN)


def _likely(data: bytes, matches: Sequence[CharsetMatch]) -> list[str]:
    """Encodings to try, the likeliest first."""
    found = [match.encoding for match in matches]
    # Many encodings of one byte a character fit, and short western texts are taken for others.
    if found and not found[0].startswith("utf") and _is_western(data[:_SAMPLE]):
        return [_WESTERN, *found]
    return found


def _is_western(data: bytes) -> bool:
    try:
        text = data.decode(_WESTERN)
    except UnicodeError:
        return False
    letters = [character for character in text if character.isalpha()]
    special = sum(character > "\x7f" for character in letters)
    if special >= _SPECIAL_LETTERS and special > _MOST_SPECIAL * len(letters):
        return False
    return not _FOREIGN.search(text)
