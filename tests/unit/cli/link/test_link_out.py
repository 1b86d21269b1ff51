"""`onegen link --out`: whole files, and lines that survive Ctrl-C."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onegen_model import LinkedText, MentionStream, OneGenModel
from onegen_model.cli import link as module
from tests.support.linking_model import TEXT

Run = Callable[..., int]
Fail = Callable[..., str]
TEXTS = ["Alan Turing", TEXT, "Mount Kenya", TEXT[:50]]


class Interrupted:
    """The model, until the text number `at` is linked: then Ctrl-C is pressed twice."""

    def __init__(self, model: OneGenModel, at: int) -> None:
        self.model = model
        self.left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def link(self, texts: list[str], **options: Any) -> list[LinkedText]:
        if self.left <= 0:
            raise KeyboardInterrupt
        self.left -= len(texts)
        return self.model.link(texts, **options)

    stream_link = link


class Signalled(Interrupted):
    """The model; Ctrl-C is pressed once while it links the text number `at`."""

    def link(self, texts: list[str], **options: Any) -> list[LinkedText]:
        self._count(len(texts))
        return self.model.link(texts, **options)

    def stream_link(self, text: str, **options: Any) -> MentionStream:
        self._count(1)
        return self.model.stream_link(text, **options)

    def _count(self, texts: int) -> None:
        if 0 <= self.left < texts:
            os.kill(os.getpid(), signal.SIGINT)
        self.left -= texts


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOGETHER", max(map(len, TEXTS)))


def test_a_page(link: Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "a.txt").write_text(TEXT)
    assert link("a.txt", "--out", "page.html") == 0
    page = (here / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert '<h2 dir="auto">a.txt</h2>' in page
    assert "https://www.wikidata.org/wiki/Q" in page
    report = capsys.readouterr().out
    assert report.startswith("page.html: 1 document, ")
    assert report.endswith(" with an entity\n")
    assert link("a.txt", "--format", "html") == 0
    assert capsys.readouterr().out == page


def test_a_text_file(link: Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert link(*TEXTS, "--text", "--out", "linked.txt") == 0
    capsys.readouterr()
    assert link(*TEXTS, "--text") == 0
    assert capsys.readouterr().out == (here / "linked.txt").read_text(encoding="utf-8")


def test_the_report_in_json(link: Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert link(*TEXTS, "--out", "out.jsonl", "--json", "--nil-threshold", "2") == 0
    report = json.loads(capsys.readouterr().out)
    rows = list(map(json.loads, (here / "out.jsonl").read_text(encoding="utf-8").splitlines()))
    mentions = sum(len(row["mentions"]) for row in rows)
    assert report == {"file": "out.jsonl", "documents": 4, "mentions": mentions, "linked": 0}
    assert mentions > 0


def test_a_file_is_replaced_only_by_force(
    link: Run, error: Fail, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("out.jsonl", "out.html", "out.txt"):
        (here / name).write_text("mine")
        assert f"{name} exists; expected a new file" in error("Ada", "--out", name)
        assert (here / name).read_text() == "mine"
        assert link("Ada", "--out", name, "--force") == 0
        assert capsys.readouterr().out.startswith(f"{name}: 1 document, ")
        assert (here / name).read_text() != "mine"


def test_the_same_command_goes_on_after_ctrl_c(
    link: Run, model: OneGenModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*TEXTS, "--text", "--out", "out.jsonl"]
    assert link(*command, loads=Interrupted(model, 2)) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == (
        "onegen: stopped; 2 documents in out.jsonl.partial; run the same command again to continue"
    )
    assert not (here / "out.jsonl").exists()
    done = (here / "out.jsonl.partial").read_text(encoding="utf-8")
    assert [json.loads(line)["text"] for line in done.splitlines()] == TEXTS[:2]

    assert link(*command, loads=Interrupted(model, 2)) == 0  # The other two are read.
    assert "out.jsonl: 4 documents, " in capsys.readouterr().out
    resumed = (here / "out.jsonl").read_text(encoding="utf-8")
    assert resumed.startswith(done)
    assert sorted(path.name for path in here.glob("out*")) == ["out.jsonl"]
    assert link(*TEXTS, "--text", "--out", "whole.jsonl") == 0
    whole = (here / "whole.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in resumed.splitlines()] == [
        json.loads(line) for line in whole.splitlines()
    ]


@pytest.fixture
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of files, of which a.txt and b.md fit together."""
    monkeypatch.setattr(module, "_TOGETHER", len(TEXT) + 20)
    (here / "texts").mkdir()
    for name, text in FILES.items():
        (here / "texts" / name).write_text(text, encoding="utf-8")
    return "texts"


FILES = {"a.txt": TEXTS[0], "b.md": TEXT, "c.txt": TEXTS[2], "d.txt": TEXT * 3}


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        (0, 2),  # a.txt and b.md are read together
        (1, 2),
        (2, 3),
        (3, 3),  # d.txt, which is long, is given up
    ],
)
def test_ctrl_c_while_files_are_read_and_the_same_command_again_is_one_whole_run(
    link: Run,
    model: OneGenModel,
    at: int,
    kept: int,
    folder: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert link(folder, "--out", "whole.jsonl") == 0
    command = [folder, "--out", "out.jsonl"]
    assert link(*command, loads=Signalled(model, at)) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"onegen: stopped; {kept} documents in out.jsonl.partial; run the same")
    assert link(*command) == 0
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_ctrl_c_while_the_last_texts_are_read_loses_none(
    link: Run, model: OneGenModel, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 9 * len(TEXT))
    assert link(*TEXTS, "--text", "--out", "out.jsonl", loads=Signalled(model, 1)) == 0
    assert len((here / "out.jsonl").read_text(encoding="utf-8").splitlines()) == len(TEXTS)


def test_another_command_does_not_go_on(
    link: Run, error: Fail, model: OneGenModel, saved_entities: Path, here: Path
) -> None:
    command = ["--text", "--out", "out.jsonl"]
    assert link(*TEXTS, *command, loads=Interrupted(model, 2)) == 130
    message = error(*TEXTS, *command, "--candidates", "2")
    assert "cannot be resumed: num_candidates was 5 and is 2 now" in message
    assert "texts was" in error(*TEXTS[:3], "other", *command)
    assert "dtype was" in error(*TEXTS, *command, "--dtype", "bfloat16")
    from onegen_model import Passage, PassageIndex

    grown = PassageIndex.load(model, saved_entities)
    grown.add([Passage("Q7", "mountain", "Mount Meru")])
    grown.save("grown")
    assert "entities was" in error(*TEXTS, *command, "--entities", "grown")
    assert link(*TEXTS, *command, "--candidates", "2", "--force") == 0


@pytest.mark.parametrize(
    ("form", "left"),
    [
        (["--out", "out.html"], "nothing was written; --format jsonl keeps what is done"),
        (["--format", "html"], "nothing was written"),
        (["--format", "jsonl"], "2 documents written"),
    ],
)
def test_what_ctrl_c_leaves_of_other_forms(
    link: Run,
    model: OneGenModel,
    form: list[str],
    left: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert link(*TEXTS, "--text", *form, loads=Interrupted(model, 2)) == 130
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == f"onegen: stopped; {left}"
    assert len(captured.out.splitlines()) == (2 if "jsonl" in form else 0)
    assert not list(here.glob("out*"))
