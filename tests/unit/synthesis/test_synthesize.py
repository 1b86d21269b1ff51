"""`onegen synthesize`: round trip, counts, and a file that resumes."""

import json
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from onegen_model import OneGenModel, Passage, PassageIndex, synthesis
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.cli import main
from onegen_model.places import PassagePlace
from onegen_model.synthesis import rules
from onegen_model.synthesis.candidates import Candidate
from tests.support.script import scripted

TEXTS = ("The mill is called Arden.", "The tower is called Borg.", "The bridge is called Cary.")
MILL, TOWER, BRIDGE = (f"What is the {one} called?" for one in ("mill", "tower", "bridge"))
RIGHT = {
    MILL: f"{MILL}[RQ] Arden\n<FINAL-ANSWER> Arden</FINAL-ANSWER>",
    TOWER: f"{TOWER}[RQ] Borg\n<FINAL-ANSWER> It is Borg.</FINAL-ANSWER>",
    BRIDGE: f"{BRIDGE}[RQ] Cary\n<FINAL-ANSWER> Cary</FINAL-ANSWER>",
}
ALL = ("--top-k", "3")


@pytest.fixture(scope="module")
def model(tiny_network: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    return OneGenModel(Checkpoint(tiny_network, tiny_tokenizer, config, "0" * 64))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: OneGenModel) -> Path:
    monkeypatch.chdir(tmp_path)
    places = [PassagePlace("world.md", "world.md", chunk, 3) for chunk in range(3)]
    passages = [
        Passage(place.passage_id, text, "", place.to_metadata())
        for place, text in zip(places, TEXTS, strict=True)
    ]
    PassageIndex.build(model, passages).save("my.index")
    return tmp_path


def synthesize(model: OneGenModel | None, *options: str, script: Mapping[str, str] = RIGHT) -> int:
    def load(_path: str | None, _dtype: str) -> OneGenModel:
        assert model is not None, "a model was loaded"
        return model

    argv = ["synthesize", "my.index", "--out", "qa.jsonl", *options]
    if model is None:
        return main(argv, load)
    with scripted(model, script):
        return main(argv, load)


