"""Saved and resumed chats."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from onegen_model.cli import main
from onegen_model.cli.saved_chats import Turn, read_chat, save_chat
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage, ScoredPassage, Usage
from onegen_model.transcript.answer import Answer, Retrieval
from tests.support.fake_model import FakeModel, fails, run

PASSAGE = Passage("a#0", "Straße \ud83d é", "title", {"year": 1921, "onegen": {"lines": [1, 2]}})
ANSWER = Answer(
    "4 May",
    ("Who?",),
    (Retrieval(0, "Who?", (ScoredPassage(PASSAGE, 0.5),)),),
    Usage(prompt=3, written=2),
    "end",
    (1, 2, 3),
    ((4, 5), ()),
    ("a#0",),
)


def test_a_chat_comes_back_as_it_was(here: Path) -> None:
    turns = (Turn("When?", ANSWER), Turn("And é?", ANSWER))
    save_chat(here / "chat.json", "f" * 64, turns)
    save_chat(here / "chat.json", "f" * 64, turns)  # a chat is replaced
    found = read_chat(here / "chat.json")
    assert (found.fingerprint, found.turns) == ("f" * 64, turns)
    assert [file.name for file in here.iterdir()] == ["chat.json"]


def damage(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"turns": []}, "is damaged"),
        ({"turns": [{"question": "q", "answer": {"text": 3}}]}, "is damaged"),
        ({"sha256": 3}, "is damaged"),
        ({"onegen_chat": 2}, "has the format 2"),
        ({"fingerprint": "e" * 64}, "is damaged"),
    ],
)
def test_a_damaged_chat_is_refused(here: Path, changes: dict[str, Any], said: str) -> None:
    save_chat(here / "chat.json", "f" * 64, [Turn("When?", ANSWER)])
    damage(here / "chat.json", **changes)
    with pytest.raises(InvalidInputError, match=said):
        read_chat(here / "chat.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'"text"', b"[" * 100_000])
def test_a_foreign_file_is_refused_and_never_replaced(here: Path, content: bytes) -> None:
    (here / "chat.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match="is no saved chat"):
        read_chat(here / "chat.json")
    with pytest.raises(InvalidInputError, match="exists and is no saved chat"):
        save_chat(here / "chat.json", "f", [Turn("When?", ANSWER)])
    assert (here / "chat.json").read_bytes() == content


def test_wrong_files_are_reported_before_the_model_is_loaded(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (index.parent / "foreign").write_text("x")
    where = ("chat", "--index", "my.index", "--resume")
    loaded = model.loaded
    assert "absent cannot be used" in fails(capsys, model, *where, "absent")
    assert "docs cannot be used" in fails(capsys, model, *where, "docs")
    assert "foreign is no saved chat" in fails(capsys, model, *where, "foreign")
    assert model.loaded == loaded


def test_a_chat_of_another_model_is_refused(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_chat(Path("chat.json"), "e" * 64, [Turn("When?", ANSWER)])
    line = fails(capsys, model, "chat", "--index", "my.index", "--resume", "chat.json")
    assert "chat.json was written with another model (eeeeeeeeeeee…)" in line


def test_a_resumed_chat_goes_on_where_it_ended(
    make_network: Any,
    tiny_tokenizer: Any,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def chat(typed: str, *argv: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert main(["chat", *where, *argv, "--json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [json.loads(line)["answer"] for line in lines if line.startswith('{"answer"')]

    make_network("llama").float().save_pretrained(here / "tiny")
    tiny_tokenizer.save_pretrained(here / "tiny")
    (here / "notes.md").write_text("# Lakes\n\nThe lake is deep and cold.")
    assert main(["index", "notes.md", "--out", "my.index", "--model", "tiny"]) == 0
    where = ["--index", "my.index", "--model", "tiny", "--max-new-tokens", "8"]
    whole = chat("How deep?\n/save a.json\nHow cold?\n/save b.json\n")
    resumed = chat("How cold?\n/save\n", "--resume", "a.json")
    assert resumed[0]["text"] == whole[1]["text"]
    assert whole[1]["usage"]["reused"] > 0 == resumed[0]["usage"]["reused"]
    assert resumed[0]["usage"]["prompt"] == whole[1]["usage"]["prompt"]
    assert read_chat(here / "a.json").turns[1].answer.ids == (
        read_chat(here / "b.json").turns[1].answer.ids
    )


def test_saving_where_nothing_can_be_written_keeps_the_chat(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onegen_model.cli.chat.save_chat", _fail)
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n/save a.json\ntwo\n"))
    assert run(model, "chat", "--retrieval", "never") == 0
    assert "error: a.json cannot be used (No space left on device)" in capsys.readouterr().err
    assert len(model.streams) == 2


def _fail(path: Path, *_: object) -> None:
    raise OSError(28, "No space left on device", str(path))
