"""Transcripts and their corpus: what a survey finds, what is left out, and how lines are read."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.finetune.data.collator import Collator, CollatorSettings
from onegen_model.finetune.data.datasets import Data, load_examples, load_passages, open_data
from onegen_model.finetune.data.examples import TRANSCRIPT
from onegen_model.finetune.data.survey import survey, usable
from onegen_model.jsonl import JsonLines
from onegen_model.transcript.renderer import Renderer
from tests.support.training_files import write


def record(name: str, *positives: str, text: str = "a") -> dict[str, Any]:
    target = {"positives": list(positives), "inserted": list(positives)}
    return {
        "id": name,
        "question": "where is it?",
        "segments": [{"text": text, "target": target}, {"text": " by the sea"}],
    }


CORPUS = (
    {"id": "alba", "text": "Alba is a town", "title": "Alba"},
    {"id": "long", "text": "far away " * 80},
)


def transcripts(tmp_path: Path, *records: Any) -> Data:
    corpus = write(tmp_path / "passages.jsonl", *CORPUS)
    return open_data("transcripts", write(tmp_path / "train.jsonl", *records), corpus)


def test_a_survey_names_line_and_field_of_every_problem(tmp_path: Path, renderer: Renderer) -> None:
    bad = record("3", "alba")
    bad["segments"][0]["target"]["positves"] = []
    del bad["segments"][1]["text"]
    data = transcripts(
        tmp_path,
        record("1", "alba"),
        "",
        record("2", "alba", "nowhere"),
        bad,
        record("4", "long"),
        record("5", "alba", text="word " * 200),
        {**record("6", "alba"), "question": " ", "extra": 1},
        "{",
    )
    collator = Collator(renderer, data.passages, CollatorSettings(max_length=200))
    found = survey(data, collator, limit=100, on_truncation="error")
    where = [problem.partition(": ")[0].rpartition(":")[2] for problem in found.problems]
    by_line: dict[str, list[str]] = {}
    for line, problem in zip(where, found.problems, strict=True):
        by_line.setdefault(line, []).append(problem.partition(": ")[2])
    assert by_line["4"] == [
        "segments[0].target.positves: unknown; expected one of positives, negatives, inserted; "
        "did you mean 'positives'?",
        "segments[1].text: expected a text, which may be empty",
    ]
    assert by_line["7"] == [
        "extra: unknown; expected one of id, question, segments, writes, tools",
        "question: expected some text",
    ]
    assert by_line["8"][0].startswith("line: not JSON")
    assert by_line["3"][0].startswith("example '2': segments[0].target.positives[1]: no passage")
    assert by_line["3"][1].startswith("example '2': segments[0].target.inserted[1]: no passage")
    assert "Passage 'long' has" in by_line["5"][0]
    assert "Example '5' has" in by_line["6"][0]
    assert (found.num_lines, found.num_examples, found.num_too_long) == (7, 4, 2)
    assert found.num_problems == len(found.problems) == 9
    assert found.transcripts == (len(collator.render(data.examples[0]).ids),)
    cut = survey(data, collator, limit=2, on_truncation="drop")
    assert (len(cut.problems), cut.num_problems, cut.num_too_long) == (2, 7, 2)


def test_too_long_examples_are_errors_or_dropped_and_counted(
    tmp_path: Path, renderer: Renderer, caplog: pytest.LogCaptureFixture
) -> None:
    records = [record("1", "alba"), record("2", "long"), record("3", "alba", text="word " * 200)]
    data = transcripts(tmp_path, *records)
    collator = Collator(renderer, data.passages, CollatorSettings(max_length=200))
    assert [e.id for e in usable(data, collator, "drop")] == ["1"]
    assert "2 of 3 examples are too long and are left out" in caplog.text
    with pytest.raises(InvalidInputError, match=r"jsonl:2: Example '2': Passage 'long'"):
        usable(data, collator, "error")
    data = transcripts(tmp_path, records[0], records[2])
    with pytest.raises(InvalidInputError, match=r"jsonl:2: Example '3' has"):
        usable(data, collator, "error")
    only = transcripts(tmp_path, records[1])
    with pytest.raises(InvalidInputError, match="All 1 examples"):
        usable(only, collator, "drop")


def test_a_positive_that_the_corpus_lacks_stops_a_run_before_it_starts(
    tmp_path: Path, renderer: Renderer
) -> None:
    data = transcripts(tmp_path, record("1", "alba"), record("2", "nowhere"))
    collator = Collator(renderer, data.passages)
    with pytest.raises(InvalidInputError, match=r"train.jsonl:2: example '2': .*'nowhere'"):
        usable(data, collator, "error")


def test_an_example_may_carry_its_passages(tmp_path: Path, renderer: Renderer) -> None:
    plain = record("1")
    passage = {"title": "Elva", "text": "a mill"}
    plain["segments"][0]["target"] = {"positives": [passage], "inserted": [passage, "alba"]}
    data = transcripts(tmp_path, plain)
    (example,) = usable(data, Collator(renderer, data.passages), "drop")
    (target,) = example.targets
    assert target.positives[0] == target.inserted[0]
    batch = Collator(renderer, data.passages)([example])
    assert batch["targets"].tolist() == [0]


def test_an_example_may_train_retrieval_alone(tmp_path: Path, renderer: Renderer) -> None:
    plain = record("1", "alba") | {"writes": False}
    data = transcripts(tmp_path, plain)
    (example,) = usable(data, Collator(renderer, data.passages), "error")
    batch = Collator(renderer, data.passages)([example])
    assert batch["targets"].tolist() == [0]
    assert [len(chunk["labels"]) for chunk in batch["transcripts"]] == [0]


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        ({"writes": "no"}, "writes: expected true or false"),
        ({"writes": False, "segments": [{"text": "a"}]}, "writes: false, and no target has a"),
        (
            {"writes": False, "segments": [{"text": "a", "target": {"positives": []}}]},
            "writes: false, and no target has a positive",
        ),
    ],
)
def test_what_trains_retrieval_alone_needs_a_target(plain: dict[str, Any], problem: str) -> None:
    (found,) = TRANSCRIPT.problems(record("1", "alba") | plain)
    assert str(found).startswith(problem)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "2"', r"line: not JSON"),
        ("[1]", r"line: a list; expected one object"),
        ('{"id": "2"}', r"text: expected some text"),
        ('{"text": "t"}', r"id: expected"),
        ('{"id": "alba", "text": "t"}', r"id 'alba' is in .*:1 already"),
    ],
)
def test_a_bad_line_of_a_corpus_is_named(tmp_path: Path, line: str, problem: str) -> None:
    file = write(tmp_path / "p.jsonl", CORPUS[0], line)
    with pytest.raises(InvalidInputError, match=rf"p.jsonl:2: {problem}"):
        load_passages(file)


def test_lines_are_read_from_disk_on_access(tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", {"n": 0}, "", {"n": "ü" * 50}, {"n": 2})
    lines = JsonLines(file)
    assert [plain["n"] for plain in lines] == [0, "ü" * 50, 2]
    assert lines[1] == {"n": "ü" * 50}
    assert (len(lines), lines.where(1)) == (3, f"{file}:3")
    file.write_bytes(file.read_bytes().replace(b'"n": 2', b'"n": 7'))
    assert lines[2] == {"n": 7}, "nothing was kept"


def test_a_packed_file_reads_the_same(tmp_path: Path) -> None:
    plain = write(tmp_path / "t.jsonl", record("1", "alba"), record("2", "alba"))
    packed = tmp_path / "t.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(load_examples(packed)) == list(load_examples(plain))
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_examples(packed)


def test_a_missing_or_empty_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No file"):
        load_examples(tmp_path / "nowhere.jsonl")
    with pytest.raises(InvalidInputError, match="holds no example"):
        load_examples(write(tmp_path / "empty.jsonl"))
