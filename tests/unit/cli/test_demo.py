"""`onegen demo`."""

import json
import signal
from pathlib import Path

import pytest

from onegen_model.cli import demo
from onegen_model.jsonl import JsonLines
from tests.support.fake_model import FakeModel, fails, run


@pytest.fixture
def demo_data(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = here / "demo"
    folder.mkdir()
    rows = [{"id": f"p{n}", "title": f"title {n}", "text": f"text {n}"} for n in range(50)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    questions = [{"question": f"title {n}text {n}", "answer": f"text {n}"} for n in range(4)]
    questions = [row | {"demo": True} for row in questions[:3]] + questions[3:]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
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


def test_demo_stops_and_continues(
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
    (demo_data / "questions.jsonl").unlink()
    assert "lacks the demo's corpus or questions" in fails(capsys, model, "demo")


def test_the_bundled_demo_asks_three_questions_of_several_hops() -> None:
    questions = [row for row in JsonLines(demo.DEMO / "questions.jsonl") if row.get("demo")]
    assert [len(row["hops"]) for row in questions] == [2, 2, 2]
    assert sum(row["type"] == "comparison" for row in questions) == 1
    known = {row["id"] for row in JsonLines(demo.DEMO / "corpus.jsonl")}
    assert all(hop["paragraph_id"] in known for row in questions for hop in row["hops"])
