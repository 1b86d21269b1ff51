"""Entities into an index: what is embedded, what stays, how it is stopped, what is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model import (
    EntityEstimate,
    EntityOptions,
    OneGenError,
    Passage,
    PassageIndex,
    entity_passage,
    index_entities,
)
from onegen_model.errors import CheckpointError, InvalidInputError, PassageIndexError
from onegen_model.indexing.entity_upkeep import list_entities, remove_entities
from onegen_model.places import PassagePlace
from tests.support.entities import EntityModel, records, write_records
from tests.support.linking_model import TEXT, linking_model

EACH_STEP = EntityOptions(batch=10, save_every=0.0)


@pytest.fixture
def model() -> EntityModel:
    return EntityModel()


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz"])
def test_a_file_becomes_an_index(name: str, model: EntityModel, tmp_path: Path) -> None:
    file = write_records(tmp_path / name, records(50))
    report = index_entities(model, file, tmp_path / "out")
    counts = (report.entities, report.added, report.changed, report.unchanged, report.embedded)
    assert counts == (50, 50, 0, 0, 50)
    assert report.is_whole
    index = PassageIndex.load(model, tmp_path / "out")
    assert {one.id: one for one in index.passages} == {
        row["id"]: entity_passage(row) for row in records(50)
    }


def listed(folder: Path) -> list[str]:
    return [one.id for one in list_entities(folder)]


def test_entities_are_listed_in_the_order_of_their_file(model: EntityModel, tmp_path: Path) -> None:
    out, first, later = tmp_path / "out", records(50), records(20, 50)
    index_entities(model, first, out)
    assert listed(out) == [row["id"] for row in first]
    index_entities(model, later, out)
    assert listed(out) == [row["id"] for row in first + later]
    vectors = {
        one.id: row.tolist()
        for some, rows in PassageIndex.load(model, out).batches()
        for one, row in zip(some, rows, strict=True)
    }
    assert vectors == {
        row["id"]: model.embed_passages([entity_passage(row)])[0].tolist() for row in first + later
    }
    written = (out / "manifest.json").stat().st_mtime_ns
    index_entities(model, first, out)  # in order, and so not written again
    assert (out / "manifest.json").stat().st_mtime_ns == written
    backwards = first[::-1]
    report = index_entities(model, backwards, out)
    assert (report.embedded, report.unchanged) == (0, 50)
    assert listed(out) == [row["id"] for row in later + backwards]


def test_what_a_real_model_has_embedded_is_found_by_linking(tmp_path: Path) -> None:
    model = linking_model()
    long = {"id": "L", "name": "Lake Victoria", "description": "lake in Africa " * 100}
    report = index_entities(model, [*records(5), long], tmp_path / "out")
    assert report.cut == 1
    index = PassageIndex.load(model, tmp_path / "out")
    assert index.get("L") == entity_passage(long)  # The description itself stays whole.
    [(held, vectors)] = index.batches()
    rows = {passage.id: row for passage, row in zip(held, vectors, strict=True)}
    assert len(rows) == len(held) == 6
    first = next(model.fragments(entity_passage(long)))
    assert np.allclose(rows["L"], model.embed_passages([first])[0], atol=1e-5)
    assert all(one.entity for one in model.link(TEXT, entities=index).mentions)


def test_more_entities_are_added_and_only_they_are_embedded(
    model: EntityModel, tmp_path: Path
) -> None:
    index_entities(model, records(30), tmp_path / "out")
    model.embedded.clear()
    other = {**records(1, 29)[0], "description": "something new"}
    tagged = {**records(1)[0], "types": ["other"]}
    report = index_entities(model, [tagged, other, *records(5, 30)], tmp_path / "out")
    assert sorted(model.embedded) == ["Q29", "Q30", "Q31", "Q32", "Q33", "Q34"]
    assert (report.entities, report.added, report.changed, report.unchanged) == (35, 5, 1, 1)
    index = PassageIndex.load(model, tmp_path / "out")
    assert (index.get("Q29"), index.get("Q0")) == (entity_passage(other), entity_passage(tagged))


def test_a_finished_index_is_not_touched(model: EntityModel, tmp_path: Path) -> None:
    index_entities(model, records(30), tmp_path / "out")
    model.embedded.clear()
    before = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    report = index_entities(model, records(30), tmp_path / "out")
    assert (report.embedded, report.unchanged, model.embedded) == (0, 30, [])
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == before


def test_equal_names_are_embedded_once_later(model: EntityModel, tmp_path: Path) -> None:
    index_entities(model, [{"id": "A", "name": "Lion"}], tmp_path / "out")
    report = index_entities(model, [{"id": "B", "name": "Lion"}], tmp_path / "out")
    assert (report.embedded, report.reused, report.entities) == (0, 1, 2)


def test_a_stopped_run_goes_on(model: EntityModel, tmp_path: Path) -> None:
    stops = iter([False, False, True])
    stopped = index_entities(
        model, records(50), tmp_path / "out", options=EACH_STEP, should_stop=lambda: next(stops)
    )
    assert (stopped.done, stopped.embedded, stopped.is_whole) == (20, 20, False)
    assert len(PassageIndex.load(model, tmp_path / "out")) == 20
    report = index_entities(model, records(50), tmp_path / "out", options=EACH_STEP)
    assert (report.embedded, report.unchanged, report.is_whole) == (30, 20, True)
    assert sorted(model.embedded) == sorted({row["id"] for row in records(50)})


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_saved_outlives_a_killed_run(
    error: type[BaseException], model: EntityModel, tmp_path: Path
) -> None:
    def on_embed() -> None:
        if len(model.embedded) == 30:
            raise error

    model.on_embed = on_embed
    with pytest.raises(error):
        index_entities(model, records(50), tmp_path / "out", options=EACH_STEP)
    assert len(PassageIndex.load(model, tmp_path / "out")) == 30


def test_short_names_are_not_padded_to_long_descriptions(
    model: EntityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[list[int]] = []
    embed = model.embed_passages

    def spy(passages: Sequence[Passage], **options: Any) -> Any:
        lengths.append([len(one.title + one.text) for one in passages])
        return embed(passages, **options)

    monkeypatch.setattr(model, "embed_passages", spy)
    index_entities(model, records(100), tmp_path / "out", options=EntityOptions(batch=10))
    flat = [length for some in lengths for length in some]
    assert flat == sorted(flat)
    assert max(map(len, lengths)) == 10


# --- the estimate ---


def test_few_entities_are_counted_without_a_measurement(model: EntityModel, tmp_path: Path) -> None:
    seen: list[EntityEstimate] = []
    options = EntityOptions(on_estimate=seen.append)
    index_entities(model, records(10), tmp_path / "out", options=options)
    index_entities(model, records(20), tmp_path / "out", options=options)
    assert [(one.given, one.embedding, one.seconds) for one in seen] == [
        (10, 10, None),
        (20, 10, None),
    ]
    size = sum(file.stat().st_size for file in (tmp_path / "out").glob("*-*"))
    assert seen[1].disk_bytes == pytest.approx(size, rel=0.2)
    assert seen[1].memory_bytes > seen[1].disk_bytes


def test_many_entities_are_measured_before_they_are_embedded(
    model: EntityModel, tmp_path: Path
) -> None:
    seen: list[tuple[EntityEstimate, int]] = []
    options = EntityOptions(on_estimate=lambda one: seen.append((one, len(model.embedded))))
    report = index_entities(model, records(600), tmp_path / "out", options=options)
    [(estimate, embedded)] = seen
    assert estimate.seconds is not None
    assert estimate.seconds > 0
    assert embedded == 66
    assert report.embedded == 600


# --- bad input ---

BAD = [
    ("not json", "not JSON"),
    ("[1]", "a list; expected one object a line"),
    ('{"name": "No id"}', "an entity has no id"),
    ('{"id": "Q9"}', "'Q9' has no name"),
    ('{"id": "Q9", "name": "  "}', "'Q9' has no name"),
    ('{"id": "Q1", "name": "Another"}', "the id 'Q1' stands for something else in"),
    ('{"id": "Q9", "name": "N", "onegen": {}}', "has a field 'onegen'"),
    ('{"id": "Q9", "name": "\\ud800"}', "cannot be saved"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_bad_record_is_named_by_its_line(
    line: str, message: str, model: EntityModel, tmp_path: Path
) -> None:
    file = write_records(tmp_path / "e.jsonl", [*records(3), "", line])
    with pytest.raises(InvalidInputError, match=r"e\.jsonl:5: ") as raised:
        index_entities(model, file, tmp_path / "out")
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_all_bad_records_are_in_one_report(model: EntityModel, tmp_path: Path) -> None:
    file = write_records(
        tmp_path / "e.jsonl", [*records(3), *(line for line, _ in BAD)] + ["x"] * 20
    )
    with pytest.raises(InvalidInputError, match="28 records cannot be used") as raised:
        index_entities(model, file, tmp_path / "out")
    assert "e.jsonl:11: " in str(raised.value)
    assert "and 8 more" in str(raised.value)


def test_bad_records_are_left_out_where_that_is_asked_for(
    model: EntityModel, tmp_path: Path
) -> None:
    file = write_records(tmp_path / "e.jsonl", [*records(3), *(line for line, _ in BAD)])
    report = index_entities(model, file, tmp_path / "out", options=EntityOptions(skip_bad=True))
    assert (report.entities, len(report.problems)) == (3, len(BAD))
    held = PassageIndex.load(model, tmp_path / "out").get("Q1")
    assert held == entity_passage(records(2)[1])  # The first of two records stays.


def test_the_same_record_twice_is_one_entity(model: EntityModel, tmp_path: Path) -> None:
    report = index_entities(model, records(3) * 2, tmp_path / "out")
    assert (report.entities, report.problems) == (3, ())


def test_records_in_memory_are_named_by_their_place(model: EntityModel, tmp_path: Path) -> None:
    given: list[Any] = [Passage("Q1", "a lion", "Lion"), 7, Passage("Q2", " ")]
    with pytest.raises(
        InvalidInputError, match=r"entities\[1\]: of type int; expected.*\n.*ties\[2\]"
    ):
        index_entities(model, given, tmp_path / "out")


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_an_empty_file(lines: list[str], model: EntityModel, tmp_path: Path) -> None:
    file = write_records(tmp_path / "e.jsonl", lines)
    for options in (EntityOptions(), EntityOptions(skip_bad=True)):
        with pytest.raises(InvalidInputError, match="holds no entities"):
            index_entities(model, file, tmp_path / "out", options=options)


def test_a_file_of_bad_records_alone_is_an_error_even_if_they_are_skipped(
    model: EntityModel, tmp_path: Path
) -> None:
    file = write_records(tmp_path / "e.jsonl", ["x"])
    with pytest.raises(InvalidInputError, match="not JSON"):
        index_entities(model, file, tmp_path / "out", options=EntityOptions(skip_bad=True))


def test_folders_that_cannot_be_used(model: EntityModel, tmp_path: Path) -> None:
    index_entities(model, records(3), tmp_path / "out")
    with pytest.raises(PassageIndexError, match="another model"):
        index_entities(EntityModel(fingerprint="0" * 64), records(3), tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(PassageIndexError, match="is not an index"):
        index_entities(model, records(3), tmp_path / "other")
    place = PassagePlace("a.txt", "a.txt", 0)
    documents = PassageIndex.build(model, [Passage("a#0", "text", metadata=place.to_metadata())])
    documents.save(tmp_path / "docs")
    for use in (
        lambda: index_entities(model, records(3), tmp_path / "docs"),
        lambda: list(list_entities(tmp_path / "docs")),
        lambda: remove_entities(tmp_path / "docs", ["a#0"]),
    ):
        with pytest.raises(PassageIndexError, match=r"is an index of documents \(it holds 'a#0'"):
            use()  # type: ignore[no-untyped-call]


def test_a_model_that_does_not_link(model: EntityModel, tmp_path: Path) -> None:
    model.can_link = False
    with pytest.raises(CheckpointError, match="--model entity-linking"):
        index_entities(model, records(3), tmp_path / "out")


def test_a_batch_of_nothing() -> None:
    with pytest.raises(OneGenError, match="batch=0"):
        EntityOptions(batch=0)
