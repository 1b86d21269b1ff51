"""JSON lines: written, appended, and read in order and by index, with lines named in errors."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.jsonl import JsonLines, append_lines, parse_line, read_lines, to_line

ROWS = [{"a": "ü"}, {"b": [1, None]}]
Read = Callable[[Path], list[dict[str, Any]]]
each_reader = pytest.mark.parametrize(
    "read", [lambda path: list(read_lines(path)), lambda path: list(JsonLines(path))]
)


@each_reader
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_written_lines_are_read_back(tmp_path: Path, read: Read, name: str) -> None:
    content = "\n".join(map(to_line, ROWS)).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read(tmp_path / name) == ROWS


@each_reader
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"nonsense", r"a\.jsonl:3: line: not JSON .*; expected one object a line"),
        (b"[1]", r"a\.jsonl:3: line: a list; expected one object"),
        (b"\xff", r"a\.jsonl:3: line: not JSON"),
        (b"[" * 100_000, r"a\.jsonl:3: line: not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, read: Read, line: bytes, complaint: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n\n' + line + b"\n")
    with pytest.raises(InvalidInputError, match=complaint):
        read(tmp_path / "a.jsonl")


@each_reader
def test_a_damaged_archive_is_one_clear_error(tmp_path: Path, read: Read) -> None:
    packed = gzip.compress(to_line(ROWS[0]).encode() * 50)
    for damaged in (packed[:-9], b"no gzip", packed[:12] + b"\xff" * 9 + packed[21:]):
        (tmp_path / "a.jsonl.gz").write_bytes(damaged)
        with pytest.raises(InvalidInputError, match=r"cannot be read .*; expected JSON lines"):
            read(tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'[\n {"a": 1}\n]\n', r"a\.jsonl is a JSON list; expected one object a line"),
        (b'\n[{"a": 1},\n{"a": 2}]\n', r"a\.jsonl is a JSON list; expected one object a line"),
        (b'\xef\xbb\xbf{\n "a": 1\n}\n', r"a\.jsonl is JSON on several lines; expected one"),
        ('{"a": 1}\n'.encode("utf-16"), r"a\.jsonl is not UTF-8 but probably UTF-16; expected"),
        ('{"a": 1}\n'.encode("utf-16-le"), r"a\.jsonl is not UTF-8 but probably UTF-16; expected"),
        ('{"a": 1}\n'.encode("utf-16-be"), r"a\.jsonl is not UTF-8 but probably UTF-16; expected"),
    ],
)
def test_a_file_of_another_form_is_one_error(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InvalidInputError, match=complaint):
        JsonLines(tmp_path / "a.jsonl")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"is a folder; expected a \.jsonl"):
        JsonLines(tmp_path)


def test_rows_are_appended(tmp_path: Path) -> None:
    for row in ROWS:
        append_lines(tmp_path / "a.jsonl", [row])
    append_lines(tmp_path / "a.jsonl", [])
    assert list(read_lines(tmp_path / "a.jsonl")) == ROWS


def test_a_lone_surrogate_is_not_written() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        to_line({"a": "\ud800"})
    with pytest.raises(ValueError, match="a str"):
        parse_line('"text"')
