import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model.cli import demo, indexing, main
from onegen_model.cli.display import TextDisplay, format_usage, shorten, use_colour
from onegen_model.errors import CheckpointError, ContextTooLongError, RetrievalError
from onegen_model.events import (
    Event,
    Finished,
    Passage,
    PassagesInserted,
    Query,
    RetrievalRequested,
    ScoredPassage,
    Token,
    Usage,
)
from onegen_model.index import PassageIndex
from tests.fake_embedder import FakeEmbedder, unit

ROOT = Path(__file__).parents[1]


@dataclass
class FakeRetrieval:
    hop: int
    query: str
    passages: tuple[ScoredPassage, ...]


@dataclass
class FakeAnswer:
    question: str
    history: "FakeAnswer | None"
    text: str = ""
    steps: tuple[str, ...] = ("Who is it?",)
    retrievals: list[FakeRetrieval] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "end"


class FakeStream:
    """One retrieval for the question itself, then an answer that names the best passage."""

    def __init__(self, model: "FakeModel", question: str, options: dict[str, Any]) -> None:
        self.model = model
        self.options = options
        self.answer = FakeAnswer(question, options["history"])
        self.is_closed = False
        self._events = self._run(question)

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def close(self) -> None:
        self.is_closed = True
        self._events.close()

    def _run(self, question: str) -> Iterator[Event]:
        yield Token(0, 1, text="Who is")
        yield Token(0, 2, text=" it?")
        reused = 10 if self.options["history"] else 0
        found: tuple[ScoredPassage, ...] = ()
        if self.options["retriever"] is not None:
            yield RetrievalRequested(0, 0, array("f", [1.0]), "Who is it?")
            query = Query(array("f", unit(question)), "Who is it?", self.options["retrieval"].top_k)
            found = tuple(self.options["retriever"].retrieve([query])[0])
            yield PassagesInserted(0, 0, found, 7 * len(found))
            self.answer.retrievals.append(FakeRetrieval(0, "Who is it?", found))
        if self.model.on_answer is not None:
            self.model.on_answer()
        self.answer.text = found[0].passage.text if found else "no idea"
        yield Token(0, 3, text=f"It is {self.answer.text}.")
        self.answer.usage = Usage(
            prompt=10 + reused,
            written=4,
            forwarded=20,
            reused=reused,
            retrievals=len(self.answer.retrievals),
        )
        yield Finished(0, "end", self.answer.usage)


