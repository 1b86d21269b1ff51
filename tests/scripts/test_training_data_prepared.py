"""Training data as prepare_data.py writes it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.question_rows import PARAGRAPHS, hop, row

FILMS = [
    row(
        "When was the director of Elk born?",
        "1921",
        "compositional",
        hop("Elk", "director", "Ada", "Who is the director of Elk?"),
        hop("Ada", "date of birth", "1921", "When was Ada born?"),
    ),
    row("Who made Fir?", "Bo", "single", hop("Fir", "director", "Bo")),
]


SINGLE = {
    "id": "q1",
    "dataset": "nq_open",
    "question": "what is other",
    "answer": "other",
    "answerable": True,
    "hops": [
        {
            "question": "what is other",
            "answer": "other",
            "title": "Other",
            "paragraph_id": "p-other",
        }
    ],
    "supporting": ["p-other"],
    "candidates": ["p-other"],
}


@pytest.mark.weights
def test_prepared_data_passes_the_check(
    tmp_path: Path,
    training_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from onegen_model.cli import main

    prepare = training_script("prepare_data")
    for name, lines in {
        "multihop_train": FILMS[:1],
        "multihop_silver_train": [],
        "squad_train": [],
        "nq_train": [SINGLE, SINGLE | {"id": "q2"}],
        "multihop_corpus": [{"id": at, **text} for at, text in PARAGRAPHS.items() if at != "p-Fir"]
        + [{"id": "p-other", "title": "Other", "text": "Other is other."}],
        "singlehop_corpus": [],
        "decomp_only_train": [FILMS[0], FILMS[0] | {"id": "m1", "dataset": "musique"}],
    }.items():
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "TEMPLATE_RELEASES", 0)
        patch.setattr(prepare, "TOOL_REQUESTS", 0)
        patch.setitem(prepare.MIX, "single", 1)
        options = ["--data", str(tmp_path), "--retrieval-alone"]
        for out, rounds in ((tmp_path, 1), (tmp_path / "rounds", 4)):
            argv = ["prepare", *options, "--out", str(out), "--rounds", str(rounds)]
            patch.setattr("sys.argv", argv)
            prepare.main()
    train, passages = tmp_path / "train.jsonl", tmp_path / "passages.jsonl"
    capsys.readouterr()
    assert main(["data", "check", str(train), "--passages", str(passages)]) == 0
    assert "Examples:    6" in capsys.readouterr().out
    made = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    (alone,) = (one for one in made if not one.get("writes", True))
    assert alone["id"] in ("q1", "q2"), "what the mix did not take"
    assert alone["segments"][0]["target"]["positives"] == ["p-other#0"]
    assert "other" in alone["segments"][1]["text"], "for mining"
    check_rounds(tmp_path / "rounds", made)


def check_rounds(folder: Path, once: list[dict[str, Any]]) -> None:
    """Each of four rounds draws the mix anew, and what none of them took trains retrieval alone."""
    from onegen_model.cli import main

    train, passages = folder / "train.jsonl", folder / "passages.jsonl"
    assert main(["data", "check", str(train), "--passages", str(passages)]) == 0
    drawn = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    assert len({one["id"] for one in drawn}) == len(drawn)
    mixes = [one for one in drawn if one.get("writes", True)]
    size = len(once) - 1
    assert len(mixes) == 4 * size
    assert mixes[:size] == once[:size]
    assert all(one["id"].endswith("~3") for one in mixes[-size:])
    taken = {one["id"].partition("~")[0] for one in mixes} & {"q1", "q2"}
    alone = [one["id"] for one in drawn if not one.get("writes", True)]
    assert sorted([*taken, *alone]) == ["q1", "q2"]


def test_no_rounds_are_refused(
    training_script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["prepare", "--data", ".", "--out", ".", "--rounds", "0"])
    with pytest.raises(SystemExit):
        training_script("prepare_data").main()
    assert "--rounds is 0; expected at least 1" in capsys.readouterr().err
