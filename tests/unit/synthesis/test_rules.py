"""Questions by rules: what they ask, and what they leave alone."""

import pytest

from onegen_model.events import Passage
from onegen_model.synthesis.candidates import Candidate, matches, problem_of, verbatim
from onegen_model.synthesis.rules import RuleWriter


def asked(text: str) -> list[tuple[str, str]]:
    return [(one.question, one.answer) for one in RuleWriter().write(Passage("p", text))]


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("The cluster is called Sculpin.", "What is the cluster called?", "Sculpin"),
        ("Ada Berg was born on 3 May 1901.", "When was Ada Berg born?", "3 May 1901"),
        ("Ada Berg was born in Oslo.", "Where was Ada Berg born?", "Oslo"),
        ("A night costs 28 crowns, or so.", "How much does a night cost?", "28 crowns"),
        ("The trial lasts five months.", "How long does the trial last?", "five months"),
        ("Laptops are lent for three years.", "For how long are laptops lent?", "three years"),
        ("The house has seven rooms.", "How many rooms does the house have?", "seven"),
        ("Access is granted by Rasmus Teague.", "By whom is access granted?", "Rasmus Teague"),
        ("Boats are tested every October.", "When are boats tested?", "every October"),
        ("The key is kept in the red shed.", "Where is the key kept?", "the red shed"),
        ("The library is on the second floor.", "Where is the library?", "the second floor"),
        ("The alarm is a siren of three tones.", "What is the alarm?", "a siren of three tones"),
    ],
)  # fmt: skip
def test_a_plain_sentence_becomes_a_question(sentence: str, question: str, answer: str) -> None:
    assert asked(sentence) == [(question, answer)]


@pytest.mark.parametrize(
    ("sentence", "answers"),
    [
        ("Fish is served on Mondays and Fridays.", []),
        ("The mill was built by Ada Berg and Bo Carl.", []),
        ("The mill was built by Ada Berg and burned later.", ["Ada Berg"]),
        ("Boats are stored in the hall or the shed.", ["the hall or the shed"]),
        ("The office is in room 214 and is open on Mondays.", ["room 214"]),
    ],
)
def test_one_of_several_is_no_answer(sentence: str, answers: list[str]) -> None:
    assert [answer for _, answer in asked(sentence)] == answers


@pytest.mark.parametrize(
    "sentence",
    [
        "It is called Sculpin.",
        "They are kept in the shed.",
        "What is missing there is kept in the shed.",
        "If the cluster is called Sculpin, all is well.",
        "Walk slowly.",
        "",
    ],
)
def test_a_sentence_that_names_nothing_is_left_alone(sentence: str) -> None:
    assert asked(sentence) == []


def test_a_table_is_asked_for_its_cells() -> None:
    head = "Fees:\n\n| boat | seats | Price |\n|---|--:|---|\n"
    table = f"{head}| Petrel | 12 | 90 |\n| Dunlin | | free |\n\nEnd"
    assert asked(table) == [
        ("What is the seats of Petrel?", "12"),
        ("What is the price of Petrel?", "90"),
        ("What is the price of Dunlin?", "free"),
    ]


PASSAGE = Passage("p", "The notice period is\nsix weeks. Ada signs.")


@pytest.mark.parametrize(
    ("question", "answer", "problem"),
    [
        ("How long is the notice period?", "Six weeks.", None),
        ("How long is it", "six weeks", "no question"),
        ("Why?", "six weeks", "no question"),
        ("How long is the notice period?", "seven weeks", "answer not in the passage"),
        ("How long is the notice period?", "eks", "answer not in the passage"),
        ("How long is the notice period?", "", "answer not in the passage"),
        ("Is the notice period six weeks?", "six weeks", "answer in the question"),
        ("Who signs the notice?", "Ada", "asked before"),
    ],
)
def test_a_candidate_is_checked_without_a_model(
    question: str, answer: str, problem: str | None
) -> None:
    assert problem_of(Candidate(question, answer, PASSAGE), {"who signs notice"}) == problem


@pytest.mark.parametrize(
    ("question", "answer", "problem"),
    [
        ("站长是谁\uff1f", "李明", None),
        ("站长是谁\uff1f", "王强", "answer not in the passage"),
        ("李明是谁\uff1f", "李明", "answer in the question"),
        ("谁\uff1f", "李明", "no question"),
        ("Who runs it?", "李明", None),
    ],
)
def test_a_script_without_spaces_is_checked_too(
    question: str, answer: str, problem: str | None
) -> None:
    passage = Passage("p", "潮汐站的站长李明住在这里。")
    assert problem_of(Candidate(question, answer, passage), ()) == problem


def test_an_answer_is_kept_as_the_passage_writes_it() -> None:
    assert verbatim(Candidate("q?", "IS six", PASSAGE)) == "is\nsix"


@pytest.mark.parametrize(
    ("answer", "written", "is_right"),
    [
        ("It is the slip book.", "slip book", True),
        ("the slip book", "in the slip book", True),
        ("month", "the first Monday of the month", False),
        ("thirty-five", "five", False),
        ("", "five", False),
        ("five", "six", False),
        ("是北京。", "北京", True),
        ("16 weeks", "6 weeks", False),
    ],
)
def test_an_answer_matches_what_was_written(answer: str, written: str, is_right: bool) -> None:
    assert matches(answer, written) is is_right
