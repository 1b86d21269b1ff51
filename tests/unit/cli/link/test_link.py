"""`onegen link` with a tiny model: formats, options, errors."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onegen_model import LinkedText, OneGenModel, Passage, PassageIndex
from onegen_model.cli import link as module
from onegen_model.cli import main
from onegen_model.linking.params import LinkingParams
from onegen_model.places import PassagePlace
from tests.support.linking_model import ENTITIES, TEXT, entity_index

Run = Callable[..., int]
Fail = Callable[..., str]


@pytest.fixture
def linked(model: OneGenModel) -> LinkedText:
    found = model.link(TEXT, entities=entity_index(model))
    assert len(found.mentions) > 2
    return found


def test_a_text_is_shown_with_its_mentions(
    link: Run, linked: LinkedText, capsys: pytest.CaptureFixture[str]
) -> None:
    assert link(TEXT) == 0
    out = capsys.readouterr().out
    first, entity = linked.mentions[0], linked.mentions[0].entity
    assert entity is not None
    assert out.startswith(f"{TEXT[: first.start]}[{first.surface}](1)")
    [row] = [line for line in out.splitlines() if re.match(r" *1  ", line)]
    assert row.split()[-2:] == [entity.passage.id, f"{entity.score:.3f}"]
    assert len(out[out.index("  mention") :].splitlines()) == len(linked.mentions) + 1


@pytest.mark.parametrize("form", [["--json"], ["--format", "jsonl"]])
def test_a_text_in_json(
    link: Run, linked: LinkedText, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert link(TEXT, *form) == 0
    captured = capsys.readouterr()
    [plain] = map(json.loads, captured.out.splitlines())
    assert (plain["source"], plain["id"]) == (None, "text 1")
    assert LinkedText.from_dict(plain) == linked


def test_the_options_are_those_of_the_parameters(
    link: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[LinkingParams] = []
    monkeypatch.setattr(
        module,
        "_Linker",
        lambda model, entities, params: seen.append(params) or Linker(),  # type: ignore[func-returns-value]
    )

    class Linker:
        def link(self, *_: object) -> None: ...

    assert link("a", "--json") == 0
    flags = "--nil-threshold 0.3 --candidates 2 --mention-threshold 0.7 --max-mention-tokens 9"
    more = "--window 64 --overlap 8 --where kind=person --name-weight 0.4"
    assert link("a", "--json", *flags.split(), *more.split()) == 0
    assert seen == [
        LinkingParams(),
        LinkingParams(
            num_candidates=2,
            nil_threshold=0.3,
            name_weight=0.4,
            mention_threshold=0.7,
            max_mention_tokens=9,
            filter={"kind": {"$eq": "person"}},
            window=64,
            overlap=8,
        ),
    ]


def test_filters_candidates_and_nil(link: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert link(TEXT, "--json", "--where", "kind=person", "--nil-threshold", "2") == 0
    mentions = json.loads(capsys.readouterr().out)["mentions"]
    ids = {hit["passage"]["id"] for one in mentions for hit in one["candidates"]}
    assert ids == {"Q3", "Q4"}
    assert {one["entity"] for one in mentions} == {None}


def test_an_index_of_documents_is_refused(model: OneGenModel, error: Fail, here: Path) -> None:
    place = PassagePlace("notes.md", "notes.md", 0)
    piece = Passage("notes.md#0", "a lion", "Lion", place.to_metadata())
    PassageIndex.build(model, [*ENTITIES, piece]).save("my.index")
    message = error(TEXT, "--entities", "my.index")
    assert "my.index is an index of documents (it holds 'notes.md#0'); expected one" in message
    assert "`onegen entities FILE --out DIR`" in message


def test_the_default_model_is_the_one_that_links(
    model: OneGenModel, saved_entities: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[Any] = []

    def load(name: str | None, dtype: str) -> OneGenModel:
        loaded.append((name, dtype))
        return model

    where = ["--entities", str(saved_entities)]
    assert main(["link", "a", *where], load_model=load) == 0
    assert main(["link", "a", *where, "--model", "b", "--dtype", "bfloat16"], load_model=load) == 0
    assert loaded == [("entity-linking", "float32"), ("b", "bfloat16")]
    with pytest.raises(SystemExit, match="0"):
        main(["link", "--help"])
    assert "(default:entity-linking)" in "".join(capsys.readouterr().out.split())


def test_an_empty_text_has_no_mentions(link: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert link("", "--json") == 0
    assert json.loads(capsys.readouterr().out)["mentions"] == []
    assert link(" \n") == 0
    assert capsys.readouterr().out == " \n\n(no mentions)\n"


def test_control_characters_do_not_reach_the_terminal(
    link: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert link("a \x1b[31mred\x07 text") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_long_and_short_texts_give_what_the_model_gives(
    link: Run,
    model: OneGenModel,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 200)
    texts = ["Alan Turing", TEXT[:60], "", TEXT * 3, "Ada"]
    shown: list[float] = []

    class Bar:
        update = shown.append
        __enter__ = __exit__ = lambda self, *_: self

    monkeypatch.setattr(module, "show_progress", lambda total, *_: shown.append(-total) or Bar())
    assert link(*texts, "--text", "--json", "--window", "40", "--overlap", "8") == 0
    rows = list(map(json.loads, capsys.readouterr().out.splitlines()))
    params = LinkingParams(window=40, overlap=8)
    expected = [model.link(one, entities=entity_index(model), linking=params) for one in texts]
    assert [LinkedText.from_dict(row) for row in rows] == expected
    assert len(shown) > 4  # the mentions of the long text move the bar
    assert sum(shown) == 0


def test_progress_is_shown_without_a_terminal(
    link: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onegen_model.progress.LINE_SECONDS", 0.0)
    assert link("Ada", "Alan Turing") == 0
    assert "Linking: 14 of 14 characters, about" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_link(error: Fail, model: OneGenModel) -> None:
    class Other:
        renderer = replace_template(model)

    assert 'OneGenModel.from_pretrained("entity-linking")' in error("a", loads=Other())


def replace_template(model: OneGenModel) -> Any:
    class Renderer:
        template = replace(model.renderer.template, linking=None)

    return Renderer()


def test_entities_that_cannot_be_used(error: Fail, model: OneGenModel, here: Path) -> None:
    assert "absent" in error("a", "--entities", "absent")
    (here / "folder").mkdir()
    assert "folder" in error("a", "--entities", "folder")
    PassageIndex(model).save("empty")
    assert "has no entities; expected some" in error("a", "--entities", "empty")

    class Other:
        fingerprint, dimension, max_passage_tokens = "other", model.dimension, 64
        embed_passages = model.embed_passages

    PassageIndex.build(Other(), ENTITIES).save("other")  # type: ignore[arg-type]
    assert "another model" in error("a", "--entities", "other")
    assert "did you mean 'kind'?" in error("a", "--where", "kin=person")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--candidates", "0"], "num_candidates=0; expected at least 1"),
        (["--mention-threshold", "1"], "mention_threshold=1.0; expected"),
        (["--nil-threshold", "nan"], "nil_threshold=nan; expected a finite number"),
        (["--window", "20", "--overlap", "11"], "overlap=11; expected"),
        (["--where", "kind"], "--where 'kind' is no condition"),
        (["--json", "--format", "html"], "--json and --format html are given"),
        (["--encoding", "klingon"], "There is no text encoding 'klingon'"),
        (["--out", "no/folder.jsonl"], "expected a file in a folder that exists"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_before_the_model_is_loaded(
    saved_entities: Path, argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object) -> OneGenModel:
        raise AssertionError("loaded")

    argv = ["link", "a", "--entities", str(saved_entities), *argv]
    assert main(argv, load_model=load) == 2
    assert complaint in capsys.readouterr().err
