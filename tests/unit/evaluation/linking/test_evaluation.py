"""`onegen evaluate --task linking` on a random model: what it finds is checked against itself."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from onegen_model import LinkingParams, OneGenModel, PassageIndex
from onegen_model.evaluation import (
    LinkingEvaluationSettings,
    evaluate_linking,
    read_linking_documents,
    score_linking_runs,
)
from onegen_model.evaluation.linking.scores import (
    AMONG_CANDIDATES,
    AMONG_ENTITIES,
    BY_SCORE,
    FOUND,
    LINKED,
    RECALL,
)
from tests.support.evaluation_world import read_scores, write_lines
from tests.support.linking_evaluation import ALL, FEW, RECORDS, TEXTS, evaluate
from tests.support.linking_model import ENTITIES, TEXT

pytestmark = pytest.mark.usefixtures("here")


def value(table: str, row: str, column: str) -> tuple[float, float | None]:
    found = read_scores("run")[table][row][column]
    return round(found["value"], 4), found["n"]


def test_marked_mentions_are_linked_among_candidates_and_among_all(model: OneGenModel) -> None:
    assert evaluate(model, *ALL) == 0
    index = PassageIndex.load(model, "my.entities")
    spans = [(one["start"], one["end"]) for one in TEXTS[0]["mentions"]]
    names = [one.get("entity_id") for one in TEXTS[0]["mentions"]]
    linked = model.link(TEXT, entities=index, linking=LinkingParams(spans))
    right = sum(
        one.entity.passage.id == name for one, name in zip(linked.mentions, names, strict=True)
    )
    # Of five mentions London is not in the list.
    assert value(AMONG_ENTITIES, "people", "OneGen") == (round(right / 4, 4), 4)
    assert value(AMONG_CANDIDATES, "all", "mentions")[0] == 5
    among = {
        one["entity_id"]: [one["entity_id"], *one["negatives"]]
        for one in [one for text in TEXTS for one in text["mentions"]]
    }
    log = Path("run/links.own.candidates.jsonl").read_text().splitlines()
    hits = [hits for line in log for hits in json.loads(line)["entities"]]
    for name, found in zip(among, hits, strict=True):
        assert {one for one, *_ in found} <= set(among[name])
    assert hits[2] == [["Q4", hits[2][0][1], 1.0]]


def test_mentions_that_are_found_are_scored_on_whole_texts(model: OneGenModel) -> None:
    assert evaluate(model, *ALL, "--thresholds", "0.3", "--mention-threshold", "0.6") == 0
    index = PassageIndex.load(model, "my.entities")
    gold = {(one["start"], one["end"]): one["entity_id"] for one in TEXTS[0]["mentions"]}
    for threshold in (0.3, 0.6):
        params = LinkingParams(mention_threshold=threshold)
        texts = [TEXT, "Nothing here."]
        found = [
            one
            for linked in model.link(texts, entities=index, linking=params)
            for one in linked.mentions
        ]
        right = sum((one.start, one.end) in gold for one in found)
        row = f"OneGen at {threshold:g}, all"
        assert value(FOUND, row, "precision") == (round(right / len(found), 4), len(found))
        assert value(FOUND, row, "recall") == (round(right / 5, 4), 5)
        assert value(LINKED, row, "mentions")[0] == 4
    # The chosen threshold is first.
    assert next(iter(read_scores("run")[FOUND])) == "OneGen at 0.6, all"
    assert value(RECALL, "some mentions are marked", "mentions") == (1, 1)
    assert len(read_scores("run")[BY_SCORE]) > 2


def test_baselines_are_in_the_same_tables(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "name,name+words,bm25,minilm,two-step"
    assert evaluate(model, *ALL, "--baselines", names, "--batch", "2") == 0
    assert value(AMONG_CANDIDATES, "all", "name") == (1, 5)
    assert value(AMONG_ENTITIES, "all", "name+words") == (1, 5)
    row = read_scores("run")[AMONG_ENTITIES]["all"]
    systems = [
        "OneGen", "OneGen, cosine alone", "name", "name+words", "BM25", "MiniLM",
        "MiniLM, with names",
    ]  # fmt: skip
    assert [*row] == [
        "mentions",
        *systems,
        "OneGen, first 5",
        *(f"OneGen less {one}" for one in systems[1:]),
    ]
    assert row["OneGen"]["value"] <= row["OneGen, first 5"]["value"] <= 1
    assert row["OneGen less name"]["value"] == pytest.approx(row["OneGen"]["value"] - 1)
    rows = read_scores("run")[LINKED]
    systems = [*systems[:-2], "two-step", "two-step, with names"]
    assert [*rows] == [f"{one} at 0.5, all" for one in systems]
    assert "first less this, F1" in rows["two-step at 0.5, all"]
    table = capsys.readouterr().out
    assert table == Path("run/table.md").read_text()
    assert "| all | 5 | " in table


def test_scores_are_split(model: OneGenModel) -> None:
    write_lines(Path("train.jsonl"), [TEXTS[1]])
    assert evaluate(model, *ALL, "--no-detection", "--train", "train.jsonl") == 0
    counts = {
        name: row["mentions"]["value"] for name, row in read_scores("run")[AMONG_ENTITIES].items()
    }
    assert counts == {
        "all": 5,
        "every mention is marked": 4,
        "some mentions are marked": 1,
        "people": 4,
        "silver": 1,
        "easy": 2,
        "hard": 2,
        "entity with description": 4,
        "entity without description": 1,
        "entity never in training": 4,
        "entity seen in training": 1,
    }
    assert FOUND not in read_scores("run")


def test_candidates_alone_are_embedded_from_a_file(model: OneGenModel) -> None:
    more = {"id": "Q77", "name": "Uruguay", "description": "country"}
    write_lines(Path("entities.jsonl"), [*RECORDS, more, {"no": "record"}])
    assert evaluate(model, *FEW, "--baselines", "name,minilm,two-step") == 0
    assert {one.id for one in PassageIndex.load(model, "run/candidates").passages} == {
        one.id for one in ENTITIES
    }
    scores = read_scores("run")
    assert AMONG_ENTITIES not in scores
    assert LINKED not in scores
    assert value(AMONG_CANDIDATES, "all", "mentions")[0] == 5
    assert value(FOUND, "OneGen at 0.5, all", "mentions") == (5, 5)


def test_a_stopped_run_goes_on(model: OneGenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    linked: list[str] = []
    link = OneGenModel.link

    def count(model: OneGenModel, texts: Any, **options: Any) -> Any:
        linked.extend(texts)
        if len(linked) == 2:
            signal.raise_signal(signal.SIGINT)
        return link(model, texts, **options)

    monkeypatch.setattr(OneGenModel, "link", count)
    command = (*ALL, "--batch", "1")
    assert evaluate(model, *command) == 130
    with Path("run/links.own.candidates.jsonl").open("a") as file:
        file.write('{"document": "no')  # what a kill leaves
    assert evaluate(model, *command) == 0
    assert len(linked) == 2 + 2 + 3
    assert evaluate(model, *command) == 0
    assert len(linked) == 7
    # An edited text is linked again, in each of three ways.
    write_lines(Path("texts.jsonl"), [{**TEXTS[0], "text": f"{TEXT} More."}, *TEXTS[1:]])
    assert evaluate(model, *command) == 0
    assert len(linked) == 10


def test_runs_are_scored_side_by_side_without_a_model(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(model, *ALL, "--baselines", "name") == 0
    other = [*ALL, "--limit", "2"]
    other[other.index("run")] = "other"
    assert evaluate(model, *other) == 0
    capsys.readouterr()
    command = ("--task", "linking", "--documents", "texts.jsonl", "--score", "run", "other")
    assert evaluate(None, *command, "--json") == 0
    row = json.loads(capsys.readouterr().out)[AMONG_ENTITIES]["all"]
    others = ["run, cosine alone", "other", "other, cosine alone", "name"]
    columns = ["run", *others, "run, first 5", "other, first 5"]
    assert [*row] == ["mentions", *columns, *(f"run less {one}" for one in others)]
    assert (row["run less other"]["value"], row["run less other"]["se"]) == (0, 0)
    assert evaluate(None, *command, "--json", "--name-weight", "0") == 0
    row = json.loads(capsys.readouterr().out)[AMONG_ENTITIES]["all"]
    assert "run, cosine alone" not in row


def test_a_nil_threshold_counts_when_it_is_scored(model: OneGenModel) -> None:
    settings = LinkingEvaluationSettings("python", entities="my.entities")
    documents = read_linking_documents("texts.jsonl")
    folder = evaluate_linking(settings, documents, model)
    assert folder is not None
    strict = score_linking_runs({"run": folder}, documents, nil_threshold=2.0)
    assert strict[LINKED]["OneGen at 0.5, all"]["recall"].value == 0
    assert strict[LINKED]["OneGen at 0.5, all"]["precision"].count == 0
    loose = score_linking_runs({"run": folder}, documents)
    assert loose[LINKED]["OneGen at 0.5, all"]["precision"].count > 0