def rows(file: str = "qa.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_questions_are_kept_with_answer_passage_and_source(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synthesize(model, *ALL) == 0
    found = sorted(rows(), key=lambda row: row["passage"])
    assert found[0] == {
        "question": MILL,
        "answer": "Arden",
        "passage": "world.md#0",
        "source": "world.md",
    }
    assert [row["answer"] for row in found] == ["Arden", "Borg", "Cary"]
    said = capsys.readouterr().out
    assert said == "qa.jsonl: 3 questions, of 3 written about 3 of 3 passages\n"


def test_a_question_that_is_answered_otherwise_is_left_out_and_counted(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    script = {**RIGHT, MILL: RIGHT[TOWER], TOWER: "<FINAL-ANSWER> Borg</FINAL-ANSWER>"}
    assert synthesize(model, *ALL, "--json", script=script) == 0
    assert [row["question"] for row in rows()] == [BRIDGE]
    report = json.loads(capsys.readouterr().out)
    assert report["rejected"] == {"passage not found": 1, "answered otherwise": 1}
    assert (report["kept"], report["written"]) == (1, 3)


@pytest.mark.parametrize(("keep", "kept"), [("found", {MILL, BRIDGE}), ("all", set(RIGHT))])
def test_the_round_trip_may_ask_for_less(model: OneGenModel, keep: str, kept: set[str]) -> None:
    script = {**RIGHT, MILL: RIGHT[TOWER], TOWER: "<FINAL-ANSWER> Borg</FINAL-ANSWER>"}
    assert synthesize(model, *ALL, "--keep", keep, script=script) == 0
    assert {row["question"] for row in rows()} == kept


def test_a_count_ends_the_job(model: OneGenModel) -> None:
    assert synthesize(model, *ALL, "--count", "1", "--batch", "1") == 0
    assert len(rows()) == 1


def test_the_seed_draws_the_order(model: OneGenModel) -> None:
    firsts = set()
    for seed in range(6):
        assert synthesize(model, *ALL, "--count", "1", "--batch", "1", "--seed", str(seed)) == 0
        firsts.add(rows()[0]["question"])
        Path("qa.jsonl").unlink()
    assert len(firsts) > 1


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []
    write = rules.RuleWriter.write

    def interrupt(self: rules.RuleWriter, passage: Passage) -> Any:
        written.append(passage.id)
        if len(written) == 2:
            signal.raise_signal(signal.SIGINT)
        return write(self, passage)

    monkeypatch.setattr(rules.RuleWriter, "write", interrupt)
    assert synthesize(model, *ALL, "--batch", "1") == 130
    assert "2 questions of 2 passages are in qa.jsonl.partial; run the same" in (
        capsys.readouterr().err
    )
    assert not Path("qa.jsonl").exists()
    assert synthesize(model, *ALL, "--batch", "1") == 0
    assert len(written) == len(set(written)) == 3
    assert {row["question"] for row in rows()} == set(RIGHT)


def test_a_writer_that_fails_loses_nothing(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = rules.RuleWriter.write

    def fail(self: rules.RuleWriter, passage: Passage) -> Any:
        if Path("qa.jsonl.partial").stat().st_size:
            raise OSError("the line is dead")
        return write(self, passage)

    with monkeypatch.context() as broken:
        broken.setattr(rules.RuleWriter, "write", fail)
        assert synthesize(model, *ALL, "--batch", "1") == 2
    assert len(rows("qa.jsonl.partial")) == 1
    assert synthesize(model, *ALL, "--batch", "1") == 0
    assert len(rows()) == 3


def test_a_question_is_asked_once(model: OneGenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_self: rules.RuleWriter, passage: Passage) -> list[Candidate]:
        answer = passage.text.split()[-1].strip(".")
        return [Candidate("What is it called?", answer, passage)]

    monkeypatch.setattr(rules.RuleWriter, "write", write)
    assert synthesize(model, *ALL, "--keep", "all") == 0
    assert len(rows()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--count", "0"], "count=0; expected at least 1"),
        (["--llm-model", "m"], "--llm-model or --llm-key-env without --llm-url"),
        (["--llm-url", "http://x/v1"], "has no model name"),
        (
            ["--llm-url", "http://x/v1", "--llm-model", "m", "--llm-key-env", "NO_SUCH_KEY"],
            "variable NO_SUCH_KEY is not set",
        ),
    ],
)
def test_wrong_options_are_named_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert synthesize(None, *options) == 2
    assert said in capsys.readouterr().err


def test_an_existing_file_and_a_missing_index_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("qa.jsonl").write_text("mine\n")
    assert synthesize(None) == 2
    assert "qa.jsonl exists" in capsys.readouterr().err
    Path("qa.jsonl").unlink()
    assert main(["synthesize", "gone", "--out", "qa.jsonl"]) == 2
    assert "gone" in capsys.readouterr().err


def test_force_replaces_a_file(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("qa.jsonl").write_text("mine\n")
    assert synthesize(model, *ALL, "--force") == 0
    assert len(rows()) == 3

    def interrupt(_self: rules.RuleWriter, _passage: Passage) -> Any:
        signal.raise_signal(signal.SIGINT)
        return []

    with monkeypatch.context() as interrupted:
        interrupted.setattr(rules.RuleWriter, "write", interrupt)
        assert synthesize(model, *ALL, "--force", "--batch", "1") == 130
    assert synthesize(model, *ALL, "--force", "--seed", "3") == 0
    assert len(rows()) == 3
    assert not Path("qa.jsonl.partial").exists()


@pytest.mark.parametrize("batch", ["1", "2", "16"])
def test_a_stop_does_not_change_which_of_equal_questions_are_kept(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch, batch: str
) -> None:
    """The passage that is written about first is not found, so that its question is left out."""
    whole = {}
    for stops in (False, True):
        written: list[str] = []

        def write(_: rules.RuleWriter, one: Passage) -> list[Candidate]:
            written.append(one.id)  # noqa: B023
            if stops and len(written) == 2:  # noqa: B023
                signal.raise_signal(signal.SIGINT)
            answer = one.text.split()[-1].strip(".")
            return [Candidate("What is it called?", answer, one)]

        monkeypatch.setattr(rules.RuleWriter, "write", write)
        script = {"What is it called?": RIGHT[MILL].replace(MILL, "What is it called?")}
        for _ in range(2 if stops else 1):
            synthesize(model, *ALL, "--batch", batch, script=script)
        whole[stops] = rows()
        Path("qa.jsonl").unlink()
    assert whole[False] == whole[True]
    assert [row["answer"] for row in whole[True]] == ["Arden"]


def test_another_setting_does_not_continue_a_file(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = rules.RuleWriter.write

    def interrupt(self: rules.RuleWriter, passage: Passage) -> Any:
        signal.raise_signal(signal.SIGINT)
        return write(self, passage)

    monkeypatch.setattr(rules.RuleWriter, "write", interrupt)
    assert synthesize(model, *ALL, "--batch", "1") == 130
    assert synthesize(model, *ALL, "--seed", "3") == 2
    assert "cannot be resumed: seed was 0 and is 3 now" in capsys.readouterr().err


def test_the_python_of_the_package_runs(model: OneGenModel) -> None:
    [code] = re.findall(r"```python\n(.*?)```", str(synthesis.__doc__), re.DOTALL)
    names = {**vars(synthesis), "model": model, "PassageIndex": PassageIndex, "Path": Path}
    with scripted(model, RIGHT):
        exec(compile(code, "synthesis", "exec"), names)
    assert names["report"].passages == 3
