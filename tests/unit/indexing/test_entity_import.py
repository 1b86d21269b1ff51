"""An index from the published pickle of embeddings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onegen_model import (
    EntityImport,
    Passage,
    PassageIndex,
    entity_passage,
    import_entities,
    index_entities,
)
from onegen_model.errors import CheckpointError, InvalidInputError, PassageIndexError
from onegen_model.retrieval.manifest import read_manifest
from tests.support.entities import EntityModel, records, write_published, write_records


@pytest.fixture
def model() -> EntityModel:
    return EntityModel()


def made_by(model: EntityModel, some: list[Passage], length: float = 3.0) -> torch.Tensor:
    """As a published file has them: bfloat16, not normalised."""
    return (torch.from_numpy(model.embed_passages(some)) * length).bfloat16()


def search(model: EntityModel, folder: Path, entity: Passage) -> tuple[str, float]:
    index = PassageIndex.load(model, folder)
    [[hit]] = index.search(model.embed_passages([entity]), 1)
    return hit.passage.id, hit.score


@pytest.mark.parametrize("stored_as", ["float32", "float16"])
def test_an_import(stored_as: str, model: EntityModel, tmp_path: Path) -> None:
    entities = [entity_passage(row) for row in records(20)]
    ids = [one.id for one in entities]
    file = write_published(tmp_path / "e.pkl", made_by(model, entities), ids)
    named = write_records(tmp_path / "e.jsonl", records(20))
    report = import_entities(model, file, tmp_path / "out", entities=named, stored_as=stored_as)
    assert report.agreement == pytest.approx(1.0, abs=1e-3)
    assert report == EntityImport(20, 0, 0, 0, report.agreement)
    index = PassageIndex.load(model, tmp_path / "out")
    assert list(index.passages) == entities
    [(_, rows)] = index.batches()
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-3)
    assert search(model, tmp_path / "out", entities[7])[0] == "Q7"
    assert read_manifest(tmp_path / "out").made.stored_as == stored_as


def test_ids_without_a_name_and_names_without_a_vector(model: EntityModel, tmp_path: Path) -> None:
    entities = [entity_passage(row) for row in records(3)]
    file = write_published(tmp_path / "e.pkl", made_by(model, entities), ["Q0", "Q1", 7])
    report = import_entities(model, file, tmp_path / "out", entities=records(5))
    assert (report.entities, report.unnamed, report.without_vector) == (3, 1, 3)
    index = PassageIndex.load(model, tmp_path / "out")
    assert index.passages == (*entities[:2], Passage("7", "7"))


def test_without_a_list_of_entities(model: EntityModel, tmp_path: Path) -> None:
    entities = [entity_passage(row) for row in records(3)]
    file = write_published(tmp_path / "e.pkl", made_by(model, entities), ["Q0", "Q1", "Q2"])
    report = import_entities(model, file, tmp_path / "out")
    assert report == EntityImport(3, 3, 0, 0, None)


def test_an_id_with_several_vectors_is_found_by_each(model: EntityModel, tmp_path: Path) -> None:
    entities = [entity_passage(row) for row in records(4)]
    ids = ["A", "B", "A", "C"]
    file = write_published(tmp_path / "e.pkl", made_by(model, entities), ids)
    report = import_entities(model, file, tmp_path / "out")
    assert (report.entities, report.repeated) == (3, 1)
    found = [search(model, tmp_path / "out", entity) for entity in entities]
    assert [name for name, _ in found] == ids
    assert min(score for _, score in found) > 0.99


def test_vectors_of_another_model_agree_little(model: EntityModel, tmp_path: Path) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 8))).bfloat16()
    file = write_published(tmp_path / "e.pkl", rows, [f"Q{n}" for n in range(20)])
    report = import_entities(model, file, tmp_path / "out", entities=records(20))
    assert report.agreement is not None
    assert abs(report.agreement) < 0.5


def test_an_imported_index_grows(model: EntityModel, tmp_path: Path) -> None:
    entities = [entity_passage(row) for row in records(3)]
    file = write_published(tmp_path / "e.pkl", made_by(model, entities), ["Q0", "Q1", "Q2"])
    import_entities(model, file, tmp_path / "out", entities=records(3), stored_as="float16")
    model.embedded.clear()
    report = index_entities(model, records(5), tmp_path / "out")
    assert (report.entities, model.embedded) == (5, ["Q3", "Q4"])
    assert read_manifest(tmp_path / "out").made.stored_as == "float16"


@pytest.mark.parametrize(
    ("rows", "ids", "message"),
    [
        (torch.ones(3, 9), ["a", "b", "c"], "vectors of dimension 9; expected 8"),
        (torch.ones(3, 8), ["a", "b"], "3 vectors and 2 ids"),
        (torch.ones(0, 8), [], "0 vectors and 0 ids"),
        (torch.tensor([[1.0] * 8, [0.0] * 8]), ["a", "b"], "vector of 'b' is zero or not finite"),
        (torch.tensor([[float("nan")] * 8]), ["a"], "vector of 'a' is zero or not finite"),
    ],
)
def test_vectors_that_cannot_be_used(
    rows: torch.Tensor, ids: list[str], message: str, model: EntityModel, tmp_path: Path
) -> None:
    file = write_published(tmp_path / "e.pkl", rows, ids)
    with pytest.raises(InvalidInputError, match=message):
        import_entities(model, file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_arguments_that_cannot_be_used(model: EntityModel, tmp_path: Path) -> None:
    file = write_published(tmp_path / "e.pkl", torch.ones(1, 8), ["Q0"])
    arguments: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"stored_as": "int8"}, InvalidInputError, "stored_as='int8'"),
        ({"entities": [{"id": "Q0"}]}, InvalidInputError, "has no name"),
    ]
    for options, error, message in arguments:
        with pytest.raises(error, match=message):
            import_entities(model, file, tmp_path / "out", **options)
    import_entities(model, file, tmp_path / "out")
    with pytest.raises(PassageIndexError, match="holds an index already"):
        import_entities(model, file, tmp_path / "out")
    model.can_link = False
    with pytest.raises(CheckpointError, match="not trained to link"):
        import_entities(model, file, tmp_path / "other")
