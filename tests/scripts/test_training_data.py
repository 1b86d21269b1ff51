"""The scripts that turn question sets into the default checkpoint's training data."""

import random
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.support.question_rows import PARAGRAPHS, hop, row


@pytest.fixture
def transcripts(training_script: Callable[[str], ModuleType]) -> ModuleType:
    return training_script("transcripts")


@pytest.fixture
def silver(training_script: Callable[[str], ModuleType]) -> ModuleType:
    return training_script("silver")


BORN = (
    hop("Ada", "date of birth", "4 May 1921", "When was Ada born?"),
    hop("Bo", "date of birth", "1890", "When was Bo born?"),
)


def test_a_comparison_is_written_out_step_by_step(transcripts: ModuleType) -> None:
    younger = row("Who is younger, Ada or Bo?", "Ada", "comparison", *BORN)
    assert transcripts.written_texts(younger, {}) == [
        "When was Ada born?",
        " 4 May 1921\nWhen was Bo born?",
        " 1890\nA = Ada 1921 A, B = Bo 1890 B. Later: 1921 A > 1890 B, so A = Ada\n"
        "<FINAL-ANSWER> Ada</FINAL-ANSWER>",
    ]


@pytest.mark.parametrize(
    ("question", "answer", "line"),
    [
        (
            "Who was born first, Ada or Bo?",
            "Bo",
            "A = Ada 1921 A, B = Bo 1890 B. Earlier: 1890 B < 1921 A, so B = Bo",
        ),
        ("Who was born first, Ada or Bo?", "Ada", ""),  # The gold answer says otherwise.
        ("Who is taller, Ada or Bo?", "Ada", ""),
    ],
)
def test_a_comparison_is_written_only_where_it_leads_to_the_answer(
    transcripts: ModuleType, question: str, answer: str, line: str
) -> None:
    assert transcripts.reasoning_line(row(question, answer, "comparison", *BORN)) == line


def test_of_the_same_year_nothing_is_compared(transcripts: ModuleType) -> None:
    same = [hop("Ada", "date of birth", "May 1921"), hop("Bo", "date of birth", "1921")]
    question = "Who was born first, Ada or Bo?"
    assert transcripts.reasoning_line(row(question, "Ada", "comparison", *same)) == ""


def test_lifespans_are_subtracted(transcripts: ModuleType) -> None:
    dates = [
        hop("Ada", "date of birth", "4 May 1900"),
        hop("Ada", "date of death", "1950"),
        hop("Bo", "date of birth", "1890"),
        hop("Bo", "date of death", "2 June 1990"),
    ]
    longer = row("Who lived longer, Ada or Bo?", "Bo", "comparison", *dates)
    assert transcripts.reasoning_line(longer) == (
        "A = Ada 1950 - 1900 = 50 A, B = Bo 1990 - 1890 = 100 B. Longer: 100 B > 50 A, so B = Bo"
    )


@pytest.mark.parametrize(
    ("given", "tidy"),
    [
        ("who  wrote Tucson 's song", "Who wrote Tucson's song?"),
        ("Who is the mayor of Nanjing .", "Who is the mayor of Nanjing?"),
        ("Where is Tucson, Texas,", "Where is Tucson, Texas?"),
        ("Who wrote 'The Rights of Man'?", "Who wrote 'The Rights of Man'?"),
        ("When was Keep 'Em Rolling released ?", "When was Keep 'Em Rolling released?"),
        ("Who made ...And Justice for All?", "Who made ...And Justice for All?"),
    ],
)
def test_a_sub_question_is_tidied(transcripts: ModuleType, given: str, tidy: str) -> None:
    assert transcripts.tidy(given) == tidy


def test_without_sub_questions_titles_and_first_sentences_serve(transcripts: ModuleType) -> None:
    hops = [
        {"title": "Elko (airport)", "paragraph_id": "a"},
        {"title": "Ford", "paragraph_id": "b"},
    ]
    leads = {
        "a": transcripts.lead("Elko (IATA: EKO) , once Municipal, is an airport. It is small."),
        "b": "Ford is another",
    }
    both = row("Are Elko and Ford airports?", "yes", "comparison") | {"hops": hops}
    assert transcripts.hop_lines(both, leads) == [
        ("What is known about Elko?", "Elko , once Municipal, is an airport"),
        ("What is known about Ford?", "Ford is another"),
    ]
    bridge = row("Which year did it open?", "1950", "bridge") | {"hops": hops}
    # Nothing in the question names the first title, so the question itself is what is asked.
    assert transcripts.hop_lines(bridge, leads) == [
        ("", "Ford"),
        ("Ford: Which year did it open?", "1950"),
    ]


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


def test_facts_come_from_triples_and_from_patterns(silver: ModuleType) -> None:
    facts = silver.known_facts(FILMS, PARAGRAPHS)
    values = {at: {r: f.value for r, f in found.items()} for at, found in facts.items()}
    assert values == {
        "p-Elk": {"director": "Ada", "publication date": "1962"},
        "p-Fir": {"director": "Bo", "publication date": "1975"},
        # Not "died in May": a month is no place.
        "p-Ada": {"date of birth": "1921", "place of birth": "Ondrel, Tarsevia"},
    }


def test_chains_ask_what_no_question_asked_over_the_same_passages(silver: ModuleType) -> None:
    facts = silver.known_facts(FILMS, PARAGRAPHS)
    made = list(silver.chains(FILMS, facts, random.Random(0)))
    assert {one["answer"] for one in made} == {"Ondrel, Tarsevia", "1921"}
    for one in made:
        assert one["supporting"] == ["p-Elk", "p-Ada"]
        assert one["question"] != FILMS[0]["question"]
        assert one["hops"][0]["question"] == "Who is the director of Elk?"


def test_the_film_that_came_out_first_has_the_smaller_year(silver: ModuleType) -> None:
    facts = silver.known_facts(FILMS, PARAGRAPHS)
    for at in range(8):
        facts[f"p{at}"] = {
            "publication date": silver.Fact(
                f"Film {at}", "publication date", str(1900 + at), f"Film {at}", f"p{at}"
            )
        }
    made = list(silver.releases(facts, random.Random(1), 40))
    assert len(made) > 30
    for one in made:
        years = {h["triple"][0].casefold(): int(h["answer"]) for h in one["hops"]}
        pick = max if "recently" in one["question"] else min
        assert one["answer"].casefold() == pick(years, key=lambda name: years[name])


def test_no_passage_is_inserted_twice_as_at_inference(
    training_script: Callable[[str], ModuleType],
) -> None:
    prepare = training_script("prepare_data")
    gold, others = ["a", "b", "c"], ["x", "y", "z"]
    before = 0
    for seed in range(300):
        insertions = prepare.Insertions(gold, others, random.Random(seed))
        hops = [insertions.of(hop) for hop in range(len(gold))]
        flat = [found for hop in hops for found in hop]
        assert len(flat) == len(set(flat))
        assert all(hops)
        assert all(piece in flat for piece in gold)
        before += any(gold[at] not in hop for at, hop in enumerate(hops))
    assert 0 < before < 100
    # Two hops over one passage: the second reads the text above.
    insertions = prepare.Insertions(["a", "a"], others, random.Random(0))
    assert "a" in insertions.of(0)
    (other,) = insertions.of(1)
    assert other in others


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
