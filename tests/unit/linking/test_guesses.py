"""Where mentions are guessed to be."""

import pytest

from onegen_model.linking.guesses import Guesses
from onegen_model.transcript.text_tokens import Range, TextTokens
from tests.unit.linking.test_drafts import renderer_of


def tokens_of(text: str) -> TextTokens:
    return renderer_of("llama 3").tokens(text)


def token(tokens: TextTokens, word: str) -> int:
    """The token that a word of the text begins with."""
    return range_of(tokens, word)[0]


def range_of(tokens: TextTokens, surface: str) -> Range:
    start = tokens.text.index(surface)
    found = tokens.find((start, start + len(surface)))
    assert found is not None
    return found


def guessed(tokens: TextTokens, guesses: Guesses) -> list[str]:
    """The mentions of a text as a writer would write them."""
    found, begun = [], None
    for at in range(len(tokens) + 1):
        if begun is not None and guesses.is_tag(begun, at):
            start, end = tokens.surface((begun, at))
            found.append(tokens.text[start:end])
            begun = None
        if begun is None and at < len(tokens) and guesses.is_tag(None, at):
            begun = at
    return found


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Then Ada Lovelace met Alan Turing's friend.", ["Then Ada Lovelace", "Alan Turing"]),
        ("We saw then that Ada met us. Then Ada went.", ["Ada", "Ada"]),
        ("Nobody came. Kenya is far. I like Kenya.", ["Kenya", "Kenya"]),
        (
            "the Earl of Kent and J. S. Bach, in May 2017 or on 3 June",
            ["Earl of Kent", "J. S. Bach"],
        ),
        ("He said: \u201cWait!\u201d and left for St. Paul.", ["St. Paul"]),
        ("nothing here, 漢字 neither", []),
    ],
)
def test_names_are_guessed_by_their_capitals(text: str, names: list[str]) -> None:
    tokens = tokens_of(text)
    assert guessed(tokens, Guesses(tokens)) == names


def test_a_name_that_was_refused_is_not_guessed_again() -> None:
    tokens = tokens_of("we met Ada here, and Ada there, and Alan")
    guesses = Guesses(tokens)
    guesses.learn(None, token(tokens, "Ada"), False)
    assert guessed(tokens, guesses) == ["Alan"]


def test_what_was_marked_is_guessed_again() -> None:
    tokens = tokens_of("an old age is no age; the old age, oldage, an old age")
    guesses = Guesses(tokens)
    assert guessed(tokens, guesses) == []
    guesses.mark(range_of(tokens, "old age"))
    assert guessed(tokens, guesses) == ["old age", "old age"]


def test_what_was_preferred_behind_a_wrong_draft_counts_most() -> None:
    tokens = tokens_of("so we met Ada in the wide hall")
    guesses = Guesses(tokens)
    guesses.learn(None, token(tokens, "Ada"), False)
    guesses.learn(None, token(tokens, "wide"), True)
    assert guessed(tokens, guesses) == ["wide"]


def test_a_mention_that_begins_before_a_name_ends_with_it() -> None:
    tokens = tokens_of("we crossed a Danube there")
    guesses = Guesses(tokens)
    guesses.learn(None, token(tokens, "a Danube"), True)
    assert guessed(tokens, guesses) == ["a Danube"]
