"""`onegen ask`, and index, ask and chat with a tiny model."""

import gc
import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from onegen_model.cli import main
from onegen_model.errors import CheckpointError, RetrievalError
from onegen_model.model import OneGenModel
from onegen_model.params import NOT_FOUND
from tests.support.fake_model import FakeModel, fails, run


def test_ask(model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, "ask", "title 5text 5", "--index", "my.index", "--model", "a/b") == 0
    out = capsys.readouterr().out
    assert out.startswith("Who is it?\n  hop 0 searched\n    1.000  title 5: text 5\n")
    place = "docs/rows.jsonl, line 6, characters 0-6"
    assert f"It is text 5.\nAnswer: text 5\nSources:\n  title 5 [{place}]\n" in out
    assert "Tokens: 20 read once, 0 reused (10 prompt, 4 written, 0 inserted); 1 retrieval" in out
    assert "\x1b" not in out
    assert model.loaded == ("a/b", "float32")
    assert model.streams[0].is_closed


def test_ask_passes_its_options_on(model: FakeModel, index: Path) -> None:
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


def test_ask_says_that_nothing_was_found(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["ask", "title 5text 5", "--index", "my.index", "--min-score", "1.5"]
    assert run(model, *argv, "--not-found", "No.") == 0
    out = capsys.readouterr().out
    assert "    nothing was found\n" in out
    assert 'Answer: No.\nNothing was found for "Who is it?".\nSources: none' in out
    assert run(model, *argv, "--json") == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])["answer"]
    assert (answer["text"], answer["found"]) == (NOT_FOUND, False)
    assert answer["reason"].startswith("Nothing was found for")
    assert run(model, *argv, "--not-found", "") == 0
    assert "Answer: no idea" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--min-score", "nan"], ["--not-found", " "]])
def test_ask_refuses_limits_that_mean_nothing(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    model.loaded = ()
    line = fails(capsys, model, "ask", "q", "--index", "my.index", *flags)
    assert "; expected" in line
    assert model.loaded == ()


def test_ask_without_retrieval_needs_no_index(model: FakeModel) -> None:
    assert run(model, "ask", "who?", "--retrieval", "never") == 0


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["who?"], "No index is given"),
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


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "CPU", "", "meta", "cpu 1"])
def test_a_wrong_device_is_an_error_before_anything_is_loaded(
    device: str, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "who?", "--index", "my.index", "--device", device]) == 2
    assert f"onegen: error: device {device!r}; expected cpu, cuda" in capsys.readouterr().err


def test_a_model_is_loaded_onto_the_device(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: object, **options: Any) -> FakeModel:
        seen.update(options)
        assert not gc.isenabled()
        return model

    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        OneGenModel, "from_pretrained", classmethod(lambda _, *a, **o: load(*a, **o))
    )
    monkeypatch.setattr(gc, "freeze", lambda: None)
    assert main(["ask", "who?", "--retrieval", "never", "--device", "cuda:1"]) == 0
    assert seen == {"dtype": "float32", "device": "cuda:1"}
    assert gc.isenabled()


def test_a_question_from_standard_input(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who keeps\nthe café?\n"))
    assert run(model, "ask", "-", "--retrieval", "never") == 0
    assert model.streams[0].answer.question == "Who keeps\nthe café?"
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    assert "The question is empty" in fails(capsys, model, "ask", "-", "--retrieval", "never")
    bytes_in = io.TextIOWrapper(io.BytesIO(b"caf\xe9 \xff"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", bytes_in)
    assert "is not UTF-8" in fails(capsys, model, "ask", "-", "--retrieval", "never")
    monkeypatch.setattr(sys, "stdin", io.StringIO("caf\udce9"))  # as in the locale C
    assert "input is not UTF-8" in fails(capsys, model, "ask", "-", "--retrieval", "never")
    assert "question is not UTF-8" in fails(capsys, model, "ask", "\udce9", "--retrieval", "never")


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


def test_index_ask_and_chat_with_a_tiny_model(
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


def test_sources_are_shown_in_full_or_not_at_all(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ("ask", "title 5text 5", "--index", "my.index", "--top-k", "1")
    assert run(model, *ask, "--sources", "full") == 0
    place = "docs/rows.jsonl, line 6, characters 0-6"
    assert f"Sources:\n  1.000  title 5 [{place}]\n    text 5\n" in capsys.readouterr().out
    assert run(model, *ask, "--sources", "none", "--window", "2") == 0
    assert "Sources" not in capsys.readouterr().out
    assert model.streams[-1].options["retrieval"].window == 2
    assert run(model, *ask, "--json") == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])["answer"]
    (source,) = answer["sources"]
    assert (source["source"], source["passage_id"]) == ("docs/rows.jsonl", "r5#0")
    assert source["label"] == "docs/rows.jsonl, line 6"
