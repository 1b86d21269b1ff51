"""`onegen mine`: what it writes and refuses, and that a killed run resumes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from onegen_model.cli import main
from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.events import Passage
from onegen_model.finetune.data.datasets import open_data
from onegen_model.finetune.mining import search as candidate_search
from onegen_model.finetune.mining.mine import MiningSources, mine, mining_queries
from onegen_model.finetune.mining.negatives import MiningSettings
from onegen_model.finetune.mining.resumable_file import PartialFile
from onegen_model.finetune.mining.search import (
    Bm25CandidateRetriever,
    MiningCorpus,
    ModelCandidateRetriever,
)
from onegen_model.retrieval.corpus_building import build_corpus
from tests.unit.finetune.mining.conftest import (
    Failing,
    corpus_lines,
    negatives,
    read,
    transcript,
    write,
)

# Killed, and called again.


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_run_resumes_with_the_output_of_a_whole_run(
    sources: MiningSources, tmp_path: Path
) -> None:
    bm25, settings = Bm25CandidateRetriever(sources.corpus), MiningSettings()
    whole = mine(sources, bm25, settings, tmp_path / "whole.jsonl")
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        mine(sources, Failing(bm25, 2), settings, out)
    partial = tmp_path / "out.jsonl.partial"
    assert not out.exists()
    assert len(read(partial)) == 6
    with partial.open("ab") as torn:
        torn.write(b'{"id": 6, "quest')
    with pytest.raises(KeyboardInterrupt):
        mine(sources, Failing(bm25, 1), settings, out)
    assert len(read(partial)) == 9
    assert mine(sources, Failing(bm25, 1), settings, out) == whole
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert list(tmp_path.glob("*partial*")) == []


@pytest.mark.usefixtures("small_blocks")
def test_a_run_with_other_settings_is_not_resumed_unless_forced(
    sources: MiningSources, tmp_path: Path
) -> None:
    bm25, out = Bm25CandidateRetriever(sources.corpus), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        mine(sources, Failing(bm25, 1), MiningSettings(), out)
    other = MiningSettings(num_negatives=2)
    with pytest.raises(InvalidInputError, match=r"num_negatives was 4 and is 2 now.*--force"):
        mine(sources, bm25, other, out)
    assert mine(sources, bm25, other, out, force=True).negatives == 20
    assert all(len(negatives(line)) == 2 for line in read(out))


@pytest.mark.usefixtures("small_blocks")
def test_a_run_over_another_corpus_is_not_resumed(
    sources: MiningSources, tmp_path: Path, train: Path, passages: Path
) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        mine(sources, Failing(Bm25CandidateRetriever(sources.corpus), 1), MiningSettings(), out)
    write(passages, [*corpus_lines(), {"id": "new", "text": "Something new."}])
    other = MiningSources(open_data("transcripts", train, passages))
    with pytest.raises(InvalidInputError, match="corpus was"):
        mine(other, Bm25CandidateRetriever(other.corpus), MiningSettings(), out)


def test_force_also_resumes_an_unchanged_run(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("older")
    PartialFile(path, {"a": 1}, force=True).append(["x"], {"n": 2}, items=1)
    again = PartialFile(path, {"a": 1}, force=True)
    assert (again.done, again.counts["n"]) == (1, 2)
    assert path.read_text() == "older", "until the end"
    again.append(["y"], {"n": 1}, items=1)
    again.finish()
    assert path.read_text() == "x\ny\n"


@pytest.mark.parametrize("damage", ["state", "lines"])
def test_a_damaged_partial_file_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    PartialFile(tmp_path / "out", {}).append(["x"], {}, items=1)
    if damage == "state":
        (tmp_path / "out.partial.json").write_text('{"settings":')
    else:
        (tmp_path / "out.partial").write_text("")
    with pytest.raises(InvalidInputError, match=r"cannot be resumed.*--force"):
        PartialFile(tmp_path / "out", {})
    assert PartialFile(tmp_path / "out", {}, force=True).done == 0


# The command.


def test_the_command_mines_and_what_it_writes_is_sound(
    train: Path, passages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mined.jsonl"
    command = ["mine", str(train), "--passages", str(passages), "--out", str(out)]
    assert main([*command, "--negatives", "3", "--ranks", "1-20"]) == 0
    shown = capsys.readouterr().out
    assert "30 for 10 retrievals with a positive (3.00 each)" in shown
    assert "10 candidates contain the answer" in shown
    assert main(command) == 2
    assert "exists; expected a new file" in capsys.readouterr().err
    assert main([*command, "--json", "--force"]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert reported["file"] == str(out)
    assert reported["negatives"] == 40
    assert MiningSources(open_data("transcripts", out, passages)).corpus


def test_the_command_searches_with_a_model(
    train: Path, passages: Path, tmp_path: Path, model: Any, sources: MiningSources
) -> None:
    asked = []

    def load(name: str | None, dtype: str) -> Any:
        asked.append((name, dtype))
        return model

    retriever = ModelCandidateRetriever(model, sources.corpus, tmp_path / "other")
    mine(sources, retriever, MiningSettings(), tmp_path / "expected.jsonl")
    command = ["mine", str(train), "--passages", str(passages)]
    for name, choice in (("a", "model"), ("b", "some/folder")):
        out = tmp_path / f"{name}.jsonl"
        assert main([*command, "--out", str(out), "--with", choice], load) == 0
        assert out.read_bytes() == (tmp_path / "expected.jsonl").read_bytes()
    assert asked == [(None, "float32"), ("some/folder", "float32")]
    assert any((tmp_path / "vectors").iterdir())


def test_vectors_that_another_run_replaces_meanwhile_are_not_taken_for_ours(
    model: Any, sources: MiningSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_twice(embedder: Any, passages: list[Passage], out: Path, **options: Any) -> None:
        build_corpus(embedder, passages, out, **options)
        build_corpus(embedder, passages[1:], out, **options)

    monkeypatch.setattr(candidate_search, "build_corpus", build_twice)
    retriever = ModelCandidateRetriever(model, sources.corpus, tmp_path)
    with pytest.raises(InvalidInputError, match="was changed by another run meanwhile"):
        list(retriever.score([query for query, _ in mining_queries(sources.examples[0])]))


@pytest.mark.usefixtures("small_blocks")
def test_ctrl_c_names_the_way_to_continue(
    train: Path,
    passages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "mined.jsonl"
    command = ["mine", str(train), "--passages", str(passages), "--out", str(out)]
    with monkeypatch.context() as patched:
        patched.setattr(
            candidate_search,
            "Bm25CandidateRetriever",
            lambda corpus: Failing(Bm25CandidateRetriever(corpus), 2),
        )
        assert main(command) == 130
    assert "run the same command again to continue" in capsys.readouterr().err
    assert main(command) == 0
    assert len(read(out)) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ranks", "5"], "ranks '5'; expected two numbers as in 2-30"),
        (["--ranks", "9-3"], "Ranks 9 to 3"),
        (["--negatives", "0"], "num_negatives=0"),
        (["--margin", "nan"], "relative_margin=nan"),
        (["--out", "nowhere/out.jsonl"], "expected a file in a folder that exists"),
        (["--out", "out.jsonl.gz"], "no .gz"),
        (["--out", "train.jsonl", "--force"], "other than the file that is read"),
        (["--out", "passages.jsonl", "--force"], "is the corpus"),
        (["--passages", "nowhere.jsonl"], "nowhere.jsonl cannot be used"),
    ],
)
def test_a_command_that_cannot_run_is_one_line(
    options: list[str],
    message: str,
    train: Path,
    passages: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(train.parent)
    before = (train.read_bytes(), passages.read_bytes())
    command = ["mine", "train.jsonl", "--passages", "passages.jsonl", "--out", "out.jsonl"]
    assert main([*command, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (train.read_bytes(), passages.read_bytes()) == before


def test_data_that_cannot_be_mined_for_is_refused(tmp_path: Path, passages: Path) -> None:
    unknown = write(tmp_path / "a.jsonl", [transcript(0), transcript(1, positives=["gone"])])
    with pytest.raises(InvalidInputError, match=r"a.jsonl:2: .*no passage 'gone'"):
        MiningSources(open_data("transcripts", unknown, passages))
    aimless = write(tmp_path / "b.jsonl", [transcript(0, positives=[])])
    with pytest.raises(InvalidInputError, match=r"No retrieval of .* has a positive"):
        MiningSources(open_data("transcripts", aimless, passages))


def test_without_bm25s_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r"onegen\[evaluate\]"):
        Bm25CandidateRetriever(MiningCorpus({"a": Passage("a", "text")}))


def test_a_corpus_without_words_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="holds a word"):
        Bm25CandidateRetriever(MiningCorpus({"a": Passage("a", "?!")}))