class FakeModel(FakeEmbedder):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.streams: list[FakeStream] = []
        self.on_answer: Any = None
        self.on_embed: Any = None
        self.loaded: tuple[Any, ...] = ()

    def load(self, path_or_id: str | None, dtype: str) -> "FakeModel":
        self.loaded = (path_or_id, dtype)
        return self

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed_passages(self, passages: Sequence[Passage], *, progress: bool = False) -> np.ndarray:
        if self.on_embed is not None:
            self.on_embed()
        return super().embed_passages(passages)

    def stream(self, question: str, **options: Any) -> FakeStream:
        self.streams.append(FakeStream(self, question, options))
        return self.streams[-1]


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONEGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def docs(here: Path) -> Path:
    (here / "docs").mkdir()
    (here / "docs" / "short.txt").write_text("Ada Lovelace")
    rows = [{"text": f"text {n}", "title": f"title {n}", "id": f"r{n}"} for n in range(100)]
    (here / "docs" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return here / "docs"


def run(model: FakeModel, *argv: str) -> int:
    return main(argv, load_model=model.load)


@pytest.fixture
def index(model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(model, "index", "docs", "--out", "my.index") == 0
    capsys.readouterr()
    model.embedded.clear()
    return docs.parent / "my.index"


def fails(capsys: pytest.CaptureFixture[str], model: FakeModel, *argv: str, status: int = 2) -> str:
    """The one line on stderr of a run that fails."""
    assert run(model, *argv) == status
    captured = capsys.readouterr()
    [line] = [line for line in captured.err.splitlines() if line.startswith("onegen: ")]
    assert "Traceback" not in captured.err
    return line


# --- onegen index ---


def test_index(model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "long.md").write_text("# Long\n\n" + "word " * 100)
    assert run(model, "index", "docs", "--out", "my.index", "--batch", "7") == 0
    assert "104 passages (104 embedded now, 0 unchanged, 0 removed)" in capsys.readouterr().out
    index = PassageIndex.load(model, "my.index")
    assert {"docs/short.txt#0", "r0#0", "docs/long.md#0", "docs/long.md#2"} <= {
        passage.id for passage in index.passages
    }


def test_index_adds_follows_changes_and_keeps_the_rest(
    model: FakeModel, docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (docs / "new.txt").write_text("new")
    (docs / "short.txt").write_text("changed")
    rows = (docs / "rows.jsonl").read_text().splitlines()
    (docs / "rows.jsonl").write_text("\n".join(rows[:90]))
    assert run(model, "index", "docs", "--out", "my.index", "--json") == 0
    assert model.embedded == ["docs/new.txt#0", "docs/short.txt#0"]
    assert json.loads(capsys.readouterr().out) == {
        "index": "my.index",
        "passages": 92,
        "embedded": 2,
        "unchanged": 90,
        "removed": 10,
    }
    (docs.parent / "other.txt").write_text("other")
    assert run(model, "index", "other.txt", "--out", "my.index") == 0
    assert len(PassageIndex.load(model, index)) == 93


def test_a_file_that_is_read_from_elsewhere_is_not_there_twice(
    model: FakeModel, docs: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(docs)
    assert run(model, "index", ".", "--out", str(index)) == 0
    assert len(PassageIndex.load(model, index)) == 101


def test_two_files_never_share_an_id(
    model: FakeModel, docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = docs.parent / "more.jsonl"
    more.write_text(json.dumps({"id": "r1", "text": "something else"}))
    line = fails(capsys, model, "index", "docs", "more.jsonl", "--out", "my.index")
    assert "more.jsonl:1 has the same id 'r1' as docs/rows.jsonl:2; expected one" in line
    line = fails(capsys, model, "index", "more.jsonl", "--out", "my.index")
    assert "already holds another passage with the id 'r1#0', from" in line
    assert PassageIndex.load(model, index).retrieve(
        [Query(array("f", unit("title 1text 1")), "", 1)]
    )[0][0].score == pytest.approx(1.0, abs=1e-6)


def test_index_of_nothing(model: FakeModel, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    (here / "image.png").write_bytes(b"\x89PNG")
    (here / "fake.txt").write_bytes(b"\x89PNG\xff")
    (here / "blank.txt").write_text("\n")
    (here / "bad.jsonl").write_text('{"text": "a"}\nnonsense')
    cases = {
        "empty": "The folder empty holds no documents",
        "missing": "There is no file or folder missing",
        "image.png": "image.png is of an unknown kind",
        "fake.txt": "fake.txt:1 is not text",
        "blank.txt": "All documents are empty",
        "bad.jsonl": "bad.jsonl:2 is not JSON",
    }
    for path, expected in cases.items():
        assert run(model, "index", path, "--out", "my.index") == 2
        assert f"onegen: error: {expected}" in capsys.readouterr().err
    assert model.embedded == []


def test_index_into_a_bad_place_fails_before_any_work(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, model, "index", "docs", "--out", "docs")
    assert "docs is not an index; expected a new or empty folder" in line
    line = fails(capsys, model, "index", "docs", "--out", "docs/short.txt")
    assert "is not an index" in line
    line = fails(capsys, model, "index", "docs", "--out", "docs/short.txt/x")
    assert "cannot be written" in line
    line = fails(capsys, model, "index", "docs", "--out", "x", "--batch", "0")
    assert "batch=0; expected at least 1" in line
    assert model.embedded == []
    assert (docs / "short.txt").read_text() == "Ada Lovelace"


def test_index_of_another_model_stays_as_it_was(
    docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = FakeModel(fingerprint="0" * 64)
    line = fails(capsys, other, "index", "docs", "--out", "my.index")
    assert "was made by another model" in line
    assert len(PassageIndex.load(FakeModel(), index)) == 101


def test_a_damaged_index_is_refused(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [vectors] = index.glob("vectors-*")
    vectors.write_bytes(vectors.read_bytes()[:-5])
    for argv in (["index", "docs", "--out", "my.index"], ["ask", "who?", "--index", "my.index"]):
        assert "is truncated" in fails(capsys, model, *argv)


def test_ctrl_c_saves_and_the_same_command_goes_on(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt_at_the_third_batch() -> None:
        if len(model.embedded) == 20:
            signal.raise_signal(signal.SIGINT)

    model.on_embed = interrupt_at_the_third_batch
    argv = ["index", "docs", "--out", "my.index", "--batch", "10"]
    line = fails(capsys, model, *argv, status=130)
    assert "30 of 101 passages are in my.index; run the same command again" in line
    assert len(PassageIndex.load(model, "my.index")) == 30
    model.on_embed = None
    assert run(model, *argv) == 0
    assert len(model.embedded) == len(set(model.embedded)) == 101


def test_two_ctrl_c_stop_at_once(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    model.on_embed = interrupt_twice
    assert fails(capsys, model, "index", "docs", "--out", "my.index", status=130) == (
        "onegen: stopped"
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(PassageIndex.load(model, "my.index")) == 0


def test_a_failure_saves_what_is_done(model: FakeModel, docs: Path) -> None:
    def fail() -> None:
        if len(model.embedded) == 20:
            raise MemoryError

    model.on_embed = fail
    with pytest.raises(MemoryError):
        run(model, "index", "docs", "--out", "my.index", "--batch", "10")
    assert len(PassageIndex.load(model, "my.index")) == 20


def test_saves_now_and_then(model: FakeModel, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "_MIN_SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(indexing, "_WORK_PER_SAVE", 0)
    sizes = []
    model.on_embed = lambda: sizes.append(len(PassageIndex.load(FakeModel(), "my.index")))
    assert run(model, "index", "docs", "--out", "my.index", "--batch", "25") == 0
    assert sizes == [0, 25, 50, 75, 100]


def test_a_killed_process_goes_on_where_it_last_saved(docs: Path) -> None:
    script = """
        import os, signal, sys
        from onegen_model.cli import indexing, main
        from tests.test_cli import FakeModel
        indexing._MIN_SECONDS_BETWEEN_SAVES = indexing._WORK_PER_SAVE = 0
        model = FakeModel()
        def kill():
            if len(model.embedded) == 60:
                os.kill(os.getpid(), signal.SIGKILL)
        model.on_embed = kill
        main(["index", "docs", "--out", "my.index", "--batch", "10"], load_model=model.load)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    model = FakeModel()
    assert len(PassageIndex.load(model, "my.index")) == 60
    assert run(model, "index", "docs", "--out", "my.index") == 0
    assert len(model.embedded) == 41


# --- onegen ask ---


def test_ask(model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, "ask", "title 5text 5", "--index", "my.index", "--model", "a/b") == 0
    out = capsys.readouterr().out
    assert out.startswith("Who is it?\n  hop 0 searched: Who is it?\n    1.000  title 5: text 5\n")
    assert "It is text 5.\nAnswer: text 5\nSources:\n  title 5 [r5#0]\n" in out
    assert "Tokens: 20 read once, 0 reused (10 prompt, 4 written, 0 inserted); 1 retrieval" in out
    assert "\x1b" not in out
    assert model.loaded == ("a/b", "float32")
    assert model.streams[0].is_closed


def test_ask_passes_on_what_was_chosen(model: FakeModel, index: Path) -> None:
    flags = "--top-k 3 --max-retrievals 1 --retrieval always --max-new-tokens 9 --seed 4"
    argv = ["ask", "q", "--index", "my.index", *flags.split(), "--temperature", "0.5"]
    assert run(model, *argv, "--dtype", "bfloat16") == 0
    sampling, retrieval = (model.streams[0].options[name] for name in ("sampling", "retrieval"))
    assert (sampling.max_new_tokens, sampling.seed, sampling.temperature) == (9, 4, 0.5)
    assert (retrieval.mode, retrieval.top_k, retrieval.max_retrievals) == ("always", 3, 1)
    assert len(model.streams[0].answer.retrievals[0].passages) == 3
    assert model.loaded == (None, "bfloat16")


def test_ask_in_json(model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, "ask", "title 5text 5", "--index", "my.index", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("event", "answer") for line in lines] == [
        "Token",
        "Token",
        "RetrievalRequested",
        "PassagesInserted",
        "Token",
        "Finished",
        "answer",
    ]
    answer = lines[-1]["answer"]
    assert (answer["text"], answer["finish_reason"]) == ("text 5", "end")
    assert answer["retrievals"][0]["passages"][0]["passage"]["id"] == "r5#0"


def test_ask_without_retrieval_needs_no_index(model: FakeModel) -> None:
    assert run(model, "ask", "who?", "--retrieval", "never") == 0


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["who?"], "No index was named"),
        (["who?", "--index", "nowhere"], "There is no index at nowhere"),
        (["who?", "--index", "docs"], "docs is not an index"),
        ([" ", "--index", "my.index"], "The question is empty"),
        (["who?", "--index", "my.index", "--top-k", "0"], "top_k=0; expected at least 1"),
        (["who?", "--index", "my.index", "--max-new-tokens", "0"], "max_new_tokens=0"),
        (["who?", "--index", "my.index", "--temperature", "-1"], "temperature=-1.0"),
        (["who?", "--index", "my.index", "--threads", "0"], "threads=0; expected at least 1"),
    ],
)
def test_bad_questions(
    model: FakeModel,
    index: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    expected: str,
) -> None:
    assert f"onegen: error: {expected}" in fails(capsys, model, "ask", *argv)


@pytest.mark.parametrize("argv", [["nonsense"], ["ask"], [], ["ask", "q", "--retrieval", "x"]])
def test_wrong_usage(model: FakeModel, argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(model, *argv)


def test_an_unknown_model(capsys: pytest.CaptureFixture[str], index: Path) -> None:
    def load(path_or_id: str | None, dtype: str) -> Any:
        raise CheckpointError(f"There is no model {path_or_id};\nexpected one; name it")

    argv = ["ask", "who?", "--index", "my.index", "--model", "x"]
    assert main(argv, load_model=load) == 2
    assert capsys.readouterr().err == (
        "onegen: error: There is no model x; expected one; name it\n"
    )
    with pytest.raises(CheckpointError):
        main([*argv, "--debug"], load_model=load)


def test_a_retriever_that_fails(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RetrievalError("It raised; expected passages; see the cause")

    model.on_answer = fail
    assert "It raised" in fails(capsys, model, "ask", "who?", "--index", "my.index")
    assert model.streams[0].is_closed


def test_ctrl_c_cancels_an_answer(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.on_answer = lambda: signal.raise_signal(signal.SIGINT)
    argv = ["ask", "who?", "--index", "my.index"]
    assert fails(capsys, model, *argv, status=130) == "onegen: cancelled"
    assert model.streams[0].is_closed


# --- onegen chat ---


def chat(model: FakeModel, monkeypatch: pytest.MonkeyPatch, typed: str, *argv: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return run(model, "chat", "--index", "my.index", *argv)


def test_chat_goes_on_from_the_answer_before(
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


def test_chat_in_a_terminal(index: Path) -> None:
    """A real terminal: Ctrl-C at the prompt and in an answer go on, Ctrl-D leaves."""
    script = """
        import sys, time
        from onegen_model.cli import main
        from tests.test_cli import FakeModel
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


# --- onegen demo ---


@pytest.fixture
def demo_data(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = here / "demo"
    folder.mkdir()
    rows = [{"id": f"p{n}", "title": f"title {n}", "text": f"text {n}"} for n in range(50)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    questions = [{"question": f"title {n}text {n}", "answer": f"text {n}"} for n in range(3)]
    (folder / "questions.json").write_text(json.dumps(questions))
    monkeypatch.setattr(demo, "DEMO", folder)
    return folder


def test_demo_builds_its_index_once_for_each_model(
    model: FakeModel, demo_data: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, "demo") == 0
    out = capsys.readouterr().out
    assert "Question: title 2text 2\nExpected: text 2\n" in out
    assert out.count("Answer: text") == 3
    assert len(model.embedded) == 50
    assert run(model, "demo", "--json") == 0
    assert len(model.embedded) == 50
    assert json.loads(capsys.readouterr().out.splitlines()[0])["question"] == "title 0text 0"
    assert run(FakeModel(fingerprint="another"), "demo") == 0
    indexes = sorted((here / "cache").glob("demo-*.index"))
    assert len(indexes) == 2
    for file in (here / "cache").glob("demo-*.index/vectors*"):
        file.write_bytes(b"")
    assert run(model, "demo") == 0
    assert len(model.embedded) == 100


def test_demo_stops_and_goes_on(
    model: FakeModel, demo_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.on_embed = lambda: signal.raise_signal(signal.SIGINT)
    assert "run the same command again" in fails(capsys, model, "demo", status=130)
    model.on_embed = None
    model.on_answer = lambda: signal.raise_signal(signal.SIGINT)
    assert fails(capsys, model, "demo", status=130) == "onegen: cancelled"
    assert len(model.embedded) == 50


def test_demo_without_its_data(
    model: FakeModel, demo_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (demo_data / "questions.json").unlink()
    assert "lacks the demo's corpus or questions" in fails(capsys, model, "demo")


# --- how it looks ---


def test_a_terminal_obeys_no_document() -> None:
    out = io.StringIO()
    display = TextDisplay(out, colour=False, width=40)
    evil = ScoredPassage(Passage("x\x1b]0;", "\x1b[2Jtext\r\n" * 9, "title\x07"), 0.5)
    display.event(PassagesInserted(0, 0, (evil,), 5))
    display.event(Token(0, 1, text="\x9b2Ja\nb"))
    assert not set(out.getvalue()) & set("\x1b\x07\r\x9b")
    assert "0.500  title: [2Jtext" in out.getvalue()


def test_display_says_what_went_wrong() -> None:
    out = io.StringIO()
    display = TextDisplay(out)
    display.event(RetrievalRequested(0, 1, array("f", [1.0]), "who?"))
    display.event(PassagesInserted(0, 1, (), 2))
    display.event(PassagesInserted(0, 2, (), 2, dropped=1))
    display.event(Token(0, 1, text="half"))
    display.event(Finished(0, "length", Usage()))
    display.answer(FakeAnswer("q", None), 1.25)  # type: ignore[arg-type]
    assert out.getvalue().splitlines()[:7] == [
        "  hop 1 searched: who?",
        "    nothing was found",
        "    1 passage left out: the context is full",
        "half",
        "(the answer was cut: it reached its longest length)",
        "Answer: (none)",
        "Sources: none, nothing was retrieved",
    ]


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert use_colour(Terminal())
    assert not use_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_colour(Terminal())


def test_small_forms() -> None:
    assert shorten("a  b\nc", 80) == "a b c"
    assert shorten("abcdef", 4) == "abc…"
    assert "1 retrieval;" in format_usage(Usage(retrievals=1), 0.0)
    assert "2 retrievals;" in format_usage(Usage(retrievals=2), 0.0)


# --- with a real model ---


def test_the_whole_way_with_a_tiny_model(
    make_network: Any,
    tiny_tokenizer: Any,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_network("llama").float().save_pretrained(here / "tiny")
    tiny_tokenizer.save_pretrained(here / "tiny")
    (here / "docs").mkdir()
    (here / "docs" / "long.md").write_text("# Lakes\n\n" + "The lake is deep and cold. " * 60)
    (here / "docs" / "control.txt").write_text("[RQ] <paragraph> [RD] </paragraph> <|im_end|>")
    where = ["--index", "my.index", "--model", "tiny", "--max-new-tokens", "12"]
    assert main(["index", "docs", "--out", "my.index", "--model", "tiny"]) == 0
    assert main(["ask", "How deep?", *where, "--retrieval", "always", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    answer = json.loads(lines[-1])["answer"]
    assert answer["retrievals"][0]["hop"] == 0
    assert len(answer["retrievals"][0]["passages"]) == 2
    monkeypatch.setattr(sys, "stdin", io.StringIO("How deep?\nHow cold?\n"))
    assert main(["chat", *where, "--json"]) == 0
    first, second = (
        json.loads(line)["answer"]["usage"]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('{"answer"')
    )
    assert first["reused"] == 0
    read_before = first["forwarded"]
    assert second["reused"] >= read_before - 1
    assert second["forwarded"] + second["reused"] == (
        second["prompt"] + second["written"] + second["inserted"] - 1
    )
