"""The commands of the guide to entity linking, and of its evaluation, run in their order."""

import gzip
import json
import pickle
import re
import shlex
import shutil
from pathlib import Path

import pytest

from onegen_model import OneGenModel, PassageIndex
from onegen_model.cli import main
from tests.support.linking_model import ENTITIES, linking_model

ROOT = Path(__file__).parents[2]


def commands(page: str) -> list[list[str]]:
    """Those of `onegen` with entities, without comments; "…" stands for options of another line."""
    text = (ROOT / "docs" / "guides" / page).read_text(encoding="utf-8")
    code = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", "")
    lines = [shlex.split(line, comments=True) for line in code.splitlines()]
    return [line[1:] for line in lines if "…" not in line and line[:1] == ["onegen"]]


def write_entities(path: Path, *ids: str) -> None:
    lines = [
        json.dumps({"id": one, "name": f"Name {one}", "description": f"the entity {one}"})
        for one in ids
    ]
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OneGenModel:
    monkeypatch.chdir(tmp_path)
    return linking_model()


def run_all(model: OneGenModel, lines: list[list[str]]) -> None:
    for line in lines:
        assert main(line, load_model=lambda name, dtype: model) == 0, line


def test_the_commands_of_the_guide_run(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    lines = commands("entity-linking.md")
    assert {(line[0], line[1]) for line in lines} >= {("entities", "import"), ("link", "docs/")}
    write_entities(Path("people.jsonl.gz"), "Q42", "Q84", "Q5")
    write_entities(Path("more.jsonl"), "Q42", "Q6")
    write_entities(Path("db.jsonl"), "Q1", "Q2")
    vectors = (torch.eye(2, model.dimension), ["Q1", "Q2"])
    [published] = [word for line in lines for word in line if word.endswith(".pkl")]
    Path(published).write_bytes(pickle.dumps(vectors))
    PassageIndex.build(model, ENTITIES).save("my.entities")  # as the Python of the guide does
    Path("notes.txt").write_text("Ada Lovelace never saw Mount Kenya.\n")
    Path("docs").mkdir()
    Path("docs", "a.txt").write_text("Copenhagen is far from Lake Victoria.\n")
    run_all(model, lines)
    assert "people.entities: 2 entities\n" in capsys.readouterr().out
    assert Path("page.html").read_text().count("<article>") == 2
    assert json.loads(Path("links.jsonl").read_text())["source"] == "docs/a.txt"


def test_the_commands_of_the_evaluation_run(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in commands("evaluation.md") if "linking" in line or "entities" in line]
    assert [line[0] for line in lines] == ["entities", "evaluate", "evaluate", "evaluate"]
    write_entities(Path("entities.jsonl.gz"), "Q3", "Q4")
    mention = {"start": 0, "end": 3, "entity_id": "Q3", "negatives": ["Q4"]}
    document = {"id": "1", "text": "Ada lived in London.", "mentions": [mention]}
    Path("dev.jsonl").write_text(json.dumps(document))
    run_all(model, lines[:-1])
    shutil.copytree("runs/eval/linking", "runs/eval/other")
    run_all(model, lines[-1:])
    assert "among their candidates" in capsys.readouterr().out
