"""The invented world: its files are what the script writes, and nothing in them disagrees."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from transformers import AutoTokenizer

from onegen_model.checkpoint.default_base import prepare_base
from training.invented_world.__main__ import DEMO
from training.invented_world.articles import load_phrases
from training.invented_world.build import build
from training.invented_world.checks import check
from training.invented_world.labels import write_claims, write_mentions
from training.invented_world.questions import write_questions
from training.invented_world.wording import fill
from training.invented_world.world import ContradictionError, Day, World, load_world

Row = dict[str, Any]


@pytest.fixture(scope="module")
def files() -> dict[str, list[Row]]:
    return {
        file.stem: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for file in DEMO.glob("*.jsonl")
    }


@pytest.fixture(scope="module")
def texts(files: dict[str, list[Row]]) -> dict[str, str]:
    return {row["id"]: f"{row['title']}\n{row['text']}" for row in files["corpus"]}


def test_the_committed_files_are_what_the_script_writes() -> None:
    written = build()
    assert sorted(written) == sorted(file.name for file in DEMO.glob("*.jsonl"))
    for name, text in written.items():
        again = "run `python -m training.invented_world`"
        assert (DEMO / name).read_text(encoding="utf-8") == text, f"{name}: {again}"


def test_it_holds_what_the_readme_counts(files: dict[str, list[Row]]) -> None:
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    mentions = [one for row in files["mentions"] for one in row["mentions"]]
    for number, what in (
        (len(files["corpus"]), "articles"),
        (len(files["questions"]), "questions"),
        (len(files["mentions"]), "paragraphs"),
        (len(mentions), "mentions"),
        (len(files["claims"]), "claims"),
    ):
        assert f"{number} {what}" in readme
    for counted in (
        Counter(one["kind"] for one in mentions),
        Counter(row["label"] for row in files["claims"]),
        Counter(row["type"] for row in files["questions"]),
    ):
        for name, number in counted.items():
            assert f"{number} `{name}`" in readme


def test_articles_are_short_and_have_their_own_title(files: dict[str, list[Row]]) -> None:
    assert len({row["id"] for row in files["corpus"]}) == len(files["corpus"])
    assert len({row["title"] for row in files["corpus"]}) == len(files["corpus"])
    assert all(len(row["text"].split()) <= 90 for row in files["corpus"])


@pytest.mark.weights
def test_each_article_fits_a_passage_of_the_default_checkpoint(texts: dict[str, str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(prepare_base())
    longest = max(texts, key=lambda i: len(tokenizer(texts[i]).input_ids))
    assert len(tokenizer(texts[longest]).input_ids) <= 128, longest


def test_each_answer_occurs_in_its_gold_article(
    files: dict[str, list[Row]], texts: dict[str, str]
) -> None:
    for row in files["questions"]:
        assert set(row["supporting"]) == {hop["paragraph_id"] for hop in row["hops"]}
        assert set(row["supporting"]) <= set(row["candidates"]) <= set(texts)
        for hop in row["hops"]:
            assert texts[hop["paragraph_id"]].startswith(hop["title"])
            # "Haldrian" is how an article names a person from Haldria.
            assert hop["answer"].rstrip("a") in texts[hop["paragraph_id"]] or (
                row["answer"] != hop["answer"] and not row.get("answerable", True)
            )
        if row.get("answerable", True):
            gold = "\n".join(texts[i] for i in row["supporting"])
            spoken = [row["answer"], *row["aliases"]]
            assert row["answer"] in ("yes", "no") or any(one in gold for one in spoken)
        else:
            assert row["answer"] == row["hops"][-1]["answer"] == ""


def test_follow_ups_follow_a_question(files: dict[str, list[Row]]) -> None:
    seen: set[str] = set()
    for row in files["questions"]:
        if row["type"] == "follow_up":
            assert row["follows"] in seen
            assert row["follow_up"]
        seen.add(row["id"])


def test_offsets_of_mentions_equal_their_surfaces(
    files: dict[str, list[Row]], texts: dict[str, str]
) -> None:
    for row in files["mentions"]:
        for one in row["mentions"]:
            assert row["text"][one["start"] : one["end"]] == one["surface"]
            assert (one["entity_id"] is None) == (one["kind"] == "nil")
            assert {one["entity_id"], *one["negatives"]} <= {None, *texts}
            assert one["entity_id"] not in one["negatives"]


def test_claims_rest_on_articles(files: dict[str, list[Row]], texts: dict[str, str]) -> None:
    for row in files["claims"]:
        assert set(row["evidence"]) <= set(texts)
        assert row["evidence"]


def _die_young(world: World) -> None:
    world["ilsa-morwell"].facts["died"] = Day.parse("1 June 1955")


def _marry_twice(world: World) -> None:
    world["hesper-lanyard"].facts["spouse"] = world["perran-toll"]


def _be_older_than_the_father(world: World) -> None:
    world["tobin-aldermay"].facts["born"] = Day.parse("19 August 1901")


def _launch_before_the_yard(world: World) -> None:
    world["silver-heron-ship"].facts["launched"] = 1830


def _write_a_figure(world: World) -> None:
    world["ondrel"].facts["more"] = "It burned down in 1650."


def _write_a_name(world: World) -> None:
    world["ondrel"].facts["more"] = "It lies north of Port Lannick."


def _win_for_the_work_of_another(world: World) -> None:
    garland = world["montalere-garland"].facts
    garland["winners"] = ((1960, world["hesper-lanyard"], world["the-frog-year"]),)


def _share_a_title(world: World) -> None:
    del world["silver-heron-ship"].facts["qual"], world["silver-heron-film"].facts["qual"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_die_young, "seven-bells-for-martha: of 1964, and its director ilsa-morwell died"),
        (_marry_twice, "hesper-lanyard: married to perran-toll, who is married to another"),
        (_be_older_than_the_father, "tobin-aldermay: born 19 August 1901, the parent"),
        (_launch_before_the_yard, "silver-heron-ship: of 1830, while tresco-bain-and-daughter"),
        (_write_a_figure, "ondrel: the figure '1'"),
        (_write_a_name, "ondrel: 'Port Lannick' in"),
        (_win_for_the_work_of_another, "hesper-lanyard had no part in the-frog-year"),
        (_share_a_title, "2 articles have the title 'Silver Heron'"),
    ],
)
def test_facts_that_cannot_be_true_together_are_refused(
    change: Callable[[World], None], problem: str
) -> None:
    world = load_world()
    change(world)
    with pytest.raises(ContradictionError) as caught:
        check(world, load_phrases())
    assert problem in str(caught.value)


def test_a_question_that_the_facts_do_not_answer_is_refused() -> None:
    world = load_world()
    asked = {"id": "one-1", "ask": "When did {x} die?", "path": "hesper-lanyard.died"}
    with pytest.raises(ContradictionError, match=r"hesper-lanyard\.died leads to ''"):
        write_questions([asked], world)
    unanswered = {"id": "none-1", "ask": "When was {x} born?", "missing": "hesper-lanyard.born"}
    with pytest.raises(ContradictionError, match="leads to '23 March 1940'"):
        write_questions([unanswered], world)
    followed = {"id": "next-1", "ask": "?", "path": "ondrel.founded", "follows": "x", "short": "?"}
    with pytest.raises(ContradictionError, match="follows no question above it"):
        write_questions([followed], world)


def test_labels_follow_from_the_facts() -> None:
    world = load_world()
    claim = {"id": "c", "claim": "{x} died in {says}.", "path": "emrik-solvang.deathplace"}
    said = [{**claim, "says": place} for place in ("skarnvik", "ondrel")]
    said.append({**claim, "path": "hesper-lanyard.deathplace", "says": "ondrel"})
    assert [row["label"] for row in write_claims(said, world)] == ["true", "false", "unverifiable"]
    text = "{?|Nobody} of {@brennick-tarsevia} saw the {@silver-heron-ship|clipper}."
    (row,) = write_mentions([{"id": "m", "text": text}], world)
    assert row["text"] == "Nobody of Brennick saw the clipper."
    assert [(one["surface"], one["kind"], one["negatives"]) for one in row["mentions"]] == [
        ("Nobody", "nil", []),
        ("Brennick", "ambiguous", ["brennick-pelluria"]),
        ("clipper", "partial", []),
    ]
    with pytest.raises(ContradictionError, match="has no article, but"):
        write_mentions([{"id": "m", "text": "{?|Brennick} is far."}], world)


def test_a_sentence_that_lacks_its_fact_is_refused() -> None:
    world = load_world()
    with pytest.raises(ContradictionError, match="there is no fact 'died'"):
        fill("{name} died on {died}.", world["hesper-lanyard"], world)
    with pytest.raises(ContradictionError, match="there is no article 'atlantis'"):
        fill("It sank near {@atlantis}.", None, world)
