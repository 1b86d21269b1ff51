"""What `onegen link` takes for a text, and what for a file or a folder."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onegen_model.cli.link_inputs import looks_like_path

Run = Callable[..., int]
Fail = Callable[..., str]


@pytest.fixture
def rows(link: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """The lines of a run, whose mentions are checked against its text."""

    def run(*argv: str, status: int = 0) -> list[dict[str, Any]]:
        assert link(*argv, "--json") == status
        found = list(map(json.loads, capsys.readouterr().out.splitlines()))
        for row in found:
            for one in row["mentions"]:
                assert row["text"][one["start"] : one["end"]] == one["surface"]
        return found

    return run


Rows = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("notes.txt", True),
        ("NOTES.TXT", True),
        ("report.pdf", True),
        ("docs/", True),
        ("a/b", True),
        ("C:\\notes", True),
        ("./my notes.txt", True),
        ("~/my notes/", True),
        ("Adams", False),
        ("St. Gallen", False),
        ("e.g.", False),
        ("He wrote Node.js", False),
        ("/etc holds hosts", False),
        ("AC/DC played in Rome.", False),
        ("", False),
    ],
)
def test_what_looks_like_a_path(argument: str, expected: bool) -> None:
    assert looks_like_path(argument) is expected


def test_texts_are_linked_as_they_are(rows: Rows, here: Path) -> None:
    texts = ["~ Adams\r\n", "Ada  Lovelace", "~/and/or of no path"]
    found = rows(*texts)
    assert [(one["source"], one["id"], one["text"]) for one in found] == [
        (None, "text 1", texts[0]),
        (None, "text 2", texts[1]),
        (None, "text 3", texts[2]),
    ]


def test_a_path_is_a_file_unless_it_is_said_to_be_a_text(rows: Rows, here: Path) -> None:
    (here / "Adams").write_text("Alan Turing")
    assert [one["text"] for one in rows("Adams")] == ["Alan Turing"]
    assert [one["text"] for one in rows("Adams", "absent.txt", "-", "--text")] == [
        "Adams",
        "absent.txt",
        "-",
    ]


def test_files_and_folders(rows: Rows, here: Path) -> None:
    for folder in ("docs", "more", "docs/.git"):
        (here / folder).mkdir()
    front = "---\ntitle: x\n---\n# Ada Lovelace\r\n"
    (here / "docs" / "a.md").write_bytes(front.encode())
    (here / "docs" / "b.jsonl").write_text('{"text": "Alan"}\n{"text": "Ada", "id": "q"}\n')
    (here / "docs" / ".ignore").write_text("c.txt\n")
    (here / "docs" / "c.txt").write_text("ignored")
    (here / "docs" / "d.txt").write_text("excluded")
    (here / "more" / "a.md").write_bytes("J\xf8rn Utzon".encode("cp1252"))
    (here / "empty.txt").write_text("")
    flags = "--exclude d.* --encoding cp1252 --candidates 1"
    found = rows("docs", "more/a.md", "empty.txt", *flags.split())
    assert [(one["source"], one["id"], one["text"]) for one in found] == [
        ("docs/a.md", "docs/a.md", front),
        ("docs/b.jsonl", "docs/b.jsonl:1", "Alan"),
        ("docs/b.jsonl", "q", "Ada"),
        ("more/a.md", "more/a.md", "Jørn Utzon"),
        ("empty.txt", "empty.txt", ""),
    ]


def test_several_documents_have_their_names(
    link: Run, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a.txt").write_text("")
    (here / "b.txt").write_text(" \n")
    assert link("a.txt", "b.txt") == 0
    assert capsys.readouterr().out == (
        "== a.txt ==\n\n\n(no mentions)\n\n== b.txt ==\n \n\n(no mentions)\n"
    )


def test_a_path_that_is_missing(error: Fail, here: Path) -> None:
    (here / "a.txt").write_text("Ada")
    message = error("notes.txt")
    assert "There is no file or folder 'notes.txt'; expected one that exists, or a text" in message
    assert "--text" in message
    message = error("a.txt", "docs")
    assert "no file or folder 'docs' beside 'a.txt'" in message
    assert "'./absent/'" in error("one text", "./absent/")
    (here / "none").mkdir()
    assert "holds no documents" in error("none")
    (here / "broken.txt").symlink_to("nowhere")
    assert "broken.txt" in error("broken.txt")


def test_bad_files_stop_the_run_or_are_skipped(
    rows: Rows, error: Fail, link: Run, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "docs").mkdir()
    (here / "docs" / "a.txt").write_text("Ada")
    (here / "docs" / "b.txt").write_bytes(b"a\0b")
    assert "b.txt: it is not text" in error("docs")
    assert [one["text"] for one in rows("docs", "--skip-bad", status=3)] == ["Ada"]
    assert link("docs", "--skip-bad", "--out", "a.html") == 3
    assert "1 file could not be read and was skipped" in capsys.readouterr().err
    assert (here / "a.html").exists()


def test_standard_input(
    rows: Rows, error: Fail, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    typed("\ufeff Jørn\r\nUtzon\n".encode())
    [row] = rows("-")
    assert (row["source"], row["id"], row["text"]) == ("-", "-", " Jørn\r\nUtzon\n")
    typed(b"J\xf8rn")
    assert "Standard input is not UTF-8" in error("-")
    typed(b"J\xf8rn")
    assert [one["text"] for one in rows("-", "--encoding", "cp1252")] == ["Jørn"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("Ada"))
    assert [one["text"] for one in rows("Adams", "-")] == ["Adams", "Ada"]
    assert "Argument 1 is not UTF-8" in error("\udce9")
    (here / "a.txt").write_text("Ada")
    assert "Standard input (-) and 'a.txt' are given" in error("a.txt", "-")
