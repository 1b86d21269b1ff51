"""`--name-weight`: one run holds what every weight of names would find."""

import json
from pathlib import Path

import pytest

from onegen_model import LinkingParams, OneGenModel, PassageIndex
from onegen_model.evaluation import read_linking_documents
from onegen_model.evaluation.linking.predictions import ENTITIES, OWN, PredictionLog
from onegen_model.evaluation.linking.scores import AMONG_ENTITIES, BY_NAME_WEIGHT
from tests.support.evaluation_world import read_scores
from tests.support.linking_evaluation import ALL, FEW, TEXTS, evaluate
from tests.support.linking_model import TEXT

pytestmark = pytest.mark.usefixtures("here")
RUN = Path("run")
WEIGHTS = ["0", "0.05", "0.1", "0.15", "0.2", "0.3", "0.5", "1"]


def test_each_weight_is_scored_as_link_would_order_the_entities(model: OneGenModel) -> None:
    assert evaluate(model, *ALL, "--no-detection") == 0
    index = PassageIndex.load(model, "my.entities")
    documents = read_linking_documents("texts.jsonl")
    logged = PredictionLog(RUN, OWN, ENTITIES).read(documents).by_document["whole"]
    spans = [(one["start"], one["end"]) for one in TEXTS[0]["mentions"]]
    firsts = set()
    for weight in (0.0, 0.1, 0.3, 1.0, 5.0):
        linked = model.link(TEXT, entities=index, linking=LinkingParams(spans, name_weight=weight))
        found = logged.by_names(weight)
        names = [tuple(hit.passage.id for hit in one.candidates) for one in linked.mentions]
        assert list(found.listed().values()) == names
        assert list(found.best().values()) == [one[0] for one in names]
        scores = [one.score for one in linked.mentions]
        assert [hits[0].score for hits in found.hits] == pytest.approx(scores, abs=1e-6)
        firsts.add(tuple(one[0] for one in names))
    assert len(firsts) > 1  # the weight changes something


def test_the_tables_show_what_names_add(model: OneGenModel) -> None:
    assert evaluate(model, *ALL, "--baselines", "name,minilm", "--name-weight", "1") == 0
    rows = read_scores("run")[BY_NAME_WEIGHT]
    assert [*rows] == WEIGHTS
    assert [*rows["0"]] == [
        f"{name}, among {which}"
        for name in ("OneGen", "MiniLM")
        for which in ("candidates", "all entities")
    ]
    row = read_scores("run")[AMONG_ENTITIES]["all"]
    for name, without, with_names in (
        ("OneGen", "OneGen, cosine alone", "OneGen"),
        ("MiniLM", "MiniLM", "MiniLM, with names"),
    ):
        column = f"{name}, among all entities"
        assert row[without]["value"] == rows["0"][column]["value"]
        assert row[with_names]["value"] == rows["1"][column]["value"]
    # Every mention but London, which is not in the list, is the name of its entity.
    assert rows["1"]["OneGen, among all entities"]["value"] == 1
    assert rows["0"]["OneGen, among all entities"]["value"] < 1


def test_the_nil_threshold_is_one_of_the_sum(model: OneGenModel) -> None:
    assert evaluate(model, *ALL, "--no-detection") == 0
    documents = read_linking_documents("texts.jsonl")
    logged = PredictionLog(RUN, OWN, ENTITIES).read(documents).by_document["whole"]
    assert logged.best(1.01) == {}
    # London is not in the list.
    assert len(logged.by_names(2).best(1.01)) == len(logged.spans) - 1


def test_a_run_of_an_earlier_version_is_linked_again(model: OneGenModel) -> None:
    assert evaluate(model, *FEW, "--no-detection", "--baselines", "minilm") == 0
    logs = [RUN / f"links.{name}.candidates.jsonl" for name in ("own", "minilm")]
    for log in logs:
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        for row in rows:
            row["entities"] = [[hit[:2] for hit in hits] for hits in row["entities"]]
        log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate(model, *FEW, "--no-detection") == 0
    assert [len(log.read_text().splitlines()) for log in logs] == [5, 3]
    rows = read_scores("run")[BY_NAME_WEIGHT]
    assert [*rows["0"]] == ["OneGen, among candidates"]
