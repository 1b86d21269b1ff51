"""`onegen chat`: its turns, errors and interrupts, and a real terminal."""

import io
import json
import os
import pty
import select
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest

from onegen_model.errors import ContextTooLongError
from tests.support.fake_model import ROOT, FakeModel, run


def chat(model: FakeModel, monkeypatch: pytest.MonkeyPatch, typed: str, *argv: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return run(model, "chat", "--index", "my.index", *argv)


def test_chat_continues_the_answer_before(
    model: FakeModel,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chat(model, monkeypatch, "one\n\n  two \n/new\nthree\n/quit\nfour\n") == 0
    assert [stream.answer.question for stream in model.streams] == ["one", "two", "three"]
    first, second, third = (stream.options["history"] for stream in model.streams)
    assert first is third is None
    assert second is model.streams[0].answer
    out = capsys.readouterr().out
    assert out.count("10 reused (20 prompt") == 1
    assert out.count("Answer: ") == 3


def test_chat_survives_errors_and_ctrl_c(
    model: FakeModel,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stumble() -> None:
        if model.streams[-1].answer.question == "long":
            raise ContextTooLongError("Too long; expected less; shorten it")
        if model.streams[-1].answer.question == "slow":
            signal.raise_signal(signal.SIGINT)

    model.on_answer = stumble
    assert chat(model, monkeypatch, "one\nlong\nslow\ntwo") == 0
    err = capsys.readouterr().err
    assert "onegen: error: Too long; expected less; shorten it\n" in err
    assert "onegen: cancelled" in err
    assert model.streams[-1].options["history"] is model.streams[0].answer


def test_commands_of_a_chat(
    model: FakeModel,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = (
        "/sources\n/save a.json\ntitle 5text 5\n/sources\n/sorces\n/x\n/help\n/save\n/etc/hosts?"
    )
    assert chat(model, monkeypatch, typed) == 0
    assert [stream.answer.question for stream in model.streams] == ["title 5text 5", "/etc/hosts?"]
    out, err = capsys.readouterr()
    whole = "  1.000  title 5 [docs/rows.jsonl, line 6, characters 0-6]\n    text 5\n"
    assert out.count(whole) == 1
    assert "There is no answer yet" in err
    assert "error: There is no turn to save; expected one" in err
    assert "There is no command /sorces; did you mean /sources?" in err
    assert "There is no command /x; /help lists the commands" in err
    assert "error: No file is given; expected one; write /save FILE" in err
    assert "/save FILE  writes" in err
    assert not list(Path().glob("*.json"))


def test_commands_take_any_spaces_and_any_name(
    model: FakeModel,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = "one\n/save\t my chät.json \n/save ~nobody-here/x\n/save a\0b\ntwo\n/quit  now\nthree\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert run(model, "chat", "--retrieval", "never") == 0
    assert [stream.answer.question for stream in model.streams] == ["one", "two"]
    assert Path("my chät.json").is_file()
    err = capsys.readouterr().err
    assert "~nobody-here" in err
    assert "holds a NUL character" in err


def test_a_new_conversation_does_not_replace_the_saved_one(
    model: FakeModel,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n/save a.json\n/new\ntwo\n/save\n"))
    assert run(model, "chat", "--retrieval", "never") == 0
    assert "No file is given" in capsys.readouterr().err
    assert '"one"' in Path("a.json").read_text()


def test_sources_in_json(
    model: FakeModel,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chat(model, monkeypatch, "title 5text 5\n/sources", "--json") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["sources"][0]["passage"]["text"] == "text 5"


def test_chat_in_a_terminal(index: Path) -> None:
    """Ctrl-C at the prompt or in an answer continues the chat, Ctrl-D leaves it."""
    script = """
        import sys, time
        from onegen_model.cli import main
        from tests.support.fake_model import FakeModel
        model = FakeModel()
        def wait():
            if model.streams[-1].answer.question == "slow":
                print("WAITING", flush=True)
                time.sleep(0.5)
        model.on_answer = wait
        sys.exit(main(["chat", "--index", "my.index"], load_model=model.load))
    """
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # A job in the background ignores it.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": ""}
        os.execve(sys.executable, [sys.executable, "-c", textwrap.dedent(script)], environment)
    shown = ""

    def expect(text: str, press: bytes = b"") -> None:
        """Presses again after a silence: `input` may lose a signal that comes just before it."""
        nonlocal shown
        deadline = time.monotonic() + 60
        os.write(terminal, press)
        while text not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([terminal], [], [], 2.0)[0]:
                shown += os.read(terminal, 4096).decode()
            else:
                os.write(terminal, press)
        shown = shown.partition(text)[2]

    expect("Ask a question")
    expect("> ")
    expect("/quit or Ctrl-D leaves", press=b"\x03")
    expect("> ")
    os.write(terminal, b"slow\n")
    expect("WAITING")
    os.write(terminal, b"\x03")
    expect("cancelled")
    expect("> ")
    os.write(terminal, b"title 5text 5\n")
    expect("\x1b[1mAnswer: text 5")
    expect("> ")
    os.write(terminal, b"\x04")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
